import numpy as np
import pytest
from spacy.ml.models.tok2vec import CharacterEmbed
from spacy.tokens import Doc
from spacy.vectors import Vectors
from spacy.vocab import Vocab
from thinc.api import set_dropout_rate

from spacy_birnn.models.chars import build_char_rnn
from spacy_birnn.models.embed import build_word_char_embed

WORDS = ["Bread", "and", "butter", "and", "bread"]


def vocab_with_vectors(width, value=None):
    data = np.random.uniform(-1, 1, (2, width)).astype("f")
    if value is not None:
        data[0] = value
    vocab = Vocab()
    vocab.vectors = Vectors(data=data, keys=["Bread", "butter"], strings=vocab.strings)
    for word in WORDS:
        vocab.strings.add(word)
    return vocab


def build(vocab, **settings):
    model = build_word_char_embed(
        **{"width": 8, "attrs": ["NORM", "SHAPE"], "rows": [50, 20], "word_dropout": 0.0}
        | {"chars": build_char_rnn(width=8, char_width=4, rows=64)}
        | settings
    )
    model.initialize(X=[Doc(vocab, words=WORDS)])
    return model


def predict(model, vocab, words=WORDS):
    return model.predict([Doc(vocab, words=words)])[0]


def test_a_word_has_the_same_vector_wherever_it_stands(nlp):
    model = build(nlp.vocab)
    docs = [Doc(nlp.vocab, words=words) for words in (WORDS, [], WORDS[::-1])]
    first, empty, last = model.predict(docs)
    assert first.shape == (5, 8) and empty.shape == (0, 8)
    np.testing.assert_allclose(first, last[::-1], atol=1e-6)
    assert not np.allclose(first[0], first[2])


@pytest.mark.parametrize("attrs, rows", [(["SHAPE"], [50]), (["PREFIX", "SUFFIX"], [50, 50])])
def test_any_number_of_attributes_and_no_characters(nlp, attrs, rows):
    model = build(nlp.vocab, attrs=attrs, rows=rows, chars=None)
    words = ["abcd", "abcd", "WXYZ"]
    vectors = predict(model, nlp.vocab, words)
    assert np.array_equal(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2])


@pytest.mark.parametrize("attrs, different", [(["SHAPE"], False), (["SUFFIX"], True)])
def test_the_attributes_say_which_words_differ(nlp, attrs, different):
    model = build(nlp.vocab, attrs=attrs, rows=[500], chars=None)
    vectors = predict(model, nlp.vocab, ["bread", "stone"])
    assert (not np.allclose(*vectors, atol=1e-4)) == different


@pytest.mark.parametrize("attr", ["ORTH", "LOWER", "NORM"])
def test_words_that_training_never_showed_are_alike(nlp, attr):
    """What a hashed table has for an unknown word is the sum of other words."""
    settings = {"attrs": [attr], "rows": [500], "chars": None, "word_dropout": 0.2}
    model = build(nlp.vocab, **settings)
    model([Doc(nlp.vocab, words=["bread", "salt"])], is_train=True)
    reloaded = build(nlp.vocab, **settings).from_bytes(model.to_bytes())
    for embed in (model, reloaded):
        bread, salt, stone, iron = predict(embed, nlp.vocab, ["bread", "salt", "stone", "iron"])
        assert np.array_equal(stone, iron)
        for known, other in ((bread, salt), (bread, stone), (salt, stone)):
            assert not np.allclose(known, other, atol=1e-4)


def test_prediction_makes_no_word_known(nlp):
    model = build(nlp.vocab, attrs=["ORTH"], rows=[500], chars=None, word_dropout=0.2)
    for _ in range(2):
        assert np.array_equal(*predict(model, nlp.vocab, ["stone", "iron"]))


def test_without_word_dropout_every_word_has_its_own_vector(nlp):
    """Nothing was learned about a hidden word, so none is hidden."""
    model = build(nlp.vocab, attrs=["ORTH"], rows=[500], chars=None, word_dropout=0.0)
    assert not np.allclose(*predict(model, nlp.vocab, ["stone", "iron"]), atol=1e-4)


def test_another_character_encoder_fits(nlp):
    settings = {"width": 6, "rows": 50, "nM": 4, "nC": 3, "include_static_vectors": False}
    model = build(nlp.vocab, chars=CharacterEmbed(feature="LOWER", **settings))
    assert predict(model, nlp.vocab).shape == (5, 8)
    docs = [Doc(nlp.vocab, words=WORDS)]
    (Y,), backprop = model(docs, is_train=True)
    np.testing.assert_allclose(predict(model, nlp.vocab), Y, atol=1e-6)
    backprop([np.ones_like(Y)])


