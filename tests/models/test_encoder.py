import numpy as np
import pytest
from thinc.api import Adam

from spacy_birnn.models.encoder import build_birnn_encoder


def inputs(width=3):
    return [np.random.uniform(-1, 1, (length, width)).astype("f") for length in (4, 0, 1, 6)]


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "peephole_lstm", "grid_lstm"])
def test_a_document_has_the_same_vectors_alone_and_in_any_batch(cell, direction):
    model = build_birnn_encoder(width=6, cell=cell, depth=2, direction=direction)
    Xs = inputs()
    model.initialize(X=Xs)
    for X, Y in zip(Xs, model.predict(Xs)):
        assert Y.shape == (len(X), 6)
        np.testing.assert_allclose(model.predict([X])[0], Y, atol=1e-6)


def test_documents_without_tokens():
    model = build_birnn_encoder(width=6)
    model.initialize(X=inputs())
    empty = [np.zeros((0, 3), dtype="f")] * 2
    Ys, backprop = model(empty, is_train=True)
    assert [Y.shape for Y in Ys] == [(0, 6), (0, 6)]
    assert [dX.shape for dX in backprop(Ys)] == [(0, 3), (0, 3)]


def test_the_gradient_is_that_of_finite_differences():
    model, Xs = build_birnn_encoder(width=4), inputs()
    model.initialize(X=Xs)
    Ys, backprop = model(Xs, is_train=True)
    towards = [np.random.uniform(-1, 1, Y.shape).astype("f") for Y in Ys]
    dXs = backprop(towards)

    def value():
        return sum(float((Y * dY).sum()) for Y, dY in zip(model.predict(Xs), towards))

    for X, dX in zip(Xs, dXs):
        for index in np.ndindex(*X.shape):
            kept = X[index]
            X[index] = kept + 1e-2
            up = value()
            X[index] = kept - 1e-2
            down = value()
            X[index] = kept
            assert dX[index] == pytest.approx((up - down) / 2e-2, abs=2e-3)


def test_it_learns_what_comes_later():
    """Give the sign of the last row already at the first: only a backward direction can."""
    Xs = [np.random.uniform(-1, 1, (5, 1)).astype("f") for _ in range(40)]
    targets = [np.sign(X[-1, 0]) * 0.5 for X in Xs]

    def error(direction):
        model = build_birnn_encoder(width=8, cell="gru", direction=direction)
        model.initialize(X=Xs)
        sgd = Adam(0.05)
        for _ in range(40):
            Ys, backprop = model(Xs, is_train=True)
            dYs = [np.zeros_like(Y) for Y in Ys]
            for Y, dY, target in zip(Ys, dYs, targets):
                dY[0, 0] = Y[0, 0] - target
            backprop(dYs)
            model.finish_update(sgd)
        return np.mean([(Y[0, 0] - t) ** 2 for Y, t in zip(model.predict(Xs), targets)])

    assert error("backward") < 0.03 < 0.2 < error("forward")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": -2}, "E001.*'width'.*-2.*BiRNNEncoder"),
        ({"width": 7}, "E003.*7"),
        ({"depth": 0}, "E001.*'depth'.*0.*BiRNNEncoder"),
        ({"cell": "cnn"}, "E001.*'cell'.*cnn.*BiRNNEncoder"),
        ({"direction": "up"}, "E001.*'direction'.*up"),
        ({"merge": "max"}, "E001.*'merge'.*max"),
        ({"merge": "sum", "direction": "forward"}, "E002.*forward"),
        ({"dropout": 1}, "E001.*'dropout'.*1"),
        ({"locked_dropout": "much"}, "E001.*'locked_dropout'.*much"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=f"BIRNN-{message}"):
        build_birnn_encoder(**{"width": 8, **settings})


@pytest.mark.parametrize("settings", [{"merge": "sum"}, {"direction": "backward"}])
def test_an_odd_width_is_possible_unless_it_is_shared(settings):
    model = build_birnn_encoder(width=7, **settings)
    model.initialize(X=inputs())
    assert model.predict(inputs())[0].shape == (4, 7)


def test_initialization_needs_a_sample():
    with pytest.raises(ValueError, match="BIRNN-E015.*birnn_encoder"):
        build_birnn_encoder(width=8).initialize()


@pytest.mark.parametrize("setting", [{"dropout": 0.3}, {"stack": "independent"}])
def test_settings_without_effect_are_named(setting):
    with pytest.warns(UserWarning, match=f"BIRNN-W013.*{next(iter(setting))}.*depth = 1"):
        build_birnn_encoder(width=4, depth=1, **setting)
    build_birnn_encoder(width=4, depth=2, **setting)
