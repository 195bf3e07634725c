import numpy as np
import pytest
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Adam, Model

from spacy_birnn.checks import POOLINGS
from spacy_birnn.models.tagger import NEW_LABEL_SCORE, build_sequence_tagger
from spacy_birnn.models.textcat import build_text_classifier
from spacy_birnn.models.tok2vec import build_birnn_tok2vec

LENGTHS = (2, 0, 4, 1, 2)


def rows(width=4):
    return [np.random.uniform(-1, 1, (length, width)).astype("f") for length in LENGTHS]


def given(width=4):
    """A tok2vec whose documents are their vectors."""
    return Model("given", lambda model, Xs, is_train: (Xs, lambda dXs: dXs), dims={"nO": width})


@pytest.fixture
def build(randomize):
    """Makes a classifier on vectors that are given, with weights that are not 0."""

    def make(n_labels=2, **settings):
        model = build_text_classifier(given(), hidden_width=5, ngram_size=0, **settings)
        model.initialize(X=rows(), Y=np.zeros((len(LENGTHS), n_labels), "f"))
        randomize(model)
        return model

    return make


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_document_has_the_same_scores_alone_and_in_any_batch(build, pooling, heads):
    model, Xs = build(pooling=pooling, attention_heads=heads), rows()
    scores = model.predict(Xs)
    assert scores.logits.shape == (5, 2)
    assert (scores.attention is not None) == (pooling == "attention")
    for i, X in enumerate(Xs):
        alone = model.predict([X])
        np.testing.assert_allclose(alone.logits[0], scores.logits[i], rtol=1e-6, atol=1e-5)
        if pooling == "attention":
            np.testing.assert_allclose(alone.attention[0], scores.attention[i], atol=1e-6)
            assert scores.attention[i].sum() == pytest.approx(min(len(X), 1))
    assert model.predict([]).logits.shape == (0, 2)


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_gradient_is_that_of_finite_differences(build, pooling, heads):
    model, Xs = build(pooling=pooling, attention_heads=heads), rows()
    scores, backprop = model(Xs, is_train=True)
    towards = np.random.uniform(-1, 1, scores.logits.shape).astype("f")
    dXs = backprop(towards[None])

    def value():
        return float((model.predict(Xs).logits * towards).sum())

    wrong = []
    for X, dX in zip(Xs, dXs):
        for index in np.ndindex(*X.shape):
            kept = X[index]
            X[index] = kept + 1e-3
            up = value()
            X[index] = kept - 1e-3
            down = value()
            X[index] = kept
            if dX[index] != pytest.approx((up - down) / 2e-3, abs=0.05, rel=0.05):
                wrong.append((index, dX[index], (up - down) / 2e-3))
    # A step may cross a kink of maxout or max
    assert len(wrong) <= 2, wrong


def test_at_first_every_label_is_as_likely():
    model = build_text_classifier(given(), ngram_size=0)
    model.initialize(X=rows(), Y=np.zeros((len(LENGTHS), 3), "f"))
    assert not model.predict(rows()).logits.any()


def test_dropout_in_the_hidden_layer(build):
    model, Xs = build(pooling="mean"), rows()
    certain = model(Xs, is_train=True)[0].logits
    for node in model.walk():
        if "dropout_rate" in node.attrs:
            node.attrs["dropout_rate"] = 0.5
    assert np.abs(model(Xs, is_train=True)[0].logits - certain).max() > 0.01
    np.testing.assert_allclose(model.predict(Xs).logits, certain, atol=1e-5)


@pytest.mark.parametrize("n_before", [2, 5])  # as many as the hidden layer is wide: no mixed axes
def test_more_labels_leave_the_scores_of_the_old_ones(build, n_before):
    model, Xs = build(n_before), rows()
    before = model.predict(Xs).logits
    assert model.attrs["resize_output"](model, 6) is model
    after = model.predict(Xs).logits
    assert np.array_equal(after[:, :n_before], before)
    assert after.shape == (5, 6) and (after[:, n_before:] == NEW_LABEL_SCORE).all()
    assert model.get_dim("nO") == model.get_ref("output_layer").get_dim("nO") == 6


