from itertools import combinations

import numpy as np
import pytest
from spacy.ml.models.tok2vec import CharacterEmbed
from spacy.tokens import Doc
from spacy.vectors import Vectors
from spacy.vocab import Vocab
from thinc.api import Adam, fix_random_seed, set_dropout_rate

from spacy_birnn.models.chars import build_char_rnn
from spacy_birnn.models.embed import SCALE, build_word_char_embed

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


def not_initialized(**settings):
    return build_word_char_embed(
        **{"width": 8, "rows": 50, "word_dropout": 0.0}
        | {"chars": build_char_rnn(width=8, char_width=4, rows=64)}
        | settings
    )


def build(vocab, **settings):
    model = not_initialized(**settings)
    model.initialize(X=[Doc(vocab, words=WORDS)])
    return model


def predict(model, vocab, words=WORDS):
    return model.predict([Doc(vocab, words=words)])[0]


def test_a_word_has_the_same_vector_wherever_it_stands(nlp):
    model = build(nlp.vocab)
    docs = [Doc(nlp.vocab, words=words) for words in (WORDS, [], WORDS[::-1])]
    first, empty, last = model.predict(docs)
    assert first.shape == (5, 112) and empty.shape == (0, 112)
    np.testing.assert_allclose(first, last[::-1], atol=1e-6)
    assert not np.allclose(first[0], first[2])


@pytest.mark.parametrize(
    "other, different",
    [("brotten", False), ("brunten", False), ("gretten", True), ("brettel", True)]
    + [("Bretten", True), ("BRETTEN", True), ("brette4", True)],
)
def test_how_an_unknown_word_is_written_shows(nlp, other, different):
    """Its first character, its last three, and its shape."""
    model = build(nlp.vocab, rows=500, chars=None, word_dropout=0.2)
    vectors = predict(model, nlp.vocab, ["bretten", other])
    assert (not np.allclose(*vectors, atol=1e-4)) == different


@pytest.mark.parametrize(
    "word, other, different",
    # The first character; three; the last two, three and four; the shape
    [("bottled", "cottled", True), ("bottleneck", "bobtleneck", True)]
    + [("rotten", "rottex", True), ("bottle", "botxle", True), ("nitrates", "nitrxtes", True)]
    + [("rotten", "Rotten", True), ("rotten", "ROTTEN", True), ("rotten", "rotte4", True)]
    # What is between the affixes, and affixes that would be more than half of a word
    + [
        ("bottleneck", "botxxxneck", False),
        ("rotted", "rotxed", True),
        ("nitrate", "nitxate", False),
    ]
    + [("salts", "sxxts", False)],
)
def test_affixes_of_an_unknown_word_show(nlp, word, other, different):
    model = build(nlp.vocab, rows=500, chars=None, word_dropout=0.2, affixes=True)
    vectors = predict(model, nlp.vocab, [word, other])
    assert (not np.allclose(*vectors, atol=1e-4)) == different


def test_numbers_of_one_form_are_one_word(nlp):
    model = build(nlp.vocab, rows=500, chars=None)
    model([Doc(nlp.vocab, words=["10998", "1998"])], is_train=True)
    vectors = predict(model, nlp.vocab, ["10998", "13998", "1998"])
    assert np.array_equal(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2])


def test_documents_of_several_vocabs(nlp):
    model = build(nlp.vocab)
    alone = predict(model, nlp.vocab)
    docs = [Doc(Vocab(), words=WORDS), Doc(nlp.vocab, words=WORDS), Doc(Vocab(), words=["new"])]
    for found in model.predict(docs)[:2]:
        np.testing.assert_allclose(found, alone, atol=1e-6)


