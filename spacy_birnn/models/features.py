"""From documents to the distinct words in them, and from words to what can be read off them."""

import re
from functools import lru_cache
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.lang.lex_attrs import word_shape
from spacy.strings import get_string_id
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from .prediction import GraphShim, as_vectors, program_of
from .types import DocsToVectors

DIGIT = re.compile(r"\d")


class Words(NamedTuple):
    """The distinct words of a batch, grouped by the vocab of their documents.

    texts (List[str]): The words, those of the first vocab first.
    vocabs (List[Tuple[Vocab, int]]): Each vocab, and how many of the words are of its documents.
    """

    texts: List[str]
    vocabs: List[Tuple[Vocab, int]]


# A vector for each word
WordsToVectors = Model[Words, Floats2d]


def distinct_words(docs: List[Doc]) -> Tuple[Words, np.ndarray]:
    """The distinct words of a batch.

    RETURNS (Tuple[Words, np.ndarray]): The words; and which of them each token is, int64, shape
        (tokens,).
    """
    found = Words([], [])
    which: List[np.ndarray] = [np.zeros(0, dtype="int64")] * len(docs)
    by_vocab: Dict[int, List[int]] = {}
    for i, doc in enumerate(docs):
        by_vocab.setdefault(id(doc.vocab), []).append(i)
    for places in by_vocab.values():
        vocab = docs[places[0]].vocab
        orths = [docs[i].to_array(ORTH) for i in places]
        ids, rows = np.unique(np.concatenate(orths), return_inverse=True)
        ends = np.cumsum([len(part) for part in orths])
        for i, part in zip(places, np.split(rows + len(found.texts), ends[:-1])):
            which[i] = part
        found.texts.extend(vocab.strings[orth] for orth in ids.tolist())
        found.vocabs.append((vocab, len(ids)))
    return found, np.concatenate(which) if which else np.zeros(0, dtype="int64")


def without_digits(word: str) -> str:
    """The word with every digit as 0, so that all numbers of a form are one word."""
    return DIGIT.sub("0", word)


@lru_cache(maxsize=2**16)
def word_id(word: str) -> int:
    """The hash of a word in lower case with its digits as 0, an unsigned 64-bit integer."""
    return get_string_id(without_digits(word.lower()))


# What `spelling_ids` and `affix_ids` hash of a word
SPELLING = ["first_character", "last_characters", "shape"]
AFFIXES = ["first_character", "prefix_3", "suffix_2", "suffix_3", "suffix_4", "shape"]


@lru_cache(maxsize=2**16)
def spelling_ids(word: str) -> Tuple[int, ...]:
    """How a word is written: the hashes of its first character, its last three and its shape (as
    spaCy's SHAPE, such as "Xxxx" or "d.dd"), unsigned 64-bit integers."""
    return get_string_id(word[:1]), get_string_id(word[-3:]), get_string_id(word_shape(word))


@lru_cache(maxsize=2**16)
def affix_ids(word: str) -> Tuple[int, ...]:
    """The same of its first character, its first three, its last two, three and four, and its
    shape. A word that is not twice as long as an affix has none of that length: it would say which
    word it is, and could be learnt by heart in its place."""
    affixes = [word[:3], word[-2:], word[-3:], word[-4:]]
    own = [affix if len(word) >= 2 * len(affix) else "" for affix in affixes]
    return tuple(map(get_string_id, (word[:1], *own, word_shape(word))))


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


def by_word(layer: WordsToVectors) -> DocsToVectors:
    """Run a layer once on each distinct word of a batch, and copy its vectors to the tokens. What
    the tokenizer says of one token, such as the NORM of a contraction, is not in it.

    layer (Model[Words, Floats2d]): The layer to run.
    """
    return Model(
        "by_word",
        _forward_by_word,
        init=_init_by_word,
        layers=[layer],
        shims=[GraphShim()],
        dims={"nO": layer.maybe_get_dim("nO")},
    )


def _init_by_word(model: DocsToVectors, X=None, Y=None) -> None:
    layer = model.layers[0]
    layer.initialize(X=None if X is None else distinct_words(X)[0])
    model.set_dim("nO", layer.get_dim("nO"), force=True)


def _forward_by_word(
    model: DocsToVectors, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    ops: Any = model.ops
    lengths = np.array([len(doc) for doc in docs], dtype="int64")
    if not lengths.any():
        return [ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda dY: []
    program = None if is_train else program_of(model)
    if program is not None:
        return as_vectors(model, program.run(docs, lengths), lengths), lambda dY: []
    words, which = distinct_words(docs)
    vectors, backprop_layer = model.layers[0](words, is_train)
    rows = ops.asarray1i(which)
    Y = ops.unflatten(vectors[rows], lengths)

    def backprop(dYs: List[Floats2d]) -> List[Doc]:
        d_vectors = ops.alloc2f(*vectors.shape)
        ops.scatter_add(d_vectors, rows, ops.flatten(dYs))
        backprop_layer(d_vectors)
        return []

    return Y, backprop