def test_static_vectors_are_read_where_the_vocab_has_them():
    vocab = vocab_with_vectors(4)
    model = build(vocab)
    before = predict(model, vocab)
    vocab.vectors.data[0] += 1.0
    after = predict(model, vocab)
    changed = [not np.allclose(*pair, atol=1e-5) for pair in zip(before, after)]
    assert changed == [word == "Bread" for word in WORDS]


def test_static_vectors_are_not_trained_but_their_projection_is(weights):
    vocab = vocab_with_vectors(4)
    model = build(vocab)
    vectors = vocab.vectors.data.copy()
    (Y,), backprop = model([Doc(vocab, words=WORDS)], is_train=True)
    backprop([np.ones_like(Y)])
    projection = next(node for node in model.walk() if node.name == "static_vectors")
    assert projection.get_grad("W").any()
    assert np.array_equal(vocab.vectors.data, vectors)


@pytest.mark.parametrize("width", [0, 4])
def test_round_trip_with_and_without_static_vectors(width, weights, same):
    vocab = vocab_with_vectors(width) if width else Vocab()
    model = build(vocab)
    loaded = build_word_char_embed(
        width=8,
        attrs=["NORM", "SHAPE"],
        rows=[50, 20],
        word_dropout=0.0,
        chars=build_char_rnn(width=8, char_width=4, rows=64),
    ).from_bytes(model.to_bytes())
    assert same(weights(loaded), weights(model))
    assert np.array_equal(predict(loaded, vocab), predict(model, vocab))


@pytest.mark.parametrize("width", [0, 7])
def test_other_static_vectors_than_those_of_the_training_are_refused(width):
    model = build(vocab_with_vectors(4))
    other = vocab_with_vectors(width) if width else Vocab()
    with pytest.raises(ValueError, match=f"BIRNN-E014.*{width}.*4"):
        predict(model, other)


def test_static_vectors_that_come_after_the_training_are_not_read():
    model = build(Vocab())
    assert np.array_equal(predict(model, vocab_with_vectors(4)), predict(model, Vocab()))


@pytest.mark.parametrize("attr", ["ORTH", "LOWER", "NORM"])
def test_word_dropout_hides_the_word_in_training_only(nlp, attr):
    docs = [Doc(nlp.vocab, words=["bread", "butter"])]
    model = build(nlp.vocab, attrs=[attr], rows=[500], chars=None, word_dropout=0.9999)
    assert np.array_equal(*model(docs, is_train=True)[0][0])
    assert not np.allclose(*model.predict(docs)[0])


@pytest.mark.parametrize(
    "settings",
    [{"attrs": ["PREFIX"]}, {"attrs": ["SUFFIX"]}, {"attrs": ["SHAPE"]}]
    + [{"chars": build_char_rnn(width=8, char_width=4, rows=64), "attrs": ["ORTH"]}],
    ids=["prefix", "suffix", "shape", "chars"],
)
def test_word_dropout_leaves_how_a_word_is_written(nlp, settings):
    settings = {"rows": [500], "chars": None, "word_dropout": 0.9999, **settings}
    docs = [Doc(nlp.vocab, words=["bread", "Salt"])]
    model = build(nlp.vocab, **settings)
    assert not np.allclose(*model(docs, is_train=True)[0][0], atol=1e-4)


def test_word_dropout_is_drawn_for_each_step_and_each_word(nlp):
    docs = [Doc(nlp.vocab, words=[f"w{i}" for i in range(200)])]
    model = build(nlp.vocab, attrs=["ORTH"], rows=[500], chars=None, word_dropout=0.5)
    set_dropout_rate(model, 0.0)
    steps = [model(docs, is_train=True)[0][0] for _ in range(2)]
    shown = model.predict(docs)[0]
    kept = [np.isclose(Y, shown, atol=1e-6).all(axis=1) for Y in steps]
    assert all(0.3 < share.mean() < 0.7 for share in kept)
    assert not np.array_equal(*kept)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "'width'.*0"),
        ({"attrs": ["POS", "NORM"]}, "'attrs'.*POS"),
        ({"attrs": [], "rows": []}, "'rows'"),
        ({"rows": [50]}, r"'rows'.*2.*\[50\]"),
        ({"rows": [50, 0]}, "'rows'.*0"),
        ({"word_dropout": 1.5}, "'word_dropout'.*1.5"),
    ],
)
def test_impossible_settings_are_named(nlp, settings, message):
    with pytest.raises(ValueError, match=f"BIRNN-E001.*{message}.*WordCharEmbed"):
        build(nlp.vocab, **settings)
