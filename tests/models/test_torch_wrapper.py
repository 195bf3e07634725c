import contextlib
import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import srsly
import torch
from spacy.tokens import Doc
from thinc.api import Adam, set_dropout_rate

from spacy_birnn.models.chars import build_char_rnn
from spacy_birnn.models.encoder import build_birnn_encoder
from spacy_birnn.models.prediction import without_graphs
from spacy_birnn.models.torch_wrapper import torch_shim


def inputs():
    return [np.random.uniform(-1, 1, (length, 3)).astype("f") for length in (4, 0, 2)]


def build(**settings):
    model = build_birnn_encoder(**{"width": 6, "depth": 2, **settings})
    model.initialize(X=inputs())
    return model


def step(model, Xs, sgd):
    Ys, backprop = model(Xs, is_train=True)
    backprop([np.ones_like(Y) for Y in Ys])
    model.finish_update(sgd)


def predict_with_torch(model):
    with without_graphs():
        return model.predict(inputs())


def altered(model, **changes):
    """The bytes of the torch module, with parts replaced."""
    message = srsly.msgpack_loads(torch_shim(model).to_bytes())
    return srsly.msgpack_dumps({**message, **changes})


def test_round_trip_by_value(weights, same):
    model = build()
    loaded = build_birnn_encoder(width=6, depth=2).from_bytes(model.to_bytes())
    assert same(weights(loaded), weights(model))
    Xs = inputs()
    for ours, theirs in zip(model.predict(Xs), loaded.predict(Xs)):
        assert np.array_equal(ours, theirs)