@pytest.mark.parametrize("heads", [0, 2])
def test_round_trip_by_value(build, heads):
    model, Xs = build(attention_heads=heads), rows()
    loaded = build_text_classifier(given(), hidden_width=5, ngram_size=0, attention_heads=heads)
    loaded.from_bytes(model.to_bytes())
    assert np.array_equal(loaded.predict(Xs).logits, model.predict(Xs).logits)


def test_weights_for_another_number_of_heads_are_refused(build):
    """They have the same shapes, but mean something else."""
    saved = build(attention_heads=2).to_bytes()
    loaded = build_text_classifier(given(), hidden_width=5, ngram_size=0, attention_heads=4)
    with pytest.raises(ValueError, match="BIRNN-E012.*self_attention.*heads"):
        loaded.from_bytes(saved)


def test_attention_learns_which_row_counts():
    """One row of each document is marked, and its sign is the class."""

    def batch(n):
        Xs = np.random.choice([-1.0, 1.0], (n, 6, 4)).astype("f")
        marks = np.random.randint(6, size=n)
        Xs[:, :, 0] = np.arange(6) == marks[:, None]
        return list(Xs), marks, Xs[np.arange(n), marks, 1] > 0

    model = build_text_classifier(given(), pooling="attention", hidden_width=8, ngram_size=0)
    model.initialize(X=batch(2)[0], Y=np.zeros((2, 2), "f"))
    sgd = Adam(0.02)
    for _ in range(150):
        Xs, _, classes = batch(50)
        target = np.stack([~classes, classes], axis=1)
        scores, backprop = model(Xs, is_train=True)
        odds = np.exp(scores.logits)
        backprop((odds / odds.sum(axis=1, keepdims=True) - target).astype("f")[None])
        model.finish_update(sgd)
    Xs, marks, classes = batch(50)
    scores = model.predict(Xs)
    assert np.mean(scores.logits.argmax(axis=1) == classes) > 0.95
    assert np.mean([weights[i] for i, weights in zip(marks, scores.attention)]) > 0.5


TEXTS = ("red and round", "", "round and red", "red", "red red")


@pytest.fixture
def build_both(randomize):
    """Makes a classifier of two parts, which reads documents."""

    def make(n_labels=2, random=True, **settings):
        model = build_text_classifier(build_birnn_tok2vec(width=4), ngram_rows=64, **settings)
        if n_labels:
            model.initialize(X=docs(), Y=np.zeros((len(TEXTS), n_labels), "f"))
        if random:
            randomize(model)
        return model

    return make


def docs(texts=TEXTS):
    return [Doc(Vocab(), words=text.split()) for text in texts]


def test_the_scores_are_the_mean_of_what_the_parts_say(build_both):
    model = build_both()
    scores = model.predict(docs())
    assert scores.parts.shape == (2, 5, 2)
    np.testing.assert_allclose(scores.logits, scores.parts.mean(axis=0))
    assert np.abs(scores.parts[0] - scores.parts[1]).min(axis=1)[0] > 1e-3
    for i, doc in enumerate(docs()):
        alone = model.predict([doc])
        assert np.array_equal(alone.parts[1, 0], scores.parts[1, i])
    assert model.predict([]).logits.shape == (0, 2)
    assert model.predict(docs(["", ""])).logits.shape == (2, 2)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ngrams_are_counted(build_both, size):
    """Their part is a sum over them, and looks no further than the longest reaches."""
    model = build_both(ngram_size=size)

    def score(text):
        found = model.predict(docs([text, ""])).parts[1]
        return (found[0] - found[1]).tolist()

    assert (score("a b") == pytest.approx(score("b a"), abs=1e-5)) == (size == 1)
    # The same words and pairs, but not the same triples
    one, other = score("a b c a d a b"), score("a d a b c a b")
    assert (one == pytest.approx(other, abs=1e-5)) == (size < 3)
    twice = np.add(score("a"), score("a"))
    assert (score("a a") == pytest.approx(twice, abs=1e-5)) == (size == 1)


@pytest.mark.parametrize("part", [0, 1])
def test_each_part_learns_by_itself(build_both, part):
    model = build_both(random=False)
    scores, backprop = model(docs(), is_train=True)
    d_parts = np.zeros_like(scores.parts)
    d_parts[part, :, 0] = 1
    backprop(d_parts)
    model.finish_update(Adam(0.01))
    changed = np.abs(model.predict(docs()).parts - scores.parts).max(axis=(1, 2)) > 1e-4
    assert changed[part] and not changed[1 - part]


