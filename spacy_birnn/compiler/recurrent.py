"""Recurrent layers as operators of ONNX. The weights are those of `layers.recurrent`."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .graph import FLOAT, INT64
from .writer import Writer

Weights = Dict[str, np.ndarray]


class Operator(NamedTuple):
    """A cell as ONNX has it.

    kind (str): Name of the operator.
    gates (Tuple[int, ...]): Which of our gates stands in each of its places.
    peepholes (Tuple[int, ...]): The same of the peepholes.
    attributes (Dict[str, int]): What else it is told.
    """

    kind: str
    gates: Tuple[int, ...]
    peepholes: Tuple[int, ...] = ()
    attributes: Dict[str, int] = {}


OPERATORS = {
    "rnn": Operator("RNN", (0,)),
    "gru": Operator("GRU", (1, 0, 2), attributes={"linear_before_reset": 1}),
    "lstm": Operator("LSTM", (1, 3, 2, 0)),
    "peephole_lstm": Operator("LSTM", (1, 3, 2, 0), peepholes=(0, 2, 1)),
}
REVERSE = {"both": (False, True), "forward": (False,), "backward": (True,)}


def birnn(
    writer: Writer,
    weights: Weights,
    settings: Dict[str, Any],
    X: str,
    lengths: str,
    *,
    prefix: str = "",
    final: bool = False,
) -> Tuple[str, str]:
    """Write what `layers.birnn.BiRNN` computes.

    weights (Weights): Its parameters by their names, which begin with the prefix.
    settings (Dict[str, Any]): Its arguments.
    X (str): Shape (longest, sequences, input_width).
    lengths (str): Shape (sequences,).
    final (bool): Whether the final states are wanted.
    RETURNS (Tuple[str, str]): The outputs, shape (longest, sequences, output_width), and the final
        states, shape (sequences, output_width), or "".
    """
    reverse = REVERSE[settings.get("direction", "both")]
    merge, is_grid = settings.get("merge", "concat"), settings["cell"] == "grid_lstm"
    inputs: List[str] = [X] * len(reverse)
    cell_states: List[Optional[str]] = [None] * len(reverse)
    states, finals = inputs, inputs
    depth = 1 + max(int(name[len(prefix) :].split(".")[1]) for name in weights if "layers." in name)
    for i in range(depth):
        layer = {
            name: weights[f"{prefix}layers.{i}.{name}"]
            for name in "WUbPM"
            if f"{prefix}layers.{i}.{name}" in weights
        }
        states, finals = [], []
        for d, back in enumerate(reverse):
            own = {name: part[d] for name, part in layer.items()}
            if is_grid:
                found, cell_states[d] = _grid(
                    writer, own, inputs[d], lengths, cell_states[d], back=back
                )
                last = _ends(writer, found, lengths, back=back) if final else ""
            else:
                found, last = _run(writer, settings["cell"], own, inputs[d], lengths, back=back)
            states.append(found)
            finals.append(last)
        if settings.get("stack") == "independent":
            inputs = states
        else:
            inputs = [_merged(writer, states, merge, axis=2)] * len(reverse)
    outputs = _merged(writer, states, merge, axis=2)
    return outputs, _merged(writer, finals, merge, axis=1) if final else ""


def onnx_weights(cell: str, weights: Weights) -> Dict[str, np.ndarray]:
    """The weights of one direction as ONNX orders them: W (1, gates * width, input width), R (1,
    gates * width, width), B (1, 2 * gates * width), and P (1, 3 * width) of peepholes."""
    operator = OPERATORS[cell]
    order, width = list(operator.gates), weights["U"].shape[0]

    def in_order(part: np.ndarray) -> np.ndarray:
        # (n, gates * width) -> (gates * width, n)
        return part.T.reshape(len(order), width, -1)[order].reshape(len(order) * width, -1)

    W, R, b = (in_order(weights[name]) for name in "WUb")
    found = {"W": W[None], "R": R[None], "B": np.concatenate([b, np.zeros_like(b)])[:, 0][None]}
    if operator.peepholes:
        found["P"] = weights["P"].reshape(-1, width)[list(operator.peepholes)].reshape(1, -1)
    return found


def _run(
    writer: Writer, cell: str, weights: Weights, X: str, lengths: str, *, back: bool
) -> Tuple[str, str]:
    """The states of one direction, shape (longest, sequences, width), and the final ones."""
    graph, operator = writer.graph, OPERATORS[cell]
    parts = {k: graph.constant(v, "float32") for k, v in onnx_weights(cell, weights).items()}
    inputs = [X, parts["W"], parts["R"], parts["B"], lengths]
    if operator.peepholes:
        inputs += ["", "", parts["P"]]
    Y, Y_last = graph.ops(
        operator.kind,
        *inputs,
        n_outputs=2,
        hidden_size=weights["U"].shape[0],
        direction="reverse" if back else "forward",
        **operator.attributes,
    )
    # (longest, 1, sequences, width) and (1, sequences, width)
    states = graph.op("Squeeze", Y, graph.constant([1]))
    return states, graph.op("Squeeze", Y_last, graph.constant([0]))


def _grid(
    writer: Writer,
    weights: Weights,
    X: str,
    lengths: str,
    cell_state: Optional[str],
    *,
    back: bool,
) -> Tuple[str, str]:
    """What `layers.recurrent.GridLSTMLayer` computes in one direction: its output, and the cell
    state for the layer above."""
    graph = writer.graph
    halves = {name: np.split(weights[name], 2, axis=-1) for name in "WUb"}
    along, up = ({name: parts[i] for name, parts in halves.items()} for i in (0, 1))
    H, _ = _run(writer, "lstm", along, X, lengths, back=back)
    # The state before each step. Beyond the end of a sequence the states are 0
    edge = [0, 0, 0, 1, 0, 0] if back else [1, 0, 0, 0, 0, 0]
    wider = graph.op("Pad", H, graph.constant(edge))
    begin, end = ([1], [2**31]) if back else ([0], [-1])
    before = graph.op("Slice", wider, *(graph.constant(at) for at in (begin, end, [0])))
    if cell_state is None:
        cell_state = writer.linear(X, weights["M"])
    gates = graph.op("Add", writer.linear(X, up["W"], up["b"][0]), writer.linear(before, up["U"]))
    g, i, f, o = graph.ops("Split", gates, n_outputs=4, axis=2)
    g = graph.op("Tanh", g)
    i, f, o = (graph.op("Sigmoid", gate) for gate in (i, f, o))
    new = graph.op("Add", graph.op("Mul", f, cell_state), graph.op("Mul", i, g))
    return graph.op("Mul", o, graph.op("Tanh", new)), new


def _ends(writer: Writer, states: str, lengths: str, *, back: bool) -> str:
    """The state of each sequence where its reading ends, shape (sequences, width); 0 of an empty
    one."""
    graph = writer.graph
    zero, one = graph.constant([0]), graph.constant([1])
    lengths = graph.op("Cast", lengths, to=INT64)
    # (sequences,) -> (1, sequences, 1)
    last = graph.op("Max", graph.op("Sub", lengths, one), zero)
    last = graph.op("Mul", last, zero) if back else last
    places = graph.op("Unsqueeze", last, graph.constant([0, 2]))
    width = writer.last_dim(states)
    shape = writer.join(one, graph.op("Shape", lengths), width)
    found = graph.op("GatherElements", states, graph.op("Expand", places, shape), axis=0)
    found = graph.op("Squeeze", found, zero)
    some = graph.op("Cast", graph.op("Min", lengths, one), to=FLOAT)
    return graph.op("Mul", found, graph.op("Unsqueeze", some, one))


def _merged(writer: Writer, parts: List[str], merge: str, *, axis: int) -> str:
    if len(parts) == 1:
        return parts[0]
    if merge == "concat":
        return writer.join(*parts, axis=axis)
    return writer.graph.op({"sum": "Sum", "mean": "Mean", "mul": "Mul"}[merge], *parts)
