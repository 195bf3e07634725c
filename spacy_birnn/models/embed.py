"""Words as vectors, from what they are and from how they are written."""

from typing import Any, Callable, List, Optional, Tuple

from spacy.ml.featureextractor import FeatureExtractor
from spacy.ml.staticvectors import StaticVectors
from spacy.tokens import Doc
from thinc.api import (
    HashEmbed,
    Maxout,
    Model,
    chain,
    concatenate,
    ragged2list,
    with_array,
)
from thinc.types import Floats2d, Ints2d

from ..checks import check_choice, check_positive, check_rate
from ..errors import Errors
from .features import by_word
from .ops import with_torch_product
from .types import DocsToVectors

# Attributes of a word, whatever its context
WHOLE_WORD_ATTRS = ("ORTH", "LOWER", "NORM")
# Places of the filter that remembers the words of training: 100,000 words leave 1 in 10 unknown
# words to pass as known
FILTER_SIZE = 2**20
LEXICAL_ATTRS = (*WHOLE_WORD_ATTRS, "PREFIX", "SUFFIX", "SHAPE")


def build_word_char_embed(
    *,
    width: int,
    attrs: List[str],
    rows: List[int],
    word_dropout: float,
    chars: Optional[DocsToVectors],
) -> DocsToVectors:
    """A vector for each token from its word alone: hashed lexical attributes, the vocab's static
    vectors if it has any, and its characters, side by side, mixed by a maxout layer. Fits the
    `embed` slot of `spacy.Tok2Vec.v2`. Each distinct word of a batch is embedded once.

    width (int): Width of the output and of each attribute's table. Recommended: 64 to 200.
    attrs (List[str]): Attributes to embed, of ORTH, LOWER, NORM, PREFIX, SUFFIX and SHAPE.
    rows (List[int]): Rows of each attribute's table. Recommended: 1000 to 10000.
    word_dropout (float): Share of the batch's distinct words whose ORTH, LOWER and NORM are hidden
        in a training step, so that the model learns to do without them (Gal and Ghahramani
        2016). They are hidden at prediction too if training never showed the word. How a word is
        written is never hidden. Recommended: 0.1 to 0.5.
    chars (Optional[Model[List[Doc], List[Floats2d]]]): A character encoder, such as
        `spacy-birnn.CharRNN.v1`. null for none.
    RAISES (ValueError): E001 for impossible settings.
    """
    where = "spacy-birnn.WordCharEmbed.v1"
    check_positive("width", width, where=where)
    check_rate("word_dropout", word_dropout, where=where)
    for attr in attrs:
        check_choice("attrs", attr, LEXICAL_ATTRS, where=where)
    if not attrs or len(rows) != len(attrs):
        expected = f"as many numbers as attrs has names ({len(attrs)}, at least one)"
        raise ValueError(
            Errors.E001.format(name="rows", expected=expected, value=rows, where=where)
        )
    for n in rows:
        check_positive("rows", n, where=where)
    whole = [i for i, attr in enumerate(attrs) if attr in WHOLE_WORD_ATTRS]
    tables = [HashEmbed(width, n, column=i, seed=8 + i) for i, n in enumerate(rows)]
    lexical = chain(
        FeatureExtractor(attrs),
        with_array(chain(known_words(whole, word_dropout), concatenate(*tables))),
    )
    parts = [lexical, _vectors_if_any(width)]
    if chars is not None:
        parts.append(chars)
    mix = with_array(Maxout(width, nP=3, normalize=True))
    return with_torch_product(by_word(chain(concatenate(*parts), mix)))


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


def _vectors_if_any(width: int) -> DocsToVectors:
    """spaCy's static vectors, or a width of 0 where the vocab has none at initialization."""
    return Model(
        "vectors_if_any",
        _forward_vectors,
        init=_init_vectors,
        layers=[chain(StaticVectors(width), ragged2list())],
        dims={"nO": None},
    )


def _init_vectors(model: DocsToVectors, X=None, Y=None) -> None:
    has_vectors = bool(X) and X[0].vocab.vectors_length > 0
    if has_vectors:
        model.layers[0].initialize(X=X)
    model.set_dim("nO", model.layers[0].get_dim("nO") if has_vectors else 0)


def _forward_vectors(
    model: DocsToVectors, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    expected = model.layers[0].layers[0].maybe_get_dim("nM")
    if expected is None:
        return [model.ops.alloc2f(len(doc), 0) for doc in docs], lambda dYs: []
    found = docs[0].vocab.vectors_length
    if found != expected:
        raise ValueError(Errors.E014.format(found=found, expected=expected))
    return model.layers[0](docs, is_train)