@pytest.mark.parametrize("size", [0, 2])
def test_more_labels_leave_what_each_part_says_of_the_old_ones(build_both, size):
    model = build_both(3, ngram_size=size)
    before = model.predict(docs()).parts
    model.attrs["resize_output"](model, 5)
    after = model.predict(docs()).parts
    assert np.array_equal(after[:, :, :3], before) and (after[:, :, 3:] == NEW_LABEL_SCORE).all()
    scores, backprop = model(docs(), is_train=True)
    backprop(np.ones_like(scores.parts))
    model.finish_update(Adam(0.01))
    loaded = build_both(0, random=False, ngram_size=size)
    loaded.from_bytes(model.to_bytes())
    assert np.array_equal(loaded.predict(docs()).parts, model.predict(docs()).parts)


def test_labels_added_before_initialization(build_both):
    model = build_both(0, random=False)
    model.attrs["resize_output"](model, 4)
    model.initialize(X=docs(), Y=np.zeros((len(TEXTS), 4), "f"))
    assert model.predict(docs()).parts.shape == (2, 5, 4)


def test_a_long_document(build_both):
    model = build_both()
    scores = model.predict(docs(["red and round " * 1000]))
    assert np.isfinite(scores.parts).all() and len(scores.attention[0]) == 3000


SETTINGS = [
    ({"pooling": "sum"}, "BIRNN-E001.*'pooling'.*'sum'.*TextClassifier"),
    ({"hidden_width": 0}, "BIRNN-E001.*'hidden_width'.*TextClassifier"),
    ({"ngram_size": -1}, "BIRNN-E001.*'ngram_size'.*at least 0.*-1.*TextClassifier"),
    ({"ngram_rows": 0}, "BIRNN-E001.*'ngram_rows'.*at least 1.*0.*TextClassifier"),
    ({"attention_heads": -1}, "BIRNN-E001.*'attention_heads'.*-1.*TextClassifier"),
    ({"attention_heads": 3}, "BIRNN-E030.*width = 4.*3 heads"),
]


@pytest.mark.parametrize("settings, message", SETTINGS)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build_text_classifier(given(), **settings)


@pytest.mark.parametrize("settings", [{"direction": "forward"}, {"merge": "sum"}])
def test_final_states_of_an_encoder_that_does_not_have_both(settings):
    tok2vec = build_birnn_tok2vec(width=4, **settings)
    with pytest.raises(ValueError, match="BIRNN-E032.*'last'"):
        build_text_classifier(tok2vec, pooling="last")


def test_an_odd_width_has_no_halves():
    model = build_text_classifier(given(3), pooling="last", ngram_size=0)
    with pytest.raises(ValueError, match="BIRNN-E001.*'width'.*even.*3"):
        model.initialize(X=rows(3), Y=np.zeros((len(LENGTHS), 2), "f"))


def test_a_tagger_with_self_attention_sees_the_whole_sentence(randomize):
    model = build_sequence_tagger(given(), output="crf", attention_heads=2)
    Xs = rows()
    model.initialize(X=Xs, Y=[np.zeros((len(X), 3), "f") for X in Xs])
    randomize(model)
    before = model.predict(Xs).emissions
    for i, X in enumerate(Xs):
        start = sum(LENGTHS[:i])
        alone = model.predict([X]).emissions
        np.testing.assert_allclose(alone, before[start : start + len(X)], atol=1e-5)
    Xs[2][3] += 1
    changed = np.abs(model.predict(Xs).emissions - before).max(axis=1) > 1e-4
    assert changed.tolist() == [2 <= row < 6 for row in range(sum(LENGTHS))]
    model.attrs["resize_output"](model, 4)
    assert model.predict(Xs).emissions.shape == (sum(LENGTHS), 4)


def test_heads_of_a_tagger_that_cannot_share_the_width():
    with pytest.raises(ValueError, match="BIRNN-E030.*width = 4.*3 heads"):
        build_sequence_tagger(given(), output="softmax", attention_heads=3)
