"""Static word vectors, found as a person would look a word up."""

from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from spacy.strings import get_string_id
from spacy.vectors import Mode
from spacy.vocab import Vocab
from thinc.api import Model, get_array_module
from thinc.types import Floats2d

from ..errors import BirnnError, Errors
from .features import Words, WordsToVectors, without_digits


def word_vectors() -> WordsToVectors:
    """The vector that a word's vocab has for it, or a width of 0 where the vocab has none at
    initialization. Looked up are the word as it is written, in lower case, and both with digits as
    0; the first that there is counts. Most published tables need that: those of lower-cased words
    have nothing for names. A word without a vector has 0. Floret vectors have one for any word.

    The vectors stay with the vocab, are not trained and not saved with the model.
    """
    return Model("word_vectors", _forward, init=_init, dims={"nO": None})


def _init(model: WordsToVectors, X=None, Y=None) -> None:
    width = X.vocabs[0][0].vectors_length if X is not None and X.vocabs else 0
    model.set_dim("nO", width, force=True)
    if width:
        _forward(model, X, False)


def _forward(model: WordsToVectors, words: Words, is_train: bool) -> Tuple[Floats2d, Callable]:
    expected = model.get_dim("nO")
    Y: Any = np.zeros((len(words.texts), expected), dtype="float32")
    end = 0
    for vocab, n_words in words.vocabs if expected else ():
        if vocab.vectors_length != expected:
            raise BirnnError(Errors.E014.format(found=vocab.vectors_length, expected=expected))
        start, end = end, end + n_words
        Y[start:end] = model.ops.to_numpy(_look_up(vocab, words.texts[start:end]))
    if not np.isfinite(Y).all():
        word = words.texts[int(np.isfinite(Y).all(axis=1).argmin())]
        raise BirnnError(Errors.E017.format(word=word))
    return model.ops.asarray2f(Y), lambda dY: []


def _look_up(vocab: Vocab, texts: List[str]) -> Floats2d:
    vectors = vocab.vectors
    if vectors.mode != Mode.default:
        return vectors.get_batch(texts)
    rows = _rows(vectors.key2row, texts)
    found = get_array_module(vectors.data).zeros((len(texts), vectors.shape[1]), dtype="float32")
    found[rows >= 0] = vectors.data[rows[rows >= 0]]
    return found


def have_vectors(vocab: Vocab, texts: List[str]) -> np.ndarray:
    """Which words `word_vectors` has a vector for, bool, shape (words,)."""
    if vocab.vectors.mode != Mode.default:
        return np.ones(len(texts), dtype=bool)
    return _rows(vocab.vectors.key2row, texts) >= 0


def _rows(key2row: Dict[int, int], texts: List[str]) -> np.ndarray:
    return np.array([_row(key2row, text) for text in texts], dtype="int64")


def _row(key2row: Dict[int, int], text: str) -> int:
    for spelling in (text, text.lower(), without_digits(text), without_digits(text.lower())):
        row = key2row.get(get_string_id(spelling))
        if row is not None:
            return row
    return -1
