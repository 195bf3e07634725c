import numpy as np
import pytest
from spacy.tokens import Doc
from spacy.vectors import Vectors
from spacy.vocab import Vocab

from spacy_birnn.models.features import by_word
from spacy_birnn.models.vectors import word_vectors

KEYS = ["Rome", "rome", "berlin", "0000", "B0"]


def make_vocab(data=None):
    vocab = Vocab()
    data = np.arange(1, 11, dtype="f").reshape(5, 2) if data is None else data
    vocab.vectors = Vectors(data=data, keys=KEYS, strings=vocab.strings)
    return vocab


def look_up(vocab, *words):
    docs = [Doc(vocab, words=words)]
    model = by_word(word_vectors())
    model.initialize(X=docs)
    return model.predict(docs)[0]


@pytest.mark.parametrize(
    "word, key",
    [
        ("Rome", "Rome"),
        ("rome", "rome"),
        ("ROME", "rome"),
        ("Berlin", "berlin"),
        ("1998", "0000"),
        ("B7", "B0"),
        ("b7", None),
        ("", None),
        ("Oslo", None),
    ],
)
def test_the_form_then_its_lower_case_then_without_digits(word, key):
    vocab = make_vocab()
    words = [word or " ", "Rome"]
    expected = [0, 0] if key is None else vocab.vectors[key]
    assert look_up(vocab, *words)[0].tolist() == list(expected)


def test_every_document_is_looked_up_in_its_own_vocab():
    vocab, other = make_vocab(), make_vocab(np.full((5, 2), 7.0, "f"))
    model = by_word(word_vectors())
    model.initialize(X=[Doc(vocab, words=["Rome"])])
    docs = [Doc(v, words=["Rome", "Oslo"]) for v in (vocab, other, vocab)]
    found = [Y.tolist() for Y in model.predict(docs)]
    assert found == [[[1, 2], [0, 0]], [[7, 7], [0, 0]], [[1, 2], [0, 0]]]


def test_floret_vectors_have_one_for_any_word():
    vocab = Vocab()
    data = np.random.default_rng(0).normal(size=(20, 4)).astype("f")
    settings = {"mode": "floret", "minn": 2, "maxn": 3, "hash_count": 2}
    vocab.vectors = Vectors(data=data, strings=vocab.strings, **settings)
    found = look_up(vocab, "Rome", "Zzyzx")
    assert np.allclose(found, [vocab.vectors["Rome"], vocab.vectors["Zzyzx"]])
    assert found.any(axis=1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value):
    data = np.ones((5, 2), "f")
    data[2, 1] = value
    with pytest.raises(ValueError, match="BIRNN-E017.*'Berlin'"):
        look_up(make_vocab(data), "Rome", "Berlin")
