"""Attention and pooling as operators of ONNX. The weights are those of `layers.attention`."""

from typing import Dict, Tuple

import numpy as np

from .graph import FLOAT, INT64
from .writer import Rows, Writer

Weights = Dict[str, np.ndarray]


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
    scale = graph.constant((width // heads) ** -0.5, "float32")
    scores = graph.op("MatMul", graph.op("Mul", Q, scale), graph.op("Transpose", K, perm=[0, 1, 3, 2]))
    # (longest, sequences, 1) -> (sequences, 1, 1, longest)
    outside = graph.op("Sub", graph.constant(1.0, "float32"), writer.inside(value))
    outside = graph.op("Mul", outside, graph.constant(-1e30, "float32"))
    mask = graph.op("Unsqueeze", graph.op("Transpose", outside, perm=[1, 2, 0]), graph.constant([1]))
    heads_ = graph.op("MatMul", graph.op("Softmax", graph.op("Add", scores, mask), axis=-1), V)
    # (sequences, heads, longest, d) -> (longest, sequences, width)
    joined = graph.op("Transpose", heads_, perm=[2, 0, 1, 3])
    joined = graph.op("Reshape", joined, graph.constant([0, 0, width]))
    attended = writer.linear(joined, weights["output.weight"].T, weights["output.bias"])
    return Rows(padded=graph.op("Add", X, attended))


def pooling(writer: Writer, weights: Weights, kind: str, value: Rows) -> Tuple[str, str]:
    """What `layers.attention.Pooling` computes: the vectors, shape (sequences, width), and for
    "attention" the weight of each row, shape (rows,), else ""."""
    graph = writer.graph
    X, within = writer.padded(value), writer.inside(value)
    first = graph.constant([0])
    if kind == "last":
        return _last(writer, X), ""
    if kind == "mean":
        lengths = graph.op("Cast", graph.op("Unsqueeze", writer.lengths, graph.constant([1])), to=FLOAT)
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
    places = graph.op("Unsqueeze", graph.op("Cast", writer.lengths, to=INT64), graph.constant([0, 2]))
    shape = writer.join(one, graph.op("Shape", writer.lengths), writer.last_dim(begins))
    places = graph.op("Expand", graph.op("Sub", places, one), shape)
    final = graph.op("GatherElements", begins, places, axis=0)
    start = graph.op("Slice", ends, zero, one, zero)
    return graph.op("Squeeze", writer.join(final, start, axis=2), zero)
