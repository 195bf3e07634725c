"""Words as vectors, from what they are and from how they are written."""

from typing import Any, Callable, List, Optional, Tuple

import numpy as np
from thinc.api import HashEmbed, Model, concatenate, uniform_init
from thinc.types import Floats2d

from ..checks import check_positive, check_rate
from .features import (
    AFFIXES,
    SPELLING,
    Words,
    WordsToVectors,
    affix_ids,
    by_word,
    spelling_ids,
    word_id,
)
from .types import DocsToVectors
from .vectors import word_vectors

# Of the vectors in the table of words
SCALE = 4.0
# Of the tables of how a word is written: the width of all, and the rows of each
SPELLING_WIDTH, SPELLING_ROWS = 96, 2500


def build_word_char_embed(
    *,
    width: int,
    rows: int,
    word_dropout: float,
    chars: Optional[DocsToVectors],
    train_vectors: bool = False,
    affixes: bool = False,
    spelling_dropout: float = 0.0,
) -> DocsToVectors:
    """A vector for each token from its word alone. Side by side stand a vector of its own (see
    `word_table`), hashed vectors of its first character, its last three and its shape, its
    static vector if the vocab has any (see `vectors.word_vectors`), and its characters. Fits the
    `embed` slot of `spacy.Tok2Vec.v2` before an encoder that takes any width, such as
    `spacy-birnn.BiRNNEncoder.v1`. Each distinct word of a batch is embedded once.

    width (int): Width of the word's own vector. Recommended: 50 to 200.
    rows (int): Rows of the table of these vectors, one for each word of the training data; those
        that come last have none if there are more. Recommended: 5000 to 50000.
    word_dropout (float): Share of the batch's distinct words whose own vector is hidden in a
        training step, so that the model learns to do without it (Gal and Ghahramani 2016). It is
        hidden at prediction too if training never showed the word. Recommended: 0.1 to 0.5.
    chars (Optional[Model[List[Doc], List[Floats2d]]]): A character encoder, such as
        `spacy-birnn.CharRNN.v1`. null for none.
    train_vectors (bool): Whether static vectors are trained on. A word's own vector is then what
        its static vector lacks: it has the same width, starts at 0 and is added to it. The vectors
        of the vocab stay as they are. Makes no difference where there are no static vectors.
    affixes (bool): Whether the hashed vectors are of more affixes: the first character, the first
        three, the last two, three and four, and the shape, in the same width together. Affixes of
        two and more are read of words that are at least twice as long. Recommended: true for
        entities, false for categories.
    spelling_dropout (float): Share of the batch's distinct words whose hashed vectors are hidden in
        a training step, drawn apart from `word_dropout`. Recommended: 0.2 with `affixes`, else 0.
    RAISES (ValueError): E001 for impossible settings, E014 for static vectors of another width than
        in training, E017 for those that are not finite.
    """
    where = "spacy-birnn.WordCharEmbed.v1"
    check_positive("width", width, where=where)
    check_positive("rows", rows, where=where)
    check_rate("word_dropout", word_dropout, where=where)
    check_rate("spelling_dropout", spelling_dropout, where=where)
    spelling = _spelling(affixes, spelling_dropout)
    if train_vectors:
        parts = [_trained_vectors(word_table(None, rows, word_dropout), width), spelling]
    else:
        parts = [word_table(width, rows, word_dropout), spelling, word_vectors()]
    if chars is not None and chars.name == "by_word":
        # One list of words serves both
        return by_word(concatenate(*parts, chars.layers[0]))
    words = by_word(concatenate(*parts))
    return words if chars is None else concatenate(words, chars)


def word_table(width: Optional[int], rows: int, dropout: float) -> WordsToVectors:
    """A trained vector for each word of the training data, in lower case and with digits as 0. A
    word gets a row of its own when training first shows it, until all rows are taken; the others
    share row 0, for unknown words. What the rows belong to is kept in the parameters `keys`, the
    hashes of the words in order, and `places`, the row of each, so the layer is all there is to
    save.

    The vectors are SCALE times what is in the table, so that Adam moves them that many times
    faster: most words are seen rarely.

    width (Optional[int]): Width of a vector. None: to be set before initialization.
    rows (int): Rows of the table.
    dropout (float): Share of the words to treat as unknown in a training step.
    """
    return Model(
        "word_table",
        _forward_table,
        init=_init_table,
        params={"E": None, "keys": None, "places": None},
        dims={"nO": width, "nV": rows},
        attrs={"word_dropout": dropout},
    )


def _init_table(model: WordsToVectors, X=None, Y=None) -> None:
    shape = (model.get_dim("nV"), model.get_dim("nO"))
    bound = (3 / shape[1]) ** 0.5 / SCALE
    E: Any = uniform_init(model.ops, shape, lo=-bound, hi=bound)
    # Without word dropout nothing is ever learned of unknown words
    E[0] = 0.0
    model.set_param("E", E)
    model.set_param("keys", model.ops.xp.zeros(0, dtype="uint64"))
    model.set_param("places", model.ops.xp.zeros(0, dtype="int64"))