def test_words_that_training_never_showed_are_alike(nlp):
    settings = {"rows": 500, "chars": None, "word_dropout": 0.2}
    model = build(nlp.vocab, **settings)
    model([Doc(nlp.vocab, words=["brown", "salt"])], is_train=True)
    reloaded = build(nlp.vocab, **settings).from_bytes(model.to_bytes())
    for embed in (model, reloaded):
        bread, salt, stone, shone = predict(embed, nlp.vocab, ["brown", "salt", "stone", "shone"])
        assert np.array_equal(stone, shone)
        for known, other in ((bread, salt), (bread, stone), (salt, stone)):
            assert not np.allclose(known, other, atol=1e-4)


def test_prediction_makes_no_word_known(nlp):
    model = build(nlp.vocab, rows=500, chars=None, word_dropout=0.2)
    for _ in range(2):
        assert np.array_equal(*predict(model, nlp.vocab, ["stone", "shone"]))


def test_without_word_dropout_nothing_is_made_up_for_unknown_words(nlp):
    model = build(nlp.vocab, rows=50, chars=None, word_dropout=0.0)
    model([Doc(nlp.vocab, words=["stone"])], is_train=True)
    stone, shone = predict(model, nlp.vocab, ["stone", "shone"])
    assert stone[:8].any() and not shone[:8].any()


def test_words_for_which_no_row_is_left_are_unknown(nlp):
    model = build(nlp.vocab, rows=3, chars=None)
    words = ["stone", "shone", "spine"]
    for word in words:
        model([Doc(nlp.vocab, words=[word, word])], is_train=True)
    reloaded = build(nlp.vocab, rows=3, chars=None).from_bytes(model.to_bytes())
    for embed in (model, reloaded):
        first, second, third, unknown = predict(embed, nlp.vocab, [*words, "slime"])
        assert np.array_equal(third[:8], unknown[:8])
        for pair in ((first, second), (first, third), (second, third)):
            assert not np.allclose(pair[0][:8], pair[1][:8], atol=1e-4)


def test_a_word_keeps_its_row_and_only_the_rows_shown_are_trained(nlp):
    model = build(nlp.vocab, rows=50, chars=None)
    table = next(node for node in model.walk() if node.name == "word_table")
    model([Doc(nlp.vocab, words=["salt", "bread"])], is_train=True)
    before = predict(model, nlp.vocab, ["salt", "bread"])
    (Y,), backprop = model([Doc(nlp.vocab, words=["iron", "salt", "salt"])], is_train=True)
    assert np.array_equal(predict(model, nlp.vocab, ["salt", "bread"]), before)
    backprop([np.ones_like(Y)])
    gradient = table.get_grad("E")[:, 0]
    assert sorted(gradient[gradient != 0].tolist()) == [SCALE, 2 * SCALE]
    assert not gradient[0] and not gradient[4:].any()


def test_another_character_encoder_fits(nlp):
    settings = {"width": 6, "rows": 50, "nM": 4, "nC": 3, "include_static_vectors": False}
    model = build(nlp.vocab, chars=CharacterEmbed(feature="LOWER", **settings))
    assert predict(model, nlp.vocab).shape == (5, 8 + 3 * 32 + 6)
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


@pytest.mark.parametrize("train_vectors", [False, True])
@pytest.mark.parametrize("width", [0, 4])
def test_round_trip_with_and_without_static_vectors(width, train_vectors, weights, same):
    vocab = vocab_with_vectors(width) if width else Vocab()
    model = build(vocab, train_vectors=train_vectors)
    model([Doc(vocab, words=WORDS)], is_train=True)
    loaded = not_initialized(train_vectors=train_vectors).from_bytes(model.to_bytes())
    assert same(weights(loaded), weights(model))
    assert np.array_equal(predict(loaded, vocab), predict(model, vocab))


