"""The vectors of words, made when a word is first seen and kept."""

import os
import threading
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.api import Model

from ..models.features import Words, code_points, distinct_words
from .runner import Runner
from .writer import WORDS, Arrays, Batch, NoConverter, Writer, kind_of

# Words that are kept at most; beyond that it begins anew
SIZE = 20000

# Held while words are added to a table. A child of this process must not find it held by a thread
# that it does not have
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


class Part(NamedTuple):
    """Some columns of a word's vector.

    learned (str): The value in the graph, shape (words, width), or "" if there is none.
    static (Optional[Model]): The node that looks static vectors up. If both are there, the vector
        is their sum.
    """

    learned: str
    static: Optional[Model] = None


def word_parts(writer: Writer, layer: Model) -> List[Part]:
    """Write what `features.by_word` runs on words. Static vectors are not in the graph: they
    belong to the vocab, where they may change at any time."""
    parts: List[Part] = []
    together: List[str] = []

    def close() -> None:
        if together:
            parts.append(Part(writer.join(*together, axis=1)))
            together.clear()

    writer.watched.append(layer)
    is_several = kind_of(layer) == "thinc.layers.concatenate.forward"
    for node in layer.layers if is_several else [layer]:
        static = node if node.name == "word_vectors" else None
        learned = node
        if node.name == "trained_vectors":
            writer.watched.append(node)
            learned, static = node.layers
        if static is not None:
            writer.watched.append(static)
            static = static if static.get_dim("nO") else None
        if node.name != "word_vectors":
            rows: Any = writer.convert(learned, Batch())
            if static is None:
                together.append(rows.any)
                continue
        if static is not None:
            close()
            parts.append(Part("" if node is static else rows.any, static))
    close()
    return parts


class Table(NamedTuple):
    """Words that are known: the row of each, and their vectors (more rows than are in use)."""

    rows: Dict[Hashable, int]
    vectors: np.ndarray


class WordVectors:
    """Reads the vectors of the distinct words of documents, and which word each token is. What is
    learned of a word is computed once and kept. Threads may share it.

    layer (Model[Words, Floats2d]): What makes the vectors.
    """

    def __init__(self, layer: Model):
        writer = Writer(dims=WORDS)
        self._parts = word_parts(writer, layer)
        for i, part in enumerate(self._parts):
            if part.learned:
                writer.graph.output(f"part_{i}", part.learned, "float32", [WORDS.sequences, None])
        self.watched = [*writer.watched, *writer.hosted]
        self._has_static = any(part.static for part in self._parts)
        limits = {node.attrs["max_chars"] for node in layer.walk() if "max_chars" in node.attrs}
        if len(limits) > 1:
            # The characters are read once, for all
            raise NoConverter("char_rnn")
        self._max_chars = next(iter(limits), None)
        self._runner = Runner(writer) if writer.graph.outputs else None
        self._table = Table({}, np.zeros((0, 0), dtype="float32"))
        # The columns of each part that is learned
        self._widths: List[int] = []

    @property
    def n_kept(self) -> int:
        """Number of words whose vectors are kept."""
        return len(self._table.rows)

    def __call__(self, docs: Sequence[Doc], arrays: Arrays) -> Arrays:
        if self._has_static:
            words, which = distinct_words(list(docs))
            table, rows = self._look_up(words.texts, lambda keys: keys)
            return {"vectors_of_words": self._with_static(table[rows], words), "word_at": which}
        orths = [doc.to_array(ORTH) for doc in docs]
        keys = (orths[0] if len(orths) == 1 else np.concatenate(orths)).tolist()
        table, rows = self._look_up(keys, lambda keys: _texts(keys, docs))
        return {"vectors_of_words": table, "word_at": rows}

    def _look_up(
        self, keys: List[Any], texts: Callable[[List[Any]], List[str]]
    ) -> Tuple[np.ndarray, np.ndarray]:
        """The vectors of words and the row of each key."""
        table = self._table
        rows: List[Any] = list(map(table.rows.get, keys))
        while None in rows:
            table = self._learn(keys, texts)
            rows = list(map(table.rows.get, keys))
        return table.vectors, np.array(rows, dtype="int64")

    def _learn(self, keys: List[Any], texts: Callable[[List[Any]], List[str]]) -> Table:
        """Make the vectors of those keys that are not known."""
        with _lock:
            table, distinct = self._table, list(dict.fromkeys(keys))
            new = [key for key in distinct if key not in table.rows]
            if len(table.rows) + len(new) > SIZE:
                kept = [key for key in distinct if key in table.rows]
                vectors = table.vectors[[table.rows[key] for key in kept]]
                table = self._with(Table({}, vectors[:0]), kept, vectors)
            if new:
                table = self._with(table, new, self._compute(texts(new)))
            self._table = table
            return table

    def _with(self, table: Table, keys: List[Any], vectors: np.ndarray) -> Table:
        """The table with more words. What another thread reads of the old one stays as it is."""
        rows, known = table
        n, n_all = len(rows), len(rows) + len(keys)
        if n_all > len(known):
            larger = np.empty((max(n_all, min(SIZE, 2 * n_all)), vectors.shape[1]), dtype="float32")
            if n:
                larger[:n] = known[:n]
            rows, known = dict(rows), larger
        known[n:n_all] = vectors
        rows.update(zip(keys, range(n, n_all)))
        return Table(rows, known)

    def _compute(self, texts: List[str]) -> np.ndarray:
        if self._runner is None:
            return np.zeros((len(texts), 0), dtype="float32")
        if self._max_chars is None:
            outputs = self._runner.run(Words(texts, []), np.ones(len(texts), dtype="int64"))
        else:
            chars, lengths = code_points(texts, max_chars=self._max_chars)
            outputs = self._runner.run(Words(texts, []), lengths, code_points=chars)
        self._widths = [output.shape[1] for output in outputs]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)

    def _with_static(self, learned: np.ndarray, words: Words) -> np.ndarray:
        """All parts of the vectors side by side."""
        parts = iter(np.split(learned, np.cumsum(self._widths)[:-1], axis=1))
        found = []
        for part in self._parts:
            columns = next(parts) if part.learned else np.float32(0.0)
            if part.static is not None:
                columns = columns + _static(part.static, words)
            found.append(columns)
        return np.concatenate(found, axis=1)


def _static(node: Model, words: Words) -> np.ndarray:
    return node.ops.to_numpy(node.predict(words))


def _texts(keys: List[int], docs: Sequence[Doc]) -> List[str]:
    """The texts of words by their ORTH, each from a vocab that has it."""
    all_strings: List[Any] = list({id(doc.vocab): doc.vocab.strings for doc in docs}.values())
    first, *others = all_strings
    if not others:
        return [first[key] for key in keys]
    return [next(strings[key] for strings in all_strings if key in strings) for key in keys]
