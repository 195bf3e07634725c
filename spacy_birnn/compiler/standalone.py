"""Graphs that run without spaCy: what goes in are the hashes of strings and the code points of
words, and all that the model makes of them is in the graph."""

from collections import ChainMap
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Dict, List, NamedTuple

import numpy as np
from spacy.strings import hash_string  # type: ignore[attr-defined]
from spacy.symbols import IDS, NAMES
from thinc.api import Model

from ..models.embed import SCALE
from . import ours, standard  # noqa: F401  they register their converters
from .graph import INT32, INT64, UINT64
from .hashing import hash_embed_keys, linear_keys, ngram_keys
from .recurrent import birnn
from .writer import (
    CONVERTERS,
    TEXTS,
    Batch,
    Converter,
    NoConverter,
    Rows,
    Scores,
    Value,
    Writer,
    converter,
    param,
)

# Converters of what reads documents; those of all else are the same as for prediction
READING: Dict[str, Converter] = {}
reading = partial(converter, converters=READING)

AFFIX = "The hash of each word's {} characters; 0 if it has fewer than {}."
ABOUT = {
    "lengths": "The number of words of each text, at least 1. The other inputs have the words of "
    "all texts one after the other.",
    "characters": "The Unicode code points of each word, and -1 after its last.",
    "word": "The hash of each word in lower case, each of its digits replaced by 0.",
    "first_character": "The hash of each word's first character.",
    "last_characters": "The hash of each word's last three characters.",
    "prefix_3": AFFIX.format("first three", 6),
    "suffix_2": AFFIX.format("last two", 4),
    "suffix_3": AFFIX.format("last three", 6),
    "suffix_4": AFFIX.format("last four", 8),
    "shape": "The hash of each word's shape: X for an upper-case letter, x for another letter, d "
    "for a digit, any other character as it is; of more than four equal ones in a row four; and "
    "LONG for a word of 100 characters or more.",
    "form": "The hash of each word as it is.",
    "static_vectors": "The word vector of each word, 0 if it has none: that of the word as it is, "
    "else in lower case, else with each digit replaced by 0, else both.",
}
ATTRIBUTE = "The hash of spaCy's {name} of each word (0 for an empty string), or its number."


class Columns(NamedTuple):
    """Ids of each token: values in the graph, each of shape (tokens,)."""

    ids: List[str]


@dataclass
class StandaloneWriter(Writer):
    """Writes a graph that reads no documents.

    made (Dict[str, str]): Values that have been made of inputs, by their names.
    """

    converters = ChainMap(READING, CONVERTERS)

    made: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph.input("lengths", "int64", [TEXTS.sequences], ABOUT["lengths"])

    def convert_or_host(self, node: Model, value: Batch) -> Value:
        return self.convert(node, value)

    def host(self, node: Model) -> Rows:
        raise NoConverter(node.name)

    def hashes(self, name: str) -> str:
        """The hashes of a string of each word, which are an input."""
        about = ABOUT.get(name) or ATTRIBUTE.format(name=name.upper())
        return self.graph.op("Cast", self.words(name, "uint64", about=about), to=INT64)

    def ids(self, name: str) -> str:
        """spaCy's ids of the same strings. Of some, such as "mark" and "X", the id is no hash:
        they are names of its own symbols."""
        if name not in self.made:
            ids = self.hashes(name)
            numbers = {hash_string(symbol): number for symbol, number in IDS.items() if symbol}
            place = self.look_up(ids, np.array(list(numbers), dtype="uint64"))
            symbols = self.graph.constant([0, *(numbers[key] for key in sorted(numbers))], "int64")
            is_other = self.graph.op("Equal", place, self.graph.constant(0))
            found = self.graph.op("Gather", symbols, place, axis=0)
            self.made[name] = self.graph.op("Where", is_other, ids, found)
        return self.made[name]

    def look_up(self, hashes: str, keys: np.ndarray) -> str:
        """Which of some keys, sorted, each hash is, counted from 1; 0 if it is none. The keys are
        hashes, so their first bits divide them into small parts of like size.

        keys (np.ndarray): uint64, shape (keys,).
        """
        graph = self.graph
        if not len(keys):
            return graph.op("Mul", hashes, graph.constant(0))
        keys, n_bits = np.sort(keys), len(keys).bit_length()
        parts = (keys >> np.uint64(64 - n_bits)).astype("int64")
        largest = int(np.bincount(parts).max())
        starts = np.searchsorted(parts, np.arange(2**n_bits))
        padded = np.concatenate([keys, np.zeros(largest, dtype="uint64")]).view("int64")
        bits = graph.op("Cast", hashes, to=UINT64)
        shift = graph.constant(64 - n_bits, "uint64")
        part = graph.op("Cast", graph.op("BitShift", bits, shift, direction="RIGHT"), to=INT64)
        last = graph.constant([-1])
        start = graph.op("Gather", graph.constant(starts), part, axis=0)
        start = graph.op("Unsqueeze", start, last)
        places = graph.op("Add", start, graph.constant(np.arange(largest)))
        found = graph.op("Gather", graph.constant(padded), places, axis=0)
        is_it = graph.op("Equal", found, graph.op("Unsqueeze", hashes, last))
        numbers = graph.op("Add", places, graph.constant(1))
        found = graph.op("Mul", graph.op("Cast", is_it, to=INT64), numbers)
        return graph.op("ReduceSum", found, last, keepdims=0)

    def words(self, name: str, dtype: str, *more: Any, about: str = "") -> str:
        """An input with a row for each word."""
        return self.graph.input(name, dtype, [TEXTS.rows, *more], about or ABOUT[name])

    def _place(self, name: str, dtype: str, *dims: str) -> str:
        """How the texts are laid out follows from their lengths."""
        if name not in self.made:
            self._lay_out("lengths")
        return self.made[name]

    def _lay_out(self, lengths: str) -> None:
        graph, zero, one = self.graph, self.graph.constant([0]), self.graph.constant([1])
        longest = graph.op("ReduceMax", lengths, keepdims=0)
        steps = graph.op("Range", graph.constant(0), longest, graph.constant(1))
        steps = graph.op("Unsqueeze", steps, one)
        starts = graph.op("Sub", graph.op("CumSum", lengths, graph.constant(0)), lengths)
        # Behind the end of a sequence stands its last row
        cells = graph.op("Min", steps, graph.op("Sub", lengths, one))
        inside = graph.op("Transpose", graph.op("Less", steps, lengths))
        sequences, at = graph.ops("Split", graph.op("NonZero", inside), n_outputs=2, axis=0)
        places = graph.op("Add", graph.op("Mul", at, graph.op("Shape", lengths)), sequences)
        self.made.update(
            lengths=graph.op("Cast", lengths, to=INT32),
            cells=graph.op("Add", starts, cells),
            places=graph.op("Squeeze", places, zero),
        )