def test_threads_are_one_within_and_as_before_without(monkeypatch):
    """Threads that share out such small steps only wait for one another."""
    model, found = build(), []
    module = torch_shim(model).module
    forward = module.forward
    monkeypatch.setattr(
        module,
        "forward",
        lambda *a, **k: (found.append(torch.get_num_threads()), forward(*a, **k))[1],
    )
    weight = next(module.parameters())
    weight.register_hook(lambda gradient: found.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        Ys, backprop = model(inputs(), is_train=True)
        backprop([np.ones_like(Y) for Y in Ys])
        assert found == [1, 1] and torch.get_num_threads() == 2
        monkeypatch.setattr(module, "forward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_with_torch(model)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def overlapping(model, monkeypatch):
    """Predict in two threads, of which the second comes in while the first is within the module and
    leaves after it. Gives what each saw at its end: the mode of the module."""
    module = torch_shim(model).module
    forward = module.forward
    inside, second_inside, first_left = (threading.Event() for _ in range(3))

    def slow(*args, **kwargs):
        if not inside.is_set():
            inside.set()
            assert second_inside.wait(60)
        else:
            second_inside.set()
            assert first_left.wait(60)
        found.append(module.training)
        return forward(*args, **kwargs)

    found = []
    monkeypatch.setattr(module, "forward", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(predict_with_torch, model)
        assert inside.wait(60)
        second = pool.submit(predict_with_torch, model)
        first.result(60)
        first_left.set()
        second.result(60)
    return found


def test_two_python_threads_leave_the_number_of_threads_alone(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        overlapping(build(), monkeypatch)
        with ThreadPoolExecutor(1) as pool:  # a thread that is new to torch
            assert pool.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_thread_that_is_done_does_not_bring_dropout_into_the_prediction_of_another(monkeypatch):
    assert overlapping(build(dropout=0.5), monkeypatch) == [False, False]


@pytest.mark.parametrize("setting", ["dtype", "device", "inference"])
def test_initialization_does_not_depend_on_what_is_set_in_torch(setting, weights):
    contexts = {"device": lambda: torch.device("meta"), "inference": torch.inference_mode}
    default = torch.get_default_dtype()
    try:
        if setting == "dtype":
            torch.set_default_dtype(torch.float64)
        with contexts.get(setting, contextlib.nullcontext)():
            model = build(dropout=0.5, locked_dropout=0.5)
    finally:
        torch.set_default_dtype(default)
    before = weights(model)
    step(model, inputs(), Adam(0.1))
    after = weights(model)
    assert all(value.dtype == np.float32 for value in after.values())
    assert not any(np.array_equal(before[key], after[key]) for key in before)


def test_round_trip_before_initialization():
    loaded = build_birnn_encoder(width=6).from_bytes(build_birnn_encoder(width=6).to_bytes())
    with pytest.raises(ValueError, match="BIRNN-E010.*birnn_encoder"):
        loaded.predict(inputs())


def test_no_pickle_is_written_or_read(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle runs code from the file")

    model = build()
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)
    for name in ("dumps", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    build_birnn_encoder(width=6, depth=2).from_bytes(model.to_bytes())


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, -1])
def test_truncated_bytes_are_refused(keep):
    data = torch_shim(build()).to_bytes()
    data = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(ValueError, match="BIRNN-E011.*birnn_encoder"):
        torch_shim(build()).from_bytes(data)


@pytest.mark.parametrize("state", [b"x" * 100, b""], ids=["other", "empty"])
def test_what_is_no_safetensors_file_is_refused(state):
    model = build()
    with pytest.raises(ValueError, match="BIRNN-E011.*birnn_encoder"):
        torch_shim(build()).from_bytes(altered(model, state=state))


@pytest.mark.parametrize(
    "settings, change",
    [
        ({"width": 8}, {}),
        ({"depth": 1}, {}),
        ({"cell": "gru"}, {}),
        ({"direction": "forward"}, {}),
        ({}, {"hidden_width": 5}),
        ({}, {"surprise": 1}),
        ({}, {"depth": 0}),
    ],
    ids=["width", "depth", "cell", "direction", "hidden-width", "unknown", "impossible"],
)
def test_weights_of_other_settings_are_refused(settings, change):
    """The settings that lie beside the weights, and the weights, of two different models."""
    model, other = build(), build(**settings)
    data = altered(model, config={**torch_shim(other).cfg, **change})
    with pytest.raises(ValueError, match="BIRNN-E0"):
        torch_shim(build()).from_bytes(data)


@pytest.mark.parametrize(
    "settings",
    [{"depth": 1}, {"cell": "gru"}, {"direction": "forward"}, {"merge": "sum"}],
    ids=["depth", "cell", "direction", "merge"],
)
def test_weights_of_another_encoder_than_that_of_the_config_are_refused(settings):
    """They would be read without a word, and the config would no longer say what the model is."""
    with pytest.raises(ValueError, match="BIRNN-E012.*birnn_encoder"):
        build_birnn_encoder(**{"width": 6, "depth": 2, **settings}).from_bytes(build().to_bytes())


def test_a_refused_file_leaves_the_weights_alone(weights, same):
    model = build()
    before = weights(model)
    with pytest.raises(ValueError, match="BIRNN-E012"):
        torch_shim(model).from_bytes(altered(model, config=torch_shim(build(width=8)).cfg))
    assert same(weights(model), before)


def test_averages_are_used_and_put_back(weights, same):
    model, Xs = build(), inputs()
    sgd = Adam(0.1, use_averages=True)
    for _ in range(5):
        step(model, Xs, sgd)
    last, before = weights(model), model.predict(Xs)
    with model.use_params(sgd.averages):
        averaged = weights(model)
        assert not np.allclose(model.predict(Xs)[0], before[0], atol=1e-3)
    assert all(not np.array_equal(averaged[key], last[key]) for key in last)
    assert same(weights(model), last)
    assert np.array_equal(model.predict(Xs)[0], before[0])


def test_averages_are_put_back_after_an_error(weights, same):
    model = build()
    sgd = Adam(0.1, use_averages=True)
    step(model, inputs(), sgd)
    step(model, inputs(), sgd)
    last = weights(model)
    with pytest.raises(KeyError):
        with torch_shim(model).use_params(sgd.averages):
            assert not same(weights(model), last)
            raise KeyError
    assert same(weights(model), last)


def test_a_copy_is_trained_on_its_own(weights, same):
    model, Xs = build(), inputs()
    copied = model.copy()
    before = weights(model)
    assert same(weights(copied), before)
    sgd = Adam(0.1)
    step(copied, Xs, sgd)
    assert same(weights(model), before)
    assert not same(weights(copied), before)
    # With an optimizer state of its own, the original's first step is that of a fresh optimizer
    step(model, Xs, sgd)
    assert same(weights(model), weights(copied))


def test_the_dropout_rate_reaches_the_module():
    model, Xs = build(), inputs()
    set_dropout_rate(model, 0.0)
    first, second = (model(Xs, is_train=True)[0][0] for _ in range(2))
    assert np.array_equal(first, second)
    set_dropout_rate(model, 0.5)
    first, second = (model(Xs, is_train=True)[0][0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert np.array_equal(model.predict(Xs)[0], model.predict(Xs)[0])


def test_initializing_again_starts_again(weights, same):
    model = build()
    before = weights(model)
    model.initialize(X=inputs())
    assert weights(model).keys() == before.keys() and not same(weights(model), before)


@pytest.fixture
def words(nlp):
    return [Doc(nlp.vocab, words=["bread", "and", "butter", "and", "jam"])]


@pytest.fixture
def chars(words):
    model = build_char_rnn(width=8, char_width=4, rows=64)
    model.initialize(X=words)
    return model


def uncached(model, docs):
    """What a model without a memory of words would say."""
    fresh = build_char_rnn(width=8, char_width=4, rows=64).from_bytes(model.to_bytes())
    return fresh.predict(docs)[0]


def test_remembered_words_are_forgotten_when_the_weights_change(chars, words):
    sgd = Adam(0.1, use_averages=True)
    before = chars.predict(words)[0]
    assert np.array_equal(chars.predict(words)[0], before)

    step(chars, words, sgd)
    step(chars, words, sgd)
    updated = chars.predict(words)[0]
    assert not np.allclose(updated, before, atol=1e-3)
    np.testing.assert_allclose(updated, uncached(chars, words), atol=1e-6)

    with chars.use_params(sgd.averages):
        averaged = chars.predict(words)[0]
        np.testing.assert_allclose(averaged, uncached(chars, words), atol=1e-6)
    assert not np.allclose(averaged, updated, atol=1e-3)
    np.testing.assert_allclose(chars.predict(words)[0], updated, atol=1e-6)

    other = build_char_rnn(width=8, char_width=4, rows=64)
    other.initialize(X=words)
    chars.from_bytes(other.to_bytes())
    np.testing.assert_allclose(chars.predict(words)[0], other.predict(words)[0], atol=1e-6)


def test_training_keeps_nothing_of_the_steps_before(nlp, tiny_tok2vec, make_examples):
    """The tensors that are alive are as many after ten steps as after two."""
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": tiny_tok2vec}})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)

    def alive_after(steps):
        for _ in range(steps):
            nlp.update(examples, sgd=sgd)
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    assert alive_after(2) == alive_after(8)
