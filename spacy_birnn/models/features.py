"""From documents to the distinct words in them, and from words to characters."""

from typing import Any, Callable, List, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .types import DocsToVectors


def distinct_words(docs: List[Doc]) -> Tuple[np.ndarray, np.ndarray]:
    """The distinct words of a batch.

    RETURNS (Tuple[np.ndarray, np.ndarray]): Their ids in the string store, uint64, shape (words,);
        and which of them each token is, shape (tokens,).
    """
    orths = np.concatenate([doc.to_array(ORTH) for doc in docs] or [np.zeros(0, dtype="uint64")])
    return np.unique(orths, return_inverse=True)


def code_points(words: List[str], *, max_chars: int) -> Tuple[np.ndarray, np.ndarray]:
    """The words' characters as Unicode code points. Of a longer word the first and the last
    `max_chars / 2` are read.

    RETURNS (Tuple[np.ndarray, np.ndarray]): The code points of all words, one after the other,
        uint32, shape (characters,); and the number of characters of each, shape (words,).
    """
    half = max_chars // 2
    words = [
        w if len(w) <= max_chars else w[: max_chars - half] + w[len(w) - half :] for w in words
    ]
    # A lone surrogate is no character, but a text can have one
    text = "".join(words).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(text, dtype="<u4"), np.array([len(w) for w in words], dtype="int64")


def by_word(layer: DocsToVectors) -> DocsToVectors:
    """Run a layer once on each distinct word of a batch, and copy its vectors to the tokens. The
    layer must look at words only, never at their neighbours: it is given one document that lists
    them. What the tokenizer says of one token, such as the NORM of a contraction, is not in it.

    layer (Model[List[Doc], List[Floats2d]]): The layer to run.
    """
    return Model(
        "by_word",
        _forward_by_word,
        init=_init_by_word,
        layers=[layer],
        dims={"nO": layer.maybe_get_dim("nO")},
    )


def _word_list(docs: List[Doc]) -> Tuple[List[Doc], np.ndarray]:
    words, which = distinct_words(docs)
    if not len(words):
        return [], which
    vocab = docs[0].vocab
    return [Doc(vocab, words=[vocab.strings[word] for word in words])], which


def _init_by_word(model: DocsToVectors, X=None, Y=None) -> None:
    model.layers[0].initialize(X=None if X is None else _word_list(X)[0] or X)


def _forward_by_word(
    model: DocsToVectors, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    ops: Any = model.ops
    listed, which = _word_list(docs)
    lengths = [len(doc) for doc in docs]
    if not listed:
        return [ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda dY: []
    (vectors,), backprop_layer = model.layers[0](listed, is_train)
    rows = ops.asarray1i(which)
    Y = ops.unflatten(vectors[rows], lengths)

    def backprop(dYs: List[Floats2d]) -> List[Doc]:
        d_vectors = ops.alloc2f(*vectors.shape)
        ops.scatter_add(d_vectors, rows, ops.flatten(dYs))
        backprop_layer([d_vectors])
        return []

    return Y, backprop
