"""Converters of our own layers."""

from typing import Any

import numpy as np
from thinc.api import Model

from ..models.embed import all_spelling_ids
from ..models.tagger import SCALE
from ..models.torch_wrapper import torch_shim
from .attention import pooling, self_attention
from .recurrent import birnn
from .words import WordVectors
from .writer import TEXTS, Arrays, Batch, Rows, Scores, Writer, converter, param


@converter("spacy_birnn.models.encoder._forward_encoder")
def _encoder(writer: Writer, node: Model, value: Rows) -> Rows:
    shim = torch_shim(node)
    states, _ = birnn(writer, shim.weights, shim.settings, writer.padded(value), writer.lengths)
    return Rows(padded=states)


@converter("spacy_birnn.models.encoder._forward")
def _self_attention(writer: Writer, node: Model, value: Rows) -> Rows:
    shim = torch_shim(node)
    return self_attention(writer, shim.weights, shim.settings["heads"], value)


@converter("spacy_birnn.models.tagger._forward")
def _sequence_scores(writer: Writer, node: Model, value: Rows) -> Rows:
    W, b = param(node, "W") * SCALE, param(node, "b") * SCALE
    return value.map(lambda X: writer.linear(X, W.T, b))


@converter("spacy_birnn.models.textcat._forward_head")
def _doc_scores(writer: Writer, node: Model, value: Rows) -> Scores:
    pool, *layers = node.layers
    shim = torch_shim(pool)
    pooled, attention = pooling(writer, shim.weights, shim.settings["kind"], value)
    writer.watched.append(pool)
    logits = writer.convert_all(layers, Rows(flat=pooled))
    assert isinstance(logits, Rows)
    return Scores(logits.any, attention or None)


# Words


@converter("spacy_birnn.models.embed._forward_table")
def _word_table(writer: Writer, node: Model, value: Batch) -> Rows:
    # It is large, and NumPy finds its rows
    return writer.host(node)


@converter("spacy_birnn.models.embed._forward_spelling")
def _spelling(writer: Writer, node: Model, value: Batch) -> Rows:
    """All of its tables as one, one below the other: a fraction of the operators."""
    graph = writer.graph
    tables = [inner for inner in node.walk() if inner.name == "hashembed"]
    writer.watched += tables
    n_rows = tables[0].get_dim("nV")

    def read(words: Any, arrays: Arrays) -> np.ndarray:
        ids: Any = np.ascontiguousarray(all_spelling_ids(node, words).T)
        rows = [
            table.ops.hash(table.ops.xp.asarray(own), table.attrs["seed"]) % n_rows + i * n_rows
            for i, (table, own) in enumerate(zip(tables, ids))
        ]
        return node.ops.to_numpy(node.ops.xp.stack(rows, axis=1))

    rows = writer.feed("hashed", "int64", [writer.each, len(tables), 4], read)
    E = graph.constant(np.concatenate([param(table, "E") for table in tables]), "float32")
    vectors = graph.op("ReduceSum", graph.op("Gather", E, rows, axis=0), graph.constant([2]))
    return Rows(flat=graph.op("Reshape", vectors, graph.constant([0, -1])))


@converter("spacy_birnn.models.chars._forward")
def _char_rnn(writer: Writer, node: Model, value: Batch) -> Rows:
    shim, graph = torch_shim(node), writer.graph
    rows = node.attrs["rows"]

    def read(words: Any, arrays: Arrays) -> np.ndarray:
        return arrays["code_points"] % rows

    chars = writer.feed("characters", "int64", [writer.dims.longest, writer.dims.sequences], read)
    table = graph.constant(shim.weights["embed.weight"], "float32")
    X = graph.op("Gather", table, chars, axis=0)
    settings = {"cell": shim.settings["cell"]}
    weights = shim.weights
    _, final = birnn(writer, weights, settings, X, writer.lengths, prefix="rnn.", final=True)
    return Rows(flat=final)


@converter("spacy_birnn.models.features._forward_by_word")
def _by_word(writer: Writer, node: Model, value: Batch) -> Rows:
    """The vectors of the words, each at the tokens that are the word."""
    graph = writer.graph
    found = WordVectors(node.layers[0])
    writer.feeds.append(found)
    writer.watched += found.watched
    vectors = graph.input("vectors_of_words", "float32", ["words", None])
    cells = graph.input("word_at", "int64", [TEXTS.longest, TEXTS.sequences])
    return Rows(padded=graph.op("Gather", vectors, cells, axis=0))
