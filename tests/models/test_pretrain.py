import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training.pretrain import make_update
from thinc.api import Adam, Model, chain

from spacy_birnn.models.pretrain import build_pretrain_bilm

BOTH = {"direction": "both"}
STACKED = {"direction": "both", "depth": 2, "stack": "independent"}
ONE_WAY = [
    {"direction": "forward"},
    {"direction": "backward"},
    {"direction": "forward", "depth": 2},
]
BIRNN = {"@architectures": "spacy-birnn.BiRNNEncoder.v1", "width": 16}
HASHES = {
    "@architectures": "spacy.MultiHashEmbed.v2",
    "width": 16,
    "attrs": ["NORM"],
    "rows": [100],
    "include_static_vectors": False,
}
CNN = {
    "@architectures": "spacy.MaxoutWindowEncoder.v2",
    "width": 16,
    "depth": 1,
    "window_size": 1,
    "maxout_pieces": 2,
}
TOK2VEC = {"@architectures": "spacy.Tok2Vec.v2"}


@pytest.fixture
def docs(nlp):
    texts = ["one two three four five", "", "six", "seven eight", " "]
    return [Doc(nlp.vocab, words=text.split()) for text in texts]


@pytest.fixture
def build(nlp, tiny_tok2vec):
    """Makes the model to pretrain from the settings of the encoder and of the objective."""

    def make(settings, tok2vec=None, **objective):
        config = {
            "tok2vec": tok2vec or {**tiny_tok2vec, **settings},
            "objective": {"@architectures": "spacy-birnn.PretrainBiLM.v1", "rows": 50, **objective},
        }
        resolved = spacy.registry.resolve(config)
        example = [nlp.make_doc("Give it a doc to infer shapes")]
        resolved["tok2vec"].initialize(X=example)
        model = resolved["objective"](nlp.vocab, resolved["tok2vec"])
        model.initialize(X=example)
        return model

    return make


def changed_rows(model, vocab, at):
    """Which predictions change with one word, for each direction that the model has."""
    words = ["one", "two", "three", "four", "five", "six"]
    other = words[:at] + ["other"] + words[at + 1 :]
    before, after = (model.predict([Doc(vocab, words=w)]) for w in (words, other))
    differs = np.abs(before - after).max(axis=1) > 1e-6
    return differs.reshape((-1, len(words) - 1)).tolist()


@pytest.mark.parametrize("target", ["words", "characters"])
@pytest.mark.parametrize("settings", [BOTH, STACKED, *ONE_WAY], ids=str)
@pytest.mark.parametrize("at", [0, 2, 5])
def test_no_prediction_sees_its_word_or_what_is_beyond(build, nlp, randomize, settings, target, at):
    model = build(settings, target=target)
    randomize(model)
    # The forward direction predicts words 1 to 5, each from the words before it; the backward
    # direction words 0 to 4, each from those after it
    expected = {
        "forward": [predicted > at for predicted in range(1, 6)],
        "backward": [predicted < at for predicted in range(5)],
    }
    direction = settings["direction"]
    wanted = list(expected.values()) if direction == "both" else [expected[direction]]
    assert changed_rows(model, nlp.vocab, at) == wanted


def naive_loss(scores, docs, right_classes, n_classes):
    """Of each document forward, then of each backward: the neighbour's classes, one by one."""
    words = [doc[i + 1] for doc in docs for i in range(len(doc) - 1)]
    words += [doc[i - 1] for doc in docs for i in range(1, len(doc))]
    assert len(scores) == len(words)
    nats = 0.0
    for row, word in zip(scores.astype("float64"), words):
        for part, right in enumerate(right_classes(word)):
            own = row[part * n_classes : (part + 1) * n_classes]
            nats -= own[right] - np.log(np.exp(own).sum())
    return nats


def ends(word):
    """The first, the last, the second and the last but one byte; 255 for none."""
    text = list(word.text.encode("utf8"))
    found = [text.pop(0 if i % 2 == 0 else -1) if text else 255 for i in range(4)]
    return found


@pytest.mark.parametrize(
    "target, right_classes, n_classes",
    [("words", lambda word: [word.orth % 50], 50), ("characters", ends, 256)],
)
def test_the_loss_is_that_of_the_neighbours(
    build, docs, randomize, target, right_classes, n_classes
):
    model = build(BOTH, target=target)
    randomize(model, scale=0.5)
    scores = model.predict(docs)
    loss, gradient = model.attrs["loss"](model.ops, docs, scores)
    assert loss == pytest.approx(naive_loss(scores, docs, right_classes, n_classes), rel=1e-5)
    # The gradient is that of the mean over the predictions
    for _ in range(10):
        i, j = np.random.randint(len(scores)), np.random.randint(scores.shape[1])
        moved = [scores.astype("float64") for _ in range(2)]
        moved[0][i, j] += 1e-3
        moved[1][i, j] -= 1e-3
        up, down = (naive_loss(s, docs, right_classes, n_classes) for s in moved)
        assert gradient[i, j] == pytest.approx((up - down) / 2e-3 / len(scores), abs=1e-5)