def _forward_table(
    model: WordsToVectors, words: Words, is_train: bool
) -> Tuple[Floats2d, Callable]:
    ops: Any = model.ops
    ids = ops.xp.asarray([word_id(word) for word in words.texts], dtype="uint64")
    if is_train:
        _learn_words(model, ops.xp.unique(ids))
    rows = _table_rows(model, ids)
    if is_train:
        rows[ops.xp.random.random(len(ids)) < model.attrs["word_dropout"]] = 0
    E = model.get_param("E")

    def backprop(dY: Floats2d) -> List:
        dE = ops.alloc2f(*E.shape)
        ops.scatter_add(dE, rows, dY * SCALE)
        model.inc_grad("E", dE)
        return []

    return E[rows] * SCALE, backprop


def _table_rows(model: WordsToVectors, ids: Any) -> Any:
    xp, keys = model.ops.xp, model.get_param("keys")
    if not len(keys):
        return xp.zeros(len(ids), dtype="int64")
    found = xp.minimum(xp.searchsorted(keys, ids), len(keys) - 1)
    return xp.where(keys[found] == ids, model.get_param("places")[found], 0)


def _learn_words(model: WordsToVectors, ids: Any) -> None:
    """Give the words that have none a row each, as far as there are rows left."""
    xp = model.ops.xp
    keys: Any = model.get_param("keys")
    new = ids[~xp.isin(ids, keys)][: model.get_dim("nV") - 1 - len(keys)]
    if len(new):
        places = xp.arange(len(keys) + 1, len(keys) + 1 + len(new))
        every = xp.concatenate([keys, new])
        order = xp.argsort(every)
        model.set_param("keys", every[order])
        model.set_param("places", xp.concatenate([model.get_param("places"), places])[order])


def _trained_vectors(table: WordsToVectors, width: int) -> WordsToVectors:
    """A word's static vector and its own in one: their sum. Where the vocab has no vectors at
    initialization it is its own alone.

    table (Model[Words, Floats2d]): A `word_table` without a width.
    width (int): The width it gets where there are no static vectors.
    """
    return Model(
        "trained_vectors",
        _forward_trained,
        init=_init_trained,
        layers=[table, word_vectors()],
        dims={"nO": None},
        attrs={"width": width},
    )


def _init_trained(model: WordsToVectors, X=None, Y=None) -> None:
    table, vectors = model.layers
    vectors.initialize(X=X)
    static_width = vectors.get_dim("nO")
    width = static_width or model.attrs["width"]
    table.set_dim("nO", width, force=True)
    table.initialize()
    if static_width:
        table.set_param("E", table.ops.alloc2f(table.get_dim("nV"), width))
    model.set_dim("nO", width, force=True)


def _forward_trained(
    model: WordsToVectors, words: Words, is_train: bool
) -> Tuple[Floats2d, Callable]:
    table, vectors = model.layers
    own, backprop = table(words, is_train)
    static, _ = vectors(words, is_train)
    return own + static if static.shape[1] else own, backprop


def _spelling(affixes: bool, dropout: float) -> WordsToVectors:
    """Hashed vectors of how a word is written, side by side.

    affixes (bool): Whether they are those of `features.affix_ids`; else of `spelling_ids`.
    dropout (float): Share of the words for which they are all 0 in a training step.
    """
    kinds = AFFIXES if affixes else SPELLING
    n = len(kinds)
    tables = [HashEmbed(SPELLING_WIDTH // n, SPELLING_ROWS, column=i, seed=9 + i) for i in range(n)]
    return Model(
        "spelling",
        _forward_spelling,
        init=_init_spelling,
        layers=[concatenate(*tables)],
        dims={"nO": SPELLING_WIDTH},
        attrs={"spelling_dropout": dropout, "kinds": kinds},
    )


def all_spelling_ids(model: WordsToVectors, words: Words) -> np.ndarray:
    """What a `spelling` layer hashes of each word, uint64, shape (words, kinds)."""
    ids_of = affix_ids if model.attrs["kinds"] == AFFIXES else spelling_ids
    return np.array([ids_of(word) for word in words.texts], dtype="uint64")


def _init_spelling(model: WordsToVectors, X=None, Y=None) -> None:
    model.layers[0].initialize()


def _forward_spelling(
    model: WordsToVectors, words: Words, is_train: bool
) -> Tuple[Floats2d, Callable]:
    xp, rate = model.ops.xp, model.attrs["spelling_dropout"]
    ids = xp.asarray(all_spelling_ids(model, words))
    Y, backprop_tables = model.layers[0](ids, is_train)
    if not is_train or not rate:
        shown = xp.ones((1, 1), dtype="bool")
    else:
        shown = xp.random.random((len(ids), 1)) >= rate

    def backprop(dY: Floats2d) -> List:
        backprop_tables(dY * shown)
        return []

    return Y * shown, backprop