@reading("spacy_birnn.models.features._forward_by_word")
def _by_word(writer: StandaloneWriter, node: Model, value: Batch) -> Value:
    """Each token is a word of its own."""
    return writer.convert(node.layers[0], value)


@reading("spacy_birnn.models.embed._forward_table")
def _word_table(writer: StandaloneWriter, node: Model, value: Batch) -> Rows:
    E, places = param(node, "E"), param(node, "places")
    ids = param(node, "keys").tolist()
    hashes = [hash_string(NAMES[key]) if key < len(NAMES) else key for key in ids]
    keys = np.array(hashes, dtype="uint64")
    rows = writer.look_up(writer.hashes("word"), keys)
    # In the order of the keys, behind the row of unknown words
    ordered = np.concatenate([E[:1], E[places[np.argsort(keys)]]])
    table = writer.graph.constant(ordered * SCALE, "float32")
    return Rows(flat=writer.graph.op("Gather", table, rows, axis=0))


@reading("spacy_birnn.models.vectors._forward")
def _word_vectors(writer: StandaloneWriter, node: Model, value: Batch) -> Rows:
    width = node.get_dim("nO")
    return Rows(flat=writer.words("static_vectors", "float32", width) if width else None)


@reading("spacy_birnn.models.embed._forward_trained")
def _trained_vectors(writer: StandaloneWriter, node: Model, value: Batch) -> Rows:
    own, static = (writer.convert(layer, value) for layer in node.layers)
    assert isinstance(own, Rows) and isinstance(static, Rows)
    return Rows(flat=writer.graph.op("Add", own.any, static.any)) if static.any else own


@reading("spacy_birnn.models.embed._forward_spelling")
def _spelling(writer: StandaloneWriter, node: Model, value: Batch) -> Value:
    ids: Any = Columns([writer.ids(name) for name in node.attrs["kinds"]])
    return writer.convert(node.layers[0], ids)