@pytest.mark.parametrize("settings", [BOTH, STACKED, *ONE_WAY], ids=str)
@pytest.mark.parametrize("target", ["words", "characters"])
def test_every_weight_is_trained(build, docs, weights, unmoved, settings, target):
    model = build(settings, target=target)
    before = weights(model)
    sgd = Adam(0.01)
    make_update(model, docs, sgd, model.attrs["loss"])
    assert unmoved(before, weights(model)) == []


@pytest.mark.parametrize("target", ["words", "characters"])
def test_determined_neighbours_are_learned(build, nlp, target):
    """Towards 0, from about as bad as chance."""
    cycle = "red green blue yellow white black".split() * 3
    docs = [Doc(nlp.vocab, words=cycle[i : i + 7]) for i in range(6)]
    # A plain cell, which learns this from any initial weights
    settings = {**BOTH, "cell": "rnn", "width": 64, "dropout": 0.0, "locked_dropout": 0.0}
    model = build(settings, target=target)
    sgd = Adam(0.01)
    losses = [make_update(model, docs, sgd, model.attrs["loss"]) for _ in range(400)]
    parts, n_classes = (1, 50) if target == "words" else (4, 256)
    predictions = sum(2 * (len(doc) - 1) for doc in docs)
    assert losses[0] == pytest.approx(predictions * parts * np.log(n_classes), rel=0.05)
    assert losses[-1] / (predictions * parts) < 0.1


def test_texts_without_neighbours_are_no_loss_and_move_nothing(build, docs, weights, same):
    model = build(BOTH)
    before = weights(model)
    sgd = Adam(0.01, L2=0.0)
    with pytest.warns(UserWarning, match="BIRNN-W005.*2 texts.*min_length"):
        assert make_update(model, docs[1:3], sgd, model.attrs["loss"]) == 0.0
    # A second warning would be an error
    for batch in (docs[2:3], docs[1:2]):
        assert make_update(model, batch, sgd, model.attrs["loss"]) == 0.0
    params = {key: value for key, value in before.items() if key[-1] not in ("keys", "places")}
    assert same({key: weights(model)[key] for key in params}, params)


@pytest.mark.parametrize(
    "settings, tok2vec, message",
    [
        ({"merge": "sum"}, None, "E052.*merge = 'sum'"),
        ({**STACKED, "merge": "mean"}, None, "E052.*merge = 'mean'"),
        ({"depth": 2}, None, "E052.*depth = 2 and stack = 'interleaved'"),
        ({}, {**TOK2VEC, "embed": HASHES, "encode": CNN}, "E050.*but got '.*expand_window.*'"),
        ({}, HASHES, "E050.*but got 'extract_features"),
        (
            {},
            {**TOK2VEC, "embed": {**TOK2VEC, "embed": HASHES, "encode": CNN}, "encode": BIRNN},
            "E051.*expand_window.*neighbours",
        ),
    ],
)
def test_a_tok2vec_that_sees_its_target_is_refused(build, settings, tok2vec, message):
    with pytest.raises(ValueError, match=f"BIRNN-{message}"):
        build(settings, tok2vec)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"target": "sentences"}, "'target'.*'words', 'characters'.*'sentences'"),
        ({"rows": 0}, "'rows'.*0"),
        ({"n_characters": 0}, "'n_characters'.*0"),
    ],
)
def test_impossible_settings_of_the_objective_are_named(build, settings, message):
    with pytest.raises(ValueError, match=f"BIRNN-E001.*{message}.*PretrainBiLM"):
        build_pretrain_bilm(**settings)


def test_an_embedding_that_looks_back_is_refused(nlp, tiny_tok2vec):
    """Whatever it looks at: here only at the token before."""

    def look_back(model, Xs, is_train):
        return [np.vstack([X[:1], X[1:] + X[:-1]]) for X in Xs], lambda dYs: dYs

    tok2vec = spacy.registry.resolve({"tok2vec": tiny_tok2vec})["tok2vec"]
    embed = tok2vec.get_ref("embed")
    tok2vec.initialize(X=[nlp.make_doc("one two three")])
    seeing = chain(embed, Model("look_back", look_back))
    tok2vec.set_ref("embed", None)
    tok2vec.layers[0] = seeing
    tok2vec.set_ref("embed", seeing)
    with pytest.raises(ValueError, match="BIRNN-E051"):
        build_pretrain_bilm(rows=50)(nlp.vocab, tok2vec)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on the way there
def test_a_learning_rate_that_explodes_is_reported(build, docs):
    model = build(BOTH)
    sgd = Adam(1e38)
    with pytest.raises(ValueError, match="BIRNN-E022.*PretrainBiLM"):
        for _ in range(10):
            make_update(model, docs, sgd, model.attrs["loss"])
