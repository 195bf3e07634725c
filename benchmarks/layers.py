"""Our recurrent layer against PyTorch's on the same batches of flat rows, in turn. See README.md
beside this file."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import (
    RESULTS,
    console,
    describe_markdown,
    describe_run,
    markdown_table,
    median_range,
    pin_threads,
    write_results,
)
from rich.progress import track
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spacy_birnn.checks import CellName
from spacy_birnn.layers.birnn import BiRNN
from spacy_birnn.layers.packing import TimeMajor

# PyTorch has no peephole and no grid LSTM: theirs is the plain LSTM, so "times as fast" says what
# the variant costs
TORCH_MODULES: dict[CellName, type] = {
    "rnn": nn.RNN,
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "peephole_lstm": nn.LSTM,
    "grid_lstm": nn.LSTM,
}
PASSES = ("forward", "forward and backward")


class PackedRNN(nn.Module):
    """PyTorch's own layer with the inputs and outputs of ours: rows in flat order, and lengths.
    Putting the rows into a PackedSequence and back is part of what is timed, as it is for ours."""

    def __init__(self, input_width: int, hidden_width: int, *, cell: CellName):
        super().__init__()
        self.rnn = TORCH_MODULES[cell](input_width, hidden_width, bidirectional=True)

    def forward(self, X: Tensor, lengths: np.ndarray) -> Tensor:
        order = TimeMajor(lengths)
        packed = PackedSequence(X[torch.as_tensor(order.rows)], torch.as_tensor(order.sizes))
        return self.rnn(packed)[0].data[torch.as_tensor(order.places)]


def make_shapes(*, seed: int) -> dict[str, tuple[np.ndarray, int, int]]:
    """Batches as they occur: the lengths of the sequences, and the widths of input and state."""
    rng = np.random.default_rng(seed)

    def lengths(n: int, mean: float) -> np.ndarray:
        return 1 + rng.poisson(rng.gamma(4.0, (mean - 1) / 4.0, size=n))

    return {
        "20 sentences": (lengths(20, 18), 96, 64),
        "characters of 300 words": (lengths(300, 6), 32, 32),
        "1000 sentences": (lengths(1000, 18), 96, 64),
        "1 document of 5000 tokens": (np.array([5000]), 96, 64),
    }


def make_steps(module: nn.Module, X: Tensor, lengths: np.ndarray) -> dict[str, Callable[[], None]]:
    """What is timed, by name. Both modules get gradients of the input and of all weights."""
    dY = torch.randn(len(X), _output(module(X, lengths)).shape[1])

    def forward() -> None:
        with torch.inference_mode():
            module(X, lengths)

    def forward_backward() -> None:
        module.zero_grad()
        leaf = X.detach().requires_grad_()
        _output(module(leaf, lengths)).backward(dY)

    return dict(zip(PASSES, (forward, forward_backward), strict=True))


def _output(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def milliseconds(step: Callable[[], None], *, at_least: float = 0.05) -> float:
    """The mean time of a call, over as many calls as take `at_least` seconds."""
    calls, began = 0, time.perf_counter()
    while not calls or time.perf_counter() - began < at_least:
        step()
        calls += 1
    return 1000 * (time.perf_counter() - began) / calls


def compare(
    lengths: np.ndarray, input_width: int, hidden_width: int, *, cell: CellName, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """RETURNS (dict): For each pass and each side the milliseconds of each round."""
    torch.manual_seed(0)
    X = torch.randn(int(lengths.sum()), input_width)
    modules = {
        "torch": PackedRNN(input_width, hidden_width, cell=cell),
        "ours": BiRNN(input_width, hidden_width, cell=cell),
    }
    steps = {side: make_steps(module, X, lengths) for side, module in modules.items()}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in PASSES}
    for name in PASSES:
        for side in modules:
            steps[side][name]()  # a warm-up
            found[name][side] = []
        for i in range(rounds):
            for side in modules if i % 2 == 0 else reversed(modules):
                found[name][side].append(milliseconds(steps[side][name]))
    return found


def report(data: dict[str, Any]) -> str:
    """A table for each cell."""
    parts = ["# Recurrent layers"]
    for cell in dict.fromkeys(result["cell"] for result in data["results"]):
        rows = []
        for result in data["results"]:
            if result["cell"] == cell:
                for name, sides in result["milliseconds"].items():
                    ours, theirs = (statistics.median(sides[side]) for side in ("ours", "torch"))
                    cells = [median_range(sides[side], digits=2) for side in ("torch", "ours")]
                    rows.append([f"{result['shape']}, {name}", *cells, f"{theirs / ours:.2f}"])
        header = ["", "ms, PyTorch", "ms, ours", "times as fast"]
        title = cell if cell in ("rnn", "gru", "lstm") else f"{cell}, against PyTorch's LSTM"
        parts += [f"## {title}", markdown_table(header, rows)]
    note = f"Median of {data['n_rounds']} rounds (lowest to highest), both directions, one layer."
    return "\n\n".join([*parts, note, describe_markdown(data["run"], seeds=data["seed"])])


def main(
    cells: Annotated[str, typer.Option(help="Cells, with commas between them")] = ",".join(
        TORCH_MODULES
    ),
    rounds: Annotated[int, typer.Option(help="Rounds", min=1)] = 7,
    seed: Annotated[int, typer.Option(help="Seed of the lengths of the sequences")] = 0,
    threads: Annotated[int, typer.Option(help="Threads", min=1)] = 1,
    results: Annotated[Path, typer.Option(help="Folder for the results")] = RESULTS,
) -> None:
    """Time forward, and forward with backward, of each cell on each shape."""
    pin_threads(threads)
    chosen = [cell for cell in TORCH_MODULES if cell in cells.split(",")]
    if set(chosen) != set(cells.split(",")):
        raise typer.BadParameter(f"--cells {cells!r}; expected some of {', '.join(TORCH_MODULES)}")
    command = f"python benchmarks/layers.py --cells {cells} --seed {seed}"
    data: dict[str, Any] = {"run": describe_run(threads=threads, command=command)}
    data |= {"seed": seed, "n_rounds": rounds, "results": []}
    for cell in chosen:
        shapes = make_shapes(seed=seed)
        for shape in track(shapes, description=cell, console=console):
            lengths, input_width, hidden_width = shapes[shape]
            found = compare(lengths, input_width, hidden_width, cell=cell, rounds=rounds)
            result = {"cell": cell, "shape": shape, "rows": int(lengths.sum())}
            result |= {"widths": [input_width, hidden_width], "milliseconds": found}
            data["results"].append(result)
            write_results(results, "layers", data=data, markdown=report(data))
    console.print(f"Wrote layers.json and layers.md to {results}")
    print(report(data))


if __name__ == "__main__":
    typer.run(main)