@reading("spacy_birnn.models.chars._forward")
def _char_rnn(writer: StandaloneWriter, node: Model, value: Batch) -> Rows:
    shim: Any = node.shims[0]
    graph = writer.graph
    one, limit = graph.constant([1]), node.attrs["max_chars"]
    chars = writer.words("characters", "int64", "longest_word")
    is_char = graph.op("Cast", graph.op("GreaterOrEqual", chars, graph.constant(0)), to=INT64)
    lengths = graph.op("ReduceSum", is_char, one)  # (tokens, 1)
    # Of a longer word both ends
    n = graph.op("Min", graph.op("Shape", chars, start=1), graph.constant([limit]))
    steps = graph.op("Range", graph.constant(0), graph.op("Squeeze", n), graph.constant(1))
    too_many = graph.op("Max", graph.op("Sub", lengths, graph.constant(limit)), graph.constant(0))
    is_end = graph.op("GreaterOrEqual", steps, graph.constant(limit - limit // 2))
    skipped = graph.op("Mul", graph.op("Cast", is_end, to=INT64), too_many)
    read = graph.op("GatherElements", chars, graph.op("Add", steps, skipped), axis=1)
    # The modulo of ONNX is not negative
    rows = graph.op("Mod", graph.op("Transpose", read), graph.constant(node.attrs["rows"]))
    X = graph.op("Gather", graph.constant(shim.weights["embed.weight"], "float32"), rows, axis=0)
    lengths = graph.op("Squeeze", graph.op("Min", lengths, graph.constant(limit)), one)
    lengths = graph.op("Cast", lengths, to=INT32)
    settings = {"cell": shim.settings["cell"]}
    _, final = birnn(writer, shim.weights, settings, X, lengths, prefix="rnn.", final=True)
    return Rows(flat=final)


@reading("spacy.ml.featureextractor.forward")
def _extract_features(writer: StandaloneWriter, node: Model, value: Batch) -> Columns:
    names = [
        NAMES[column] if isinstance(column, int) else column for column in node.attrs["columns"]
    ]
    return Columns([writer.ids(name.lower()) for name in names])


@reading("thinc.layers.array_getitem.forward")
def _getitem(writer: StandaloneWriter, node: Model, value: Columns) -> Columns:
    index = node.attrs["index"]
    if not isinstance(index, tuple) or not isinstance(index[-1], int):
        raise NoConverter(node.name)
    return Columns([value.ids[index[-1]]])


@reading("thinc.layers.hashembed.forward")
def _hash_embed(writer: StandaloneWriter, node: Model, value: Columns) -> Rows:
    if not isinstance(value, Columns):
        raise NoConverter(node.name)
    graph = writer.graph
    (ids,) = value.ids
    keys = hash_embed_keys(graph, ids, node.attrs["seed"])
    rows = graph.op("Mod", keys, graph.constant(node.get_dim("nV")))
    vectors = graph.op("Gather", graph.constant(param(node, "E"), "float32"), rows, axis=0)
    return Rows(flat=graph.op("ReduceSum", vectors, graph.constant([1]), keepdims=0))


@reading("spacy_birnn.models.textcat._forward")
def _text_classifier(writer: StandaloneWriter, node: Model, value: Batch) -> Scores:
    scores = writer.convert(node.layers[0], value)
    assert isinstance(scores, Scores)
    if len(node.layers) == 1:
        return scores
    size = next(layer.attrs["size"] for layer in node.walk() if layer.name == "ngrams")
    ngrams = _ngram_scores(writer, node.get_ref("ngram_layer"), size)
    return replace(scores, logits=writer.graph.op("Mean", scores.logits, ngrams))


def _ngram_scores(writer: StandaloneWriter, node: Model, size: int) -> str:
    """What Thinc's SparseLinear says of the counts of n-grams of 1 to `size` words."""
    graph, n_rows = writer.graph, node.get_dim("length")
    if node.attrs["v1_indexing"]:
        raise NoConverter(node.name)
    first = graph.constant([0])
    ids = Rows(flat=writer.ids("form"))
    within = writer.inside(ids)
    # (longest, texts), and behind the end as many as an n-gram reaches over
    edge = graph.constant([0, 0, size - 1, 0])
    wider, inside = graph.op("Pad", writer.padded(ids), edge), within
    n = graph.op("Shape", writer.padded(ids), start=0, end=1)
    W = graph.constant(param(node, "W").reshape(-1, n_rows).T, "float32")
    total = graph.constant(param(node, "b"), "float32")
    parts: List[str] = []
    for i in range(size):
        begin = graph.constant([i])
        parts.append(graph.op("Slice", wider, begin, graph.op("Add", n, begin), first))
        if i:
            # An n-gram stands where its last word is inside
            longer = graph.op("Pad", within, graph.constant([0, 0, 0, i, 0, 0]))
            inside = graph.op("Slice", longer, begin, graph.op("Add", n, begin), first)
        keys = ngram_keys(graph, parts) if i else parts[0]
        for seed in (0, 1):
            rows = graph.op("Mod", linear_keys(graph, keys, seed), graph.constant(n_rows))
            weights = graph.op("Mul", graph.op("Gather", W, rows, axis=0), inside)
            total = graph.op("Add", total, graph.op("ReduceSum", weights, first, keepdims=0))
    return total
