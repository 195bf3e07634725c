"""The character encoder-decoder as two graphs: one reads words, the other writes a character."""

from typing import Any, Callable, Dict, Hashable, List, Tuple

import numpy as np

from ..beam import END, PAD, START, Source, States, classes
from .graph import Graph
from .recurrent import OPERATORS, birnn, onnx_weights
from .runner import session
from .writer import WORDS, Writer

Weights = Dict[str, np.ndarray]


class Memo:
    """Results by what they belong to, at most `SIZE`: beyond that it begins anew. Threads may share
    it."""

    SIZE = 20000

    def __init__(self) -> None:
        self._known: Dict[Hashable, Any] = {}

    def look_up(self, keys: List[Any], compute: Callable[[List[int]], Any]) -> List[Any]:
        """The results for some keys.

        compute (Callable[[List[int]], Sequence]): Makes the results for those of the keys, by their
            place, that there are none for. Each distinct key is computed once.
        """
        known = self._known
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new and len(known) + len(new) > self.SIZE:
            self._known = known = {}
            new = {key: i for i, key in enumerate(keys)}
        if new:
            known.update(zip(new, compute(list(new.values()))))
        return [known[key] for key in keys]


class Seq2SeqProgram:
    """What `beam.search` needs of `layers.seq2seq.CharSeq2Seq`.

    weights (Dict[str, np.ndarray]): The module's weights by their names.
    cfg (Dict[str, Any]): Its arguments.

    memo (Memo): What was decoded with these weights.
    hosted (List[Model]): None, see `program.Program`.
    """

    def __init__(self, weights: Weights, cfg: Dict[str, Any]):
        self.memo = Memo()
        self.hosted: List[Any] = []
        self._is_finite = all(np.isfinite(part).all() for part in weights.values())
        self.alphabet = np.array([END, *sorted(cfg["alphabet"])])
        self._rows = cfg["rows"]
        self._width = cfg["width"]
        self._names = ["h", "c"] if cfg["cell"] == "lstm" else ["h"]
        bias = weights.get("distance_bias", np.zeros(1, dtype="float32"))
        self._distance_bias, self._reach = bias, len(bias) // 2
        self._encoder = session(_encoder(weights, cfg))
        self._step = session(_step(weights, cfg, self._names))

    def encode(self, condition: np.ndarray, chars: np.ndarray, lengths: np.ndarray) -> Source:
        """See `beam.Decoder`."""
        longest, n_words = int(lengths.max()), len(lengths)
        within = np.arange(longest) < lengths[:, None]
        padded = np.full((n_words, longest), PAD)
        padded[within] = chars
        # Beyond the end of a word any character may stand
        ids = self._ids(np.where(within, padded, START))
        inputs = {
            "characters": np.ascontiguousarray(ids.T),
            "word_lengths": lengths.astype("int32"),
            "condition": condition,
        }
        states, summary = self._encoder.run(["states", "summary"], inputs)
        return Source(states, padded, summary)

    def step(
        self, before: np.ndarray, step: int, states: States, source: Source
    ) -> Tuple[States, np.ndarray, np.ndarray]:
        """See `beam.Decoder`."""
        n_words, beam = before.shape
        if not states:
            zeros = np.zeros((n_words * beam, self._width), dtype="float32")
            states = dict.fromkeys(self._names, zeros)
        distances = np.arange(source.chars.shape[1]) - step
        bias = self._distance_bias[np.clip(distances, -self._reach, self._reach) + self._reach]
        inputs = {
            "before": self._ids(before),
            "states": source.states,
            "summary": source.summary,
            # (longest,) + (words, longest)
            "bias": bias + np.where(source.chars == PAD, np.float32(-1e30), np.float32(0.0)),
            **states,
        }
        generated, copied, *after = self._step.run(None, inputs)
        if not self._is_finite:
            # See `runner.Runner.run`
            generated = generated * np.nan
        return dict(zip(self._names, after)), generated, copied

    def _ids(self, chars: np.ndarray) -> np.ndarray:
        """The row of each character in the table of embeddings."""
        # The place of END, which is never read, is that of START
        places = classes(self.alphabet, np.where(chars == START, END, chars))
        return np.where(places < 0, len(self.alphabet) + chars % self._rows, places)


