"""The lemmatizer's model: what it reads of a token, and what it keeps."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from thinc.api import Adam

from spacy_birnn.compiler.seq2seq import Memo
from spacy_birnn.models import lemmatizer
from spacy_birnn.models.lemmatizer import build_lemmatizer

TINY = {"width": 8, "char_width": 6, "rows": 50}
WORDS = ["runs", "ran", "runs", "ñandú", "runs"]


def make_doc(nlp, tags=None):
    return Doc(nlp.vocab, words=WORDS, pos=tags)


def initialized(nlp, **settings):
    model = build_lemmatizer(**{**TINY, **settings})
    model.initialize(X=[make_doc(nlp)], Y=sorted("abrun"))
    return model


def decode(model, docs, beam_width=1, threshold=0.0):
    tokens = np.arange(sum(len(doc) for doc in docs))
    limits = np.array([6 * len(token) for doc in docs for token in doc])
    settings = {"beam_width": beam_width, "threshold": threshold}
    return model.attrs["decode"](model, docs, tokens, limits, **settings)


def log_p(model, docs, tokens=(0, 1), lemmas=("run", "run")):
    return model.predict((docs, np.array(tokens), list(lemmas)))


def train(model, docs, steps=5):
    sgd = Adam(0.01)
    for _ in range(steps):
        found, backprop = model.begin_update((docs, np.array([0, 1]), ["run", "run"]))
        backprop(np.full_like(found, -1.0))
        model.finish_update(sgd)
    return found


@pytest.fixture
def tok2vec(tiny_tok2vec):
    return spacy.registry.resolve({"model": tiny_tok2vec})["model"]


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 7},
        {"char_width": 0},
        {"rows": 0},
        {"depth": 0},
        {"cell": "x"},
        {"dropout": 1.0},
        {"hallucinate": 1.0},
        {"hallucinate": None},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="BIRNN-E001.*Lemmatizer.v1"):
        build_lemmatizer(**{**TINY, **settings})


def test_use_before_initialization_is_refused(nlp):
    with pytest.raises(ValueError, match="BIRNN-E010"):
        decode(build_lemmatizer(**TINY), [make_doc(nlp)])


def test_it_learns_and_every_weight_moves(nlp, tok2vec, weights, unmoved):
    model = initialized(nlp, tok2vec=tok2vec, depth=2)
    before = weights(model)
    docs = [make_doc(nlp, ["VERB"] * len(WORDS))]
    assert log_p(model, docs).sum() < train(model, docs, steps=30).sum()
    assert unmoved(before, weights(model)) == []


def test_values_that_training_did_not_show_count_as_not_set(nlp):
    model = initialized(nlp)
    plain, noun, verb = (make_doc(nlp, tags and [tags] * 5) for tags in (None, "NOUN", "VERB"))
    train(model, [noun], steps=20)
    assert np.array_equal(log_p(model, [verb]), log_p(model, [plain]))
    assert not np.allclose(log_p(model, [noun]), log_p(model, [plain]))


def test_the_context_is_read_through_tok2vec_only(nlp, tok2vec):
    first = Doc(nlp.vocab, words=["a", "runs", "ran"])
    second = Doc(nlp.vocab, words=["b", "runs", "ran"])
    alone = initialized(nlp)
    assert np.array_equal(log_p(alone, [first], [1, 2]), log_p(alone, [second], [1, 2]))
    in_context = initialized(nlp, tok2vec=tok2vec)
    assert not np.allclose(log_p(in_context, [first], [1, 2]), log_p(in_context, [second], [1, 2]))
    assert decode(in_context, [first, second]) == [
        lemma for doc in (first, second) for lemma in decode(in_context, [doc])
    ]


def test_each_distinct_word_is_decoded_once(nlp, monkeypatch):
    """Until the weights change, or the memory is full."""
    seen = []
    written = lemmatizer._decode

    def count(model, docs, tokens, *settings):
        seen.append(len(tokens))
        return written(model, docs, tokens, *settings)

    monkeypatch.setattr(lemmatizer, "_decode", count)
    model, docs = initialized(nlp), [make_doc(nlp), make_doc(nlp)]
    expected = decode(model, docs)
    assert len(expected) == 10 and expected[:5] == expected[5:]
    assert decode(model, docs) == expected and seen == [3]
    decode(model, [make_doc(nlp, ["VERB"] * 5)])
    decode(model, docs, beam_width=2)
    decode(model, docs, threshold=0.1)
    assert seen == [3, 3, 3, 3]
    train(model, docs, steps=1)
    decode(model, docs)
    assert seen == [3, 3, 3, 3, 3]
    monkeypatch.setattr(Memo, "SIZE", 4)
    more = [Doc(nlp.vocab, words=["one", "two"]), make_doc(nlp)]
    assert decode(model, more)[2:] == decode(model, docs)[:5] and seen[5:] == [5]


@pytest.mark.parametrize("beam_width", [1, 3])
def test_what_is_less_probable_than_the_threshold_is_none(nlp, beam_width):
    model = initialized(nlp)
    docs = [make_doc(nlp)]
    train(model, docs, steps=20)
    lemmas = decode(model, docs, beam_width)
    p = np.exp(log_p(model, docs, range(len(WORDS)), lemmas))
    assert len(set(p.round(4))) == 3
    for threshold in (0.0, p.min() * 1.01, p.max() * 0.99, 1.0):
        expected = [lemma if known >= threshold else None for lemma, known in zip(lemmas, p)]
        assert decode(model, docs, beam_width, threshold) == expected


def test_hallucinated_words_keep_what_form_and_lemma_do_not_share():
    pairs = [("Foxes", "fox"), ("talked", "talk"), ("x", "x"), ("went", "go"), ("mice", "mouse")]
    alphabet = [ord(char) for char in "xyz"]
    np.random.seed(0)
    made = [lemmatizer._hallucinated(pairs, alphabet, 0.5) for _ in range(200)]
    foxes, talked, x, *others = ([words[i] for words in made] for i in range(len(pairs)))
    assert all(form == "F" + lemma[1:] + "es" and lemma[0] == "f" for form, lemma in foxes)
    assert all(form == lemma + "ed" for form, lemma in talked)
    assert all(form == lemma for form, lemma in x)
    # They have no stem
    assert others == [[pair] * 200 for pair in pairs[3:]]
    stems = [lemma for _, lemma in talked if lemma != "talk"]
    assert 60 < len(stems) < 140
    assert 20 < sum(set(stem) <= set("xyz") for stem in stems) < len(stems) - 20
    assert {len(stem) for stem in stems} == set(range(1, 9))
    assert lemmatizer._hallucinated(pairs, alphabet, 0.0) == pairs


def test_it_is_saved_with_its_alphabet(nlp, weights, same):
    model = initialized(nlp)
    docs = [make_doc(nlp)]
    train(model, docs)
    loaded = build_lemmatizer(**TINY).from_bytes(model.to_bytes())
    assert same(weights(model), weights(loaded))
    for copied in (loaded, model.copy()):
        assert np.array_equal(log_p(copied, docs), log_p(model, docs))
        assert decode(copied, docs) == decode(model, docs)


def test_weights_of_other_settings_are_refused(nlp):
    saved = initialized(nlp).to_bytes()
    for settings in ({"width": 16}, {"attention": False}, {"cell": "lstm"}):
        with pytest.raises(ValueError, match="BIRNN-E012"):
            build_lemmatizer(**{**TINY, **settings}).from_bytes(saved)
