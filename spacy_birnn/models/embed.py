"""Words as vectors, from what they are and from how they are written."""

from typing import Any, Callable, List, Optional, Tuple

import numpy as np
from thinc.api import HashEmbed, Model, chain, concatenate
from thinc.types import Ints2d

from ..checks import check_positive, check_rate
from .features import Words, by_word, spelling_ids, word_id
from .types import DocsToVectors
from .vectors import word_vectors

# Places of the filter that remembers the words of training: 100,000 words leave 1 in 10 unknown
# words to pass as known
FILTER_SIZE = 2**20
# Of each of the three tables of how a word is written
SPELLING_WIDTH, SPELLING_ROWS = 32, 2500


def build_word_char_embed(
    *,
    width: int,
    rows: int,
    word_dropout: float,
    chars: Optional[DocsToVectors],
) -> DocsToVectors:
    """A vector for each token from its word alone. Side by side stand a vector of its own (trained,
    in a hashed table), hashed vectors of its first character, its last three and its shape, its
    static vector if the vocab has any (see `vectors.word_vectors`), and its characters. Fits the
    `embed` slot of `spacy.Tok2Vec.v2` before an encoder that takes any width, such as
    `spacy-birnn.BiRNNEncoder.v1`. Each distinct word of a batch is embedded once.

    width (int): Width of the word's own vector. Recommended: 50 to 200.
    rows (int): Rows of its table. Recommended: 2000 to 20000, about as many as the training data
        has words.
    word_dropout (float): Share of the batch's distinct words whose own vector is hidden in a
        training step, so that the model learns to do without it (Gal and Ghahramani 2016). It is
        hidden at prediction too if training never showed the word. How a word is written is never
        hidden. Recommended: 0.1 to 0.5.
    chars (Optional[Model[List[Doc], List[Floats2d]]]): A character encoder, such as
        `spacy-birnn.CharRNN.v1`. null for none.
    RAISES (ValueError): E001 for impossible settings, E014 for static vectors of another width than
        in training, E017 for those that are not finite.
    """
    where = "spacy-birnn.WordCharEmbed.v1"
    check_positive("width", width, where=where)
    check_positive("rows", rows, where=where)
    check_rate("word_dropout", word_dropout, where=where)
    own = chain(
        _word_ids(), known_words([0], word_dropout), HashEmbed(width, rows, column=0, seed=8)
    )
    tables = [HashEmbed(SPELLING_WIDTH, SPELLING_ROWS, column=i, seed=9 + i) for i in range(3)]
    spelling = chain(_spelling_ids(), concatenate(*tables))
    parts = [own, spelling, word_vectors()]
    if chars is not None and chars.name == "by_word":
        # One list of words serves both
        return by_word(concatenate(*parts, chars.layers[0]))
    words = by_word(concatenate(*parts))
    return words if chars is None else concatenate(words, chars)


def _word_ids() -> Model[Words, Ints2d]:
    """The hash of each word, digits as 0, shape (words, 1)."""

    def forward(model: Model, words: Words, is_train: bool) -> Tuple[Ints2d, Callable]:
        ids = np.array([word_id(word) for word in words.texts], dtype="uint64")
        return model.ops.asarray(ids[:, None]), lambda d_ids: []

    return Model("word_ids", forward)


def _spelling_ids() -> Model[Words, Ints2d]:
    """See `features.spelling_ids`; shape (words, 3)."""

    def forward(model: Model, words: Words, is_train: bool) -> Tuple[Ints2d, Callable]:
        ids = np.array([spelling_ids(word) for word in words.texts], dtype="uint64")
        return model.ops.asarray(ids), lambda d_ids: []

    return Model("spelling_ids", forward)


def known_words(
    columns: List[int], rate: float, *, filter_size: int = FILTER_SIZE
) -> Model[Ints2d, Ints2d]:
    """Hide the ids in the given columns, as 0: in training those of a share of the rows, at
    prediction those that training never showed. A hashed table has rows for any id, but what they
    hold for an unknown word is a sum of other words. The ids that were shown are remembered in a
    Bloom filter of one hash (Bloom 1970) with `filter_size` places."""
    return Model(
        "known_words",
        _forward_known,
        init=_init_known,
        params={"shown": None},
        attrs={"columns": columns, "rate": rate, "filter_size": filter_size},
    )


def _init_known(model: Model[Ints2d, Ints2d], X=None, Y=None) -> None:
    shape = (len(model.attrs["columns"]), model.attrs["filter_size"])
    model.set_param("shown", model.ops.xp.zeros(shape, dtype="uint8"))


def _forward_known(
    model: Model[Ints2d, Ints2d], ids: Ints2d, is_train: bool
) -> Tuple[Ints2d, Callable]:
    xp = model.ops.xp
    if not model.attrs["rate"] or not len(ids):
        # Nothing has been learned about a hidden word; no ids at all come from Thinc as floats
        return ids, lambda d_ids: d_ids
    shown: Any = model.get_param("shown")
    ids = ids.copy()
    if is_train:
        hidden = xp.random.random(len(ids)) < model.attrs["rate"]
    for row, column in enumerate(model.attrs["columns"]):
        place = ids[:, column] % model.attrs["filter_size"]
        if is_train:
            shown[row, place] = 1
            ids[hidden, column] = 0
        else:
            ids[shown[row, place] == 0, column] = 0
    return ids, lambda d_ids: d_ids