def _encoder(weights: Weights, cfg: Dict[str, Any]) -> Graph:
    writer = Writer(dims=WORDS)
    graph = writer.graph
    chars = graph.input("characters", "int64", [WORDS.longest, WORDS.sequences])
    X = graph.op("Gather", graph.constant(weights["embed.weight"], "float32"), chars, axis=0)
    settings = {"cell": cfg["cell"]}
    states, final = birnn(
        writer, weights, settings, X, writer.lengths, prefix="encoder.", final=True
    )
    condition = graph.input("condition", "float32", [WORDS.sequences, None])
    both = writer.join(final, condition, axis=1)
    summary = writer.linear(both, weights["summarize.weight"].T, weights["summarize.bias"])
    states = graph.op("Transpose", states, perm=[1, 0, 2])
    graph.output("states", states, "float32", [WORDS.sequences, WORDS.longest, None])
    graph.output("summary", graph.op("Tanh", summary), "float32", [WORDS.sequences, None])
    return graph


def _step(weights: Weights, cfg: Dict[str, Any], names: list) -> Graph:
    writer = Writer(dims=WORDS)
    graph, width, words, longest = writer.graph, cfg["width"], WORDS.sequences, WORDS.longest
    before = graph.input("before", "int64", [words, "beam"])
    summary = graph.input("summary", "float32", [words, width])
    states = graph.input("states", "float32", [words, longest, width])
    bias = graph.input("bias", "float32", [words, longest])
    shape = writer.join(graph.op("Shape", before), graph.constant([width]))
    X = graph.op("Gather", graph.constant(weights["embed.weight"], "float32"), before, axis=0)
    # (words, width) -> (words, beam, width)
    one = graph.constant([1])
    wide = graph.op("Expand", graph.op("Unsqueeze", summary, one), shape)
    X = writer.join(X, wide, axis=2)
    rows = writer.join(graph.constant([1, -1]), writer.last_dim(X))
    X = graph.op("Reshape", X, rows)  # (1, words * beam, input width)
    own = {n: weights[f"decoder.layers.0.{n}"][0] for n in "WUb"}
    parts = [graph.constant(v, "float32") for v in onnx_weights(cfg["cell"], own).values()]
    zero = graph.constant([0])
    inputs = [
        graph.op("Unsqueeze", graph.input(name, "float32", ["beginnings", width]), zero)
        for name in names
    ]
    operator = OPERATORS[cfg["cell"]]
    found = graph.ops(
        operator.kind,
        X,
        *parts,
        "",
        *inputs,
        n_outputs=1 + len(names),
        hidden_size=width,
        **operator.attributes,
    )
    after = [graph.op("Squeeze", part, zero) for part in found[1:]]
    H = graph.op("Reshape", after[0], shape)
    if not cfg["attention"]:
        generated = writer.linear(H, weights["generate.weight"].T, weights["generate.bias"])
        generated = graph.op("Softmax", generated, axis=-1)
        none = graph.op("Mul", graph.op("Unsqueeze", bias, one), graph.constant(0.0, "float32"))
        columns = writer.join(graph.op("Shape", before), writer.last_dim(bias))
        copied = graph.op("Expand", none, columns)
    else:
        query = writer.linear(H, weights["query.weight"].T)
        scores = graph.op("MatMul", query, graph.op("Transpose", states, perm=[0, 2, 1]))
        scores = graph.op("Add", scores, graph.op("Unsqueeze", bias, one))
        shares = graph.op("Softmax", scores, axis=-1)
        context = graph.op("MatMul", shares, states)
        mixed = writer.join(H, context, axis=2)
        mixed = writer.linear(mixed, weights["mix.weight"].T, weights["mix.bias"])
        mixed = graph.op("Tanh", mixed)
        gate = writer.linear(mixed, weights["copy.weight"].T, weights["copy.bias"])
        gate = graph.op("Sigmoid", gate)
        generated = writer.linear(mixed, weights["generate.weight"].T, weights["generate.bias"])
        rest = graph.op("Sub", graph.constant(1.0, "float32"), gate)
        generated = graph.op("Mul", graph.op("Softmax", generated, axis=-1), rest)
        copied = graph.op("Mul", shares, gate)
    graph.output("generated", generated, "float32", [words, "beam", None])
    graph.output("copied", copied, "float32", [words, "beam", longest])
    for name, value in zip(names, after):
        graph.output(f"next_{name}", value, "float32", ["beginnings", width])
    return graph
