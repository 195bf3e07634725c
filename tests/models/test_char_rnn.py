import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from spacy.tokens import Doc
from thinc.api import set_dropout_rate

from spacy_birnn.compiler.words import WordVectors
from spacy_birnn.models.chars import build_char_rnn
from spacy_birnn.models.prediction import program_of

UNUSUAL = [
    "x" * 10000,
    "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-6}",
    unicodedata.normalize("NFD", "naïveté"),
    "\N{COMBINING ACUTE ACCENT}" * 50,
    "\x00\x07\x1b",
    "\u0378\U000e0080",  # unassigned
    "\U0010ffff",
    " ",
]


def build(nlp, **settings):
    model = build_char_rnn(**{"width": 8, "char_width": 4, "rows": 64, **settings})
    model.initialize(X=[Doc(nlp.vocab, words=["a"])])
    return model


def test_a_word_has_the_same_vector_wherever_it_stands(nlp):
    model = build(nlp)
    docs = [Doc(nlp.vocab, words=words) for words in (["to", "be"], [], ["or", "not", "to", "be"])]
    first, empty, last = model.predict(docs)
    assert first.shape == (2, 8) and empty.shape == (0, 8)
    np.testing.assert_allclose(first, last[2:], atol=1e-6)
    assert first.any() and not np.allclose(first[0], first[1], atol=1e-4)


@pytest.mark.parametrize("word", UNUSUAL, ids=lambda word: ascii(word[:4]))
def test_no_character_is_refused(nlp, word):
    model = build(nlp)
    (vectors,), _ = model([Doc(nlp.vocab, words=[word, "a"])], is_train=True)
    assert vectors.shape == (2, 8) and np.isfinite(vectors).all() and vectors[0].any()
    predicted = model.predict([Doc(nlp.vocab, words=["a", word])])[0]
    np.testing.assert_allclose(predicted[::-1], vectors, atol=1e-6)


def test_of_a_long_word_the_middle_is_not_read(nlp):
    model = build(nlp, max_chars=4)
    words = ["abcdefgh", "abXYXYgh", "Xbcdefgh", "abcdefgX"]
    vectors = model.predict([Doc(nlp.vocab, words=words)])[0]
    assert np.allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-4)
    assert not np.allclose(vectors[0], vectors[3], atol=1e-4)


def test_the_memory_of_words_is_bounded(nlp, monkeypatch):
    monkeypatch.setattr("spacy_birnn.compiler.words.SIZE", 5)
    model = build(nlp)
    docs = [Doc(nlp.vocab, words=[f"w{i}", f"w{i + 1}", f"w{i // 2}"]) for i in range(12)]
    expected = [build(nlp).from_bytes(model.to_bytes()).predict([doc])[0] for doc in docs]
    for doc, vectors in zip(docs, expected):
        np.testing.assert_allclose(model.predict([doc])[0], vectors, atol=1e-6)
        (words,) = [feed for feed in program_of(model).feeds if isinstance(feed, WordVectors)]
        assert 0 < words.n_kept <= 5


def test_threads_share_the_memory_of_words(nlp):
    model = build(nlp)
    docs = [Doc(nlp.vocab, words=[f"w{i}", f"x{i // 2}", f"y{i // 3}"]) for i in range(200)]
    expected = [build(nlp).from_bytes(model.to_bytes()).predict([doc])[0] for doc in docs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            for vectors, right in zip(
                pool.map(lambda doc: model.predict([doc])[0], docs), expected
            ):
                np.testing.assert_allclose(vectors, right, atol=1e-6)


def test_dropout_is_for_training_only(nlp):
    model = build(nlp)
    docs = [Doc(nlp.vocab, words=["bread", "butter"])]
    set_dropout_rate(model, 0.5)
    first, second = (model(docs, is_train=True)[0][0] for _ in range(2))
    assert not np.allclose(first, second)
    assert np.array_equal(model.predict(docs)[0], model.predict(docs)[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 7},
        {"width": 0},
        {"char_width": -1},
        {"rows": 0},
        {"max_chars": 0},
        {"cell": "cnn"},
    ],
)
def test_impossible_settings_are_named(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"BIRNN-E001.*'{name}'.*{value}.*CharRNN"):
        build_char_rnn(**settings)
