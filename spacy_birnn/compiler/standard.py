"""Converters of Thinc's and spaCy's layers."""

from typing import Any, List

import numpy as np
from thinc.api import Model

from .writer import Arrays, Batch, Ids, NoConverter, Rows, Value, Writer, converter, param

# Combinators


@converter("thinc.layers.chain.forward", "spacy_birnn.models.prediction._forward")
def _chain(writer: Writer, node: Model, value: Value) -> Value:
    if isinstance(value, Batch):
        # What reads documents and has no converter can run before the graph
        first = writer.convert_or_host(node.layers[0], value)
        return writer.convert_all(node.layers[1:], first)
    return writer.convert_all(node.layers, value)


@converter("thinc.layers.concatenate.forward")
def _concatenate(writer: Writer, node: Model, value: Value) -> Value:
    if isinstance(value, Batch):
        parts: List[Any] = [writer.convert_or_host(layer, value) for layer in node.layers]
    else:
        parts = [writer.convert(layer, value) for layer in node.layers]
    if any(isinstance(part, Ids) for part in parts):
        raise NoConverter(node.name)
    # Static vectors have no columns where there are none
    parts = [part for part in parts if part.any]
    if len(parts) == 1:
        return parts[0]
    if all(part.padded and not part.flat for part in parts):
        return Rows(padded=writer.join(*(part.padded for part in parts), axis=2))
    return Rows(flat=writer.join(*map(writer.flat, parts), axis=1))


@converter("thinc.layers.residual.forward")
def _residual(writer: Writer, node: Model, value: Rows) -> Rows:
    found = writer.convert(node.layers[0], value)
    if not isinstance(value, Rows) or not isinstance(found, Rows):
        raise NoConverter(node.name)
    if value.flat and found.flat:
        return Rows(flat=writer.graph.op("Add", value.flat, found.flat))
    return Rows(padded=writer.graph.op("Add", writer.padded(value), writer.padded(found)))


@converter("thinc.layers.with_array.forward")
def _with_array(writer: Writer, node: Model, value: Value) -> Value:
    pad = node.attrs["pad"]
    if not pad:
        if any(inner.name == "expand_window" for inner in node.walk()):
            # Its windows reach from one document into the next
            raise NoConverter(node.name)
        return writer.convert(node.layers[0], value)
    # A convolution sees rows beyond both ends, which begin as 0 and go through its layers as well
    graph = writer.graph
    assert isinstance(value, Rows)
    X = graph.op("Mul", writer.padded(value), writer.inside(value))
    edge = graph.constant([pad, 0, 0, pad, 0, 0])
    wider = writer.convert(node.layers[0], Rows(padded=graph.op("Pad", X, edge)))
    assert isinstance(wider, Rows)
    begin, end = graph.constant([pad]), graph.constant([-pad])
    return Rows(padded=graph.op("Slice", writer.padded(wider), begin, end, graph.constant([0])))


@converter("thinc.layers.expand_window.forward")
def _expand_window(writer: Writer, node: Model, value: Rows) -> Rows:
    """The neighbours of each row beside it."""
    graph, size = writer.graph, node.attrs["window_size"]
    X = writer.padded(value)
    n = graph.op("Shape", X, start=0, end=1)
    wider = graph.op("Pad", X, graph.constant([size, 0, 0, size, 0, 0]))
    parts = []
    for i in range(2 * size + 1):
        begin = graph.constant([i])
        end = graph.op("Add", n, begin)
        parts.append(graph.op("Slice", wider, begin, end, graph.constant([0])))
    return Rows(padded=writer.join(*parts, axis=2))


@converter(
    "thinc.layers.dropout.forward",
    "thinc.layers.list2ragged.forward",
    "thinc.layers.ragged2list.forward",
    "thinc.layers.noop.forward",
)
def _as_it_is(writer: Writer, node: Model, value: Value) -> Value:
    return value


# Layers


@converter("spacy.ml.featureextractor.forward")
def _extract_features(writer: Writer, node: Model, value: Value) -> Ids:
    columns = node.attrs["columns"]

    def read(docs: Any, arrays: Arrays) -> np.ndarray:
        found = [doc.to_array(columns).reshape(-1, len(columns)) for doc in docs]
        return np.concatenate(found).astype("uint64")

    return Ids(writer.read("ids", read))


@converter("thinc.layers.array_getitem.forward")
def _getitem(writer: Writer, node: Model, value: Value) -> Ids:
    if not isinstance(value, Ids):
        raise NoConverter(node.name)
    return value._replace(index=node.attrs["index"])


@converter("thinc.layers.hashembed.forward")
def _hash_embed(writer: Writer, node: Model, value: Value) -> Rows:
    if not isinstance(value, Ids):
        raise NoConverter(node.name)
    graph = writer.graph
    seed, n_rows, ops = node.attrs["seed"], node.get_dim("nV"), node.ops

    def rows(batch: Any, arrays: Arrays) -> np.ndarray:
        ids: Any = ops.as_contig(ops.xp.asarray(value.of(arrays), dtype="uint64"))
        return ops.to_numpy(ops.hash(ids, seed) % n_rows)

    name = writer.feed("hashed", "int64", [writer.each, 4], rows)
    vectors = graph.op("Gather", graph.constant(param(node, "E"), "float32"), name, axis=0)
    return Rows(flat=graph.op("ReduceSum", vectors, graph.constant([1]), keepdims=0))


@converter("thinc.layers.maxout.forward")
def _maxout(writer: Writer, node: Model, value: Rows) -> Rows:
    W, b = param(node, "W"), param(node, "b")
    n_out, n_pieces, n_in = W.shape

    def maxout(X: str) -> str:
        # The pieces one after the other, so that the largest is found without a transposition
        parts = [writer.linear(X, W[:, i].T, b[:, i]) for i in range(n_pieces)]
        return writer.graph.op("Max", *parts)

    return value.map(maxout)


@converter("thinc.layers.layernorm.forward")
def _layer_norm(writer: Writer, node: Model, value: Rows) -> Rows:
    graph = writer.graph
    G, b = (graph.constant(param(node, name), "float32") for name in ("G", "b"))
    return value.map(lambda X: graph.op("LayerNormalization", X, G, b, axis=-1, epsilon=1e-8))


@converter("thinc.layers.linear.forward")
def _linear(writer: Writer, node: Model, value: Rows) -> Rows:
    return value.map(lambda X: writer.linear(X, param(node, "W").T, param(node, "b")))
