"""Attention and pooling as operators of ONNX. The weights are those of `layers.attention`."""

from typing import Dict, Tuple

import numpy as np

from .graph import FLOAT, INT64, Graph
from .writer import Rows, Writer

Weights = Dict[str, np.ndarray]

# Rows that look at a sequence at a time
BLOCK = 128


def self_attention(writer: Writer, weights: Weights, heads: int, value: Rows) -> Rows:
    """What `layers.attention.SelfAttention` computes."""
    graph = writer.graph
    X = writer.padded(value)
    width = weights["output.weight"].shape[0]
    split = graph.constant([0, 0, 3, heads, width // heads])
    projected = writer.linear(X, weights["project.weight"].T, weights["project.bias"])
    # (longest, sequences, 3 * width) -> (3, sequences, heads, longest, d)
    parts = graph.op("Transpose", graph.op("Reshape", projected, split), perm=[2, 1, 3, 0, 4])
    Q, K, V = (
        graph.op("Squeeze", part, graph.constant([0]))
        for part in graph.ops("Split", parts, n_outputs=3, axis=0)
    )
    # (longest, sequences, 1) -> (sequences, 1, 1, longest)
    outside = graph.op("Sub", graph.constant(1.0, "float32"), writer.inside(value))
    outside = graph.op("Mul", outside, graph.constant(-1e30, "float32"))
    mask = graph.op(
        "Unsqueeze", graph.op("Transpose", outside, perm=[1, 2, 0]), graph.constant([1])
    )
    found = _attend(graph, Q, graph.op("Transpose", K, perm=[0, 1, 3, 2]), V, mask, width // heads)
    # (sequences, heads, longest, d) -> (longest, sequences, width)
    joined = graph.op("Transpose", found, perm=[2, 0, 1, 3])
    joined = graph.op("Reshape", joined, graph.constant([0, 0, width]))
    attended = writer.linear(joined, weights["output.weight"].T, weights["output.bias"])
    return Rows(padded=graph.op("Add", X, attended))


def _attend(graph: Graph, Q: str, Kt: str, V: str, mask: str, d: int) -> str:
    """What each row sees, shape (sequences, heads, longest, d). The rows look one block after the
    other, so that memory is proportional to the length of a sequence.

    Kt (str): Shape (sequences, heads, d, longest).
    mask (str): Added to the scores, shape (sequences, 1, 1, longest).
    """
    block = Graph("block_")
    rows = block.input("block_rows", "float32", [None, None, BLOCK, d])
    scaled = block.op("Mul", rows, block.constant(d**-0.5, "float32"))
    scores = block.op("Add", block.op("MatMul", scaled, Kt), mask)
    found = block.op("MatMul", block.op("Softmax", scores, axis=-1), V)
    block.output("block_found", found, "float32", [None, None, BLOCK, d])

    longest, two = graph.op("Shape", Q, start=2, end=3), graph.constant([2])
    more = graph.op("Mod", graph.op("Neg", longest), graph.constant([BLOCK]))
    ends = graph.op("Concat", graph.constant([0] * 6), more, graph.constant([0]), axis=0)
    # (sequences, heads, blocks * BLOCK, d) -> (blocks, sequences, heads, BLOCK, d), and back
    blocks = graph.op("Reshape", graph.op("Pad", Q, ends), graph.constant([0, 0, -1, BLOCK, d]))
    blocks = graph.op("Transpose", blocks, perm=[2, 0, 1, 3, 4])
    seen = graph.op("Scan", blocks, body=block.proto(), num_scan_inputs=1)
    seen = graph.op("Transpose", seen, perm=[1, 2, 0, 3, 4])
    seen = graph.op("Reshape", seen, graph.constant([0, 0, -1, d]))
    return graph.op("Slice", seen, graph.constant([0]), longest, two)


def pooling(writer: Writer, weights: Weights, kind: str, value: Rows) -> Tuple[str, str]:
    """What `layers.attention.Pooling` computes: the vectors, shape (sequences, width), and for
    "attention" the weight of each row, shape (rows,), else ""."""
    graph = writer.graph
    X, within = writer.padded(value), writer.inside(value)
    first = graph.constant([0])
    if kind == "last":
        return _last(writer, X), ""
    if kind == "mean":
        lengths = graph.op(
            "Cast", graph.op("Unsqueeze", writer.lengths, graph.constant([1])), to=FLOAT
        )
        total = graph.op("ReduceSum", graph.op("Mul", X, within), first, keepdims=0)
        return graph.op("Div", total, lengths), ""
    outside = graph.op("Sub", graph.constant(1.0, "float32"), within)
    outside = graph.op("Mul", outside, graph.constant(-1e30, "float32"))
    if kind == "max":
        return graph.op("ReduceMax", graph.op("Add", X, outside), first, keepdims=0), ""
    hidden = graph.op("Tanh", writer.linear(X, weights["hidden.weight"].T, weights["hidden.bias"]))
    scores = writer.linear(hidden, weights["query.weight"].T)
    shares = graph.op("Softmax", graph.op("Add", scores, outside), axis=0)
    pooled = graph.op("ReduceSum", graph.op("Mul", X, shares), first, keepdims=0)
    return pooled, graph.op("Reshape", writer.flat(Rows(padded=shares)), graph.constant([-1]))


def _last(writer: Writer, X: str) -> str:
    """The first half of the last row beside the second half of the first."""
    graph = writer.graph
    zero, one = graph.constant([0]), graph.constant([1])
    begins, ends = graph.ops("Split", X, n_outputs=2, axis=2)
    places = graph.op(
        "Unsqueeze", graph.op("Cast", writer.lengths, to=INT64), graph.constant([0, 2])
    )
    shape = writer.join(one, graph.op("Shape", writer.lengths), writer.last_dim(begins))
    places = graph.op("Expand", graph.op("Sub", places, one), shape)
    final = graph.op("GatherElements", begins, places, axis=0)
    start = graph.op("Slice", ends, zero, one, zero)
    return graph.op("Squeeze", writer.join(final, start, axis=2), zero)