def test_static_vectors_that_are_trained_on():
    vocab = vocab_with_vectors(4)
    static = vocab.vectors.data.copy()
    model = build(vocab, chars=None, train_vectors=True)
    docs = [Doc(vocab, words=["Bread", "stone"])]
    (Y,), backprop = model(docs, is_train=True)
    np.testing.assert_allclose(Y[:, :4], [static[0], np.zeros(4)], atol=1e-6)
    backprop([np.ones_like(Y)])
    model.finish_update(Adam(0.01))
    bread, stone = predict(model, vocab, ["Bread", "stone"])[:, :4] - [static[0], np.zeros(4)]
    assert (bread < 0).all() and (stone < 0).all()
    # Another word keeps its vector, and so do those of the vocab
    np.testing.assert_allclose(predict(model, vocab, ["butter"])[0, :4], static[1], atol=1e-6)
    assert np.array_equal(vocab.vectors.data, static)


def test_without_static_vectors_there_is_nothing_to_train_on(nlp):
    fix_random_seed(0)
    plain = build(nlp.vocab, chars=None)
    fix_random_seed(0)
    trained = build(nlp.vocab, chars=None, train_vectors=True)
    docs = [Doc(nlp.vocab, words=WORDS)]
    assert np.array_equal(*(model(docs, is_train=True)[0][0] for model in (plain, trained)))


@pytest.mark.parametrize("width", [0, 7])
def test_other_static_vectors_than_those_of_the_training_are_refused(width):
    model = build(vocab_with_vectors(4))
    other = vocab_with_vectors(width) if width else Vocab()
    with pytest.raises(ValueError, match=f"BIRNN-E014.*{width}.*4"):
        predict(model, other)


def test_static_vectors_that_come_after_the_training_are_not_read():
    model = build(Vocab())
    assert np.array_equal(predict(model, vocab_with_vectors(4)), predict(model, Vocab()))


def test_word_dropout_hides_the_word_in_training_only(nlp):
    docs = [Doc(nlp.vocab, words=["stone", "shone"])]
    model = build(nlp.vocab, rows=500, chars=None, word_dropout=0.9999)
    assert np.array_equal(*model(docs, is_train=True)[0][0])
    assert not np.allclose(*model.predict(docs)[0])


def test_dropout_leaves_the_characters(nlp):
    model = build(nlp.vocab, rows=500, word_dropout=0.9999, spelling_dropout=0.9999)
    stone, shone = model([Doc(nlp.vocab, words=["stone", "shone"])], is_train=True)[0][0]
    assert not np.allclose(stone, shone, atol=1e-4)


def test_dropout_is_drawn_for_each_step_each_word_and_its_spelling(nlp):
    docs = [Doc(nlp.vocab, words=[f"w{i}" for i in range(200)])]
    model = build(nlp.vocab, rows=500, chars=None, word_dropout=0.5, spelling_dropout=0.5)
    set_dropout_rate(model, 0.0)
    steps = [model(docs, is_train=True)[0][0] for _ in range(2)]
    shown = model.predict(docs)[0]
    kept = [
        np.isclose(Y[:, columns], shown[:, columns], atol=1e-6).all(axis=1)
        for Y in steps
        for columns in (slice(0, 8), slice(8, None))
    ]
    assert all(0.3 < share.mean() < 0.7 for share in kept)
    assert all(not np.array_equal(*pair) for pair in combinations(kept, 2))


def test_spelling_that_is_hidden_learns_nothing(nlp):
    model = build(nlp.vocab, rows=500, chars=None, spelling_dropout=0.9999)
    before = predict(model, nlp.vocab)[:, 8:]
    Y, backprop = model([Doc(nlp.vocab, words=WORDS)], is_train=True)
    assert not Y[0][:, 8:].any()
    backprop([np.ones_like(Y[0])])
    model.finish_update(Adam(0.01))
    assert np.array_equal(before, predict(model, nlp.vocab)[:, 8:])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "'width'.*0"),
        ({"rows": 0}, "'rows'.*0"),
        ({"word_dropout": 1.5}, "'word_dropout'.*1.5"),
        ({"spelling_dropout": -0.1}, "'spelling_dropout'.*-0.1"),
    ],
)
def test_impossible_settings_are_named(nlp, settings, message):
    with pytest.raises(ValueError, match=f"BIRNN-E001.*{message}.*WordCharEmbed"):
        build(nlp.vocab, **settings)
