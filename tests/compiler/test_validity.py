"""A graph is used as long as it is that of the model, and not longer."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from thinc.api import Adam, Model

from spacy_birnn.checks import CELLS
from spacy_birnn.compiler.program import Program
from spacy_birnn.models import prediction
from spacy_birnn.models.prediction import GraphShim, program_of, set_threads, without_graphs
from spacy_birnn.models.tagger import build_sequence_tagger
from spacy_birnn.models.tok2vec import build_birnn_tok2vec


@pytest.fixture
def model(docs, randomize):
    tok2vec = build_birnn_tok2vec(width=12, embed_width=8, embed_rows=50, char_width=6)
    made = build_sequence_tagger(tok2vec, output="crf")
    made.initialize(X=docs, Y=[np.zeros((len(doc), 5), "f") for doc in docs])
    return randomize(made)


def is_right(model, docs):
    with without_graphs():
        expected = model.predict(docs)
    return np.allclose(model.predict(docs).emissions, expected.emissions, atol=1e-5)


def step(model, docs, sgd):
    scores, backprop = model(docs, is_train=True)
    scores.emissions = np.ones_like(scores.emissions)
    scores.transitions = np.zeros_like(scores.transitions)
    scores.start, scores.end = (np.zeros_like(scores.start) for _ in range(2))
    backprop(scores)
    model.finish_update(sgd)


def test_it_is_kept_while_nothing_changes(model, docs):
    program = program_of(model)
    model.predict(docs)
    assert program_of(model) is program


def test_a_step_of_training(model, docs):
    before = model.predict(docs).emissions
    step(model, docs, Adam(0.1))
    assert is_right(model, docs)
    assert not np.allclose(model.predict(docs).emissions, before, atol=1e-3)


def test_each_parameter(model, docs):
    assert is_right(model, docs)
    for node in list(model.walk()):
        for name in node.param_names:
            param = node.get_param(name)
            if param.dtype.kind == "f":
                node.set_param(name, param + 0.5)
                assert is_right(model, docs), (node.name, name)


def test_averages(model, docs):
    sgd = Adam(0.1, use_averages=True)
    for _ in range(3):
        step(model, docs, sgd)
    before = model.predict(docs).emissions
    with model.use_params(sgd.averages):
        assert is_right(model, docs)
        assert not np.allclose(model.predict(docs).emissions, before, atol=1e-3)
    assert is_right(model, docs)
    np.testing.assert_allclose(model.predict(docs).emissions, before, atol=1e-6)


def test_another_layer(model, docs, randomize):
    model.predict(docs)
    other = build_birnn_tok2vec(width=12, embed_width=8, embed_rows=50, char_width=6)
    other.initialize(X=docs)
    model.replace_node(model.get_ref("tok2vec"), randomize(other))
    assert is_right(model, docs)


def test_other_weights_are_loaded(model, docs):
    saved = model.to_bytes()
    expected = model.predict(docs).emissions
    step(model, docs, Adam(0.1))
    model.predict(docs)
    model.from_bytes(saved)
    np.testing.assert_allclose(model.predict(docs).emissions, expected, atol=1e-6)


@pytest.mark.parametrize("duplicate", [lambda m: m.copy(), deepcopy])
def test_a_copy_has_a_graph_of_its_own(model, docs, duplicate):
    expected = model.predict(docs).emissions
    other = duplicate(model)
    step(other, docs, Adam(0.1))
    assert is_right(other, docs)
    np.testing.assert_allclose(model.predict(docs).emissions, expected, atol=1e-6)


def test_it_is_not_pickled(model, docs):
    model.predict(docs)
    (shim,) = (shim for shim in model.shims if isinstance(shim, GraphShim))
    assert len(pickle.dumps(shim)) < 200


def test_a_change_while_the_graph_is_built(model, docs, monkeypatch):
    """By another thread: here within the building."""
    build = Program.__init__

    def change(*args):
        build(*args)
        head = model.get_ref("output_layer")
        head.set_param("b", head.get_param("b") + 1)

    monkeypatch.setattr(Program, "__init__", change)
    model.predict(docs)
    monkeypatch.setattr(Program, "__init__", build)
    assert is_right(model, docs)


def test_another_shim(model, docs, randomize):
    model.predict(docs)
    (node,) = (node for node in model.walk() if node.name == "birnn_encoder")
    other = node.shims[0].copy()
    other.module.layers[0].b.data += 1
    node.shims[0] = other
    assert is_right(model, docs)


@pytest.mark.parametrize("cell", CELLS)
def test_of_weights_that_are_not_finite_nothing_is(docs, cell):
    """ONNX Runtime makes finite numbers of them, and components would not notice."""
    tok2vec = build_birnn_tok2vec(
        width=12, embed_width=8, embed_rows=50, char_width=6, cell=cell, dropout=None
    )
    tok2vec.initialize(X=docs)
    saved = tok2vec.to_bytes()
    for node in tok2vec.walk():
        for name in node.param_names:
            if node.get_param(name).dtype.kind == "f":
                node.set_param(name, node.get_param(name) * np.nan)
                assert np.isnan(np.concatenate(tok2vec.predict(docs))).all()
                tok2vec.from_bytes(saved)
        for shim in node.shims:
            if hasattr(shim, "module"):
                next(shim.module.parameters()).data *= np.nan
                shim.from_bytes(shim.to_bytes())
                assert np.isnan(np.concatenate(tok2vec.predict(docs))).all()
                tok2vec.from_bytes(saved)
    tok2vec.predict(docs)


def test_weights_that_do_not_fit_are_refused(model, docs):
    data = model.to_bytes()
    loaded = build_sequence_tagger(
        build_birnn_tok2vec(width=12, embed_width=8, embed_rows=50, char_width=6), output="crf"
    ).from_bytes(data)
    (node,) = (node for node in loaded.walk() if node.name == "birnn_encoder")
    weights = node.shims[0].weights
    weights["layers.0.b"] = weights["layers.0.b"][..., :-3]
    with pytest.raises(ValueError, match="BIRNN-E012"):
        loaded.predict(docs)


@pytest.mark.parametrize("n_kept", [7, 20000])
def test_threads_share_it(model, n_kept, monkeypatch):
    """Also while words are added to those that are kept, and these begin anew."""
    monkeypatch.setattr("spacy_birnn.compiler.words.SIZE", n_kept)
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, words=[f"w{i % 31}", f"x{i // 2}", "y"]) for i in range(300)]
    with without_graphs():
        expected = [model.predict([doc]).emissions for doc in docs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            found = pool.map(lambda doc: model.predict([doc]).emissions, docs)
            for one, right in zip(found, expected):
                np.testing.assert_allclose(one, right, atol=1e-5)


def test_several_threads_give_the_same(model, docs, monkeypatch):
    monkeypatch.setattr(prediction, "_threads", 1)
    expected, program = model.predict(docs).emissions, program_of(model)
    set_threads(2)
    assert program_of(model) is not program
    np.testing.assert_allclose(model.predict(docs).emissions, expected, atol=1e-6)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", None])
def test_an_impossible_number_of_threads_is_refused(n):
    with pytest.raises(ValueError, match="BIRNN-E001"):
        set_threads(n)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_forked_processes(n_threads, monkeypatch):
    """The parent has used its graphs, and with several threads these are not in its children."""
    monkeypatch.setattr(prediction, "_threads", 1)
    set_threads(n_threads)
    nlp = spacy.blank("en")
    tok2vec = {"@architectures": "spacy-birnn.BiRNNTok2Vec.v1", "width": 12, "embed_rows": 50}
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": tok2vec}}).add_label("X")
    nlp.initialize()
    texts = ["one two", "three", "", "four five six"]
    expected = [[token.tag_ for token in nlp(text)] for text in texts]
    found = [[t.tag_ for t in doc] for doc in nlp.pipe(texts, n_process=2, batch_size=1)]
    assert found == expected


def test_the_width_of_what_is_read_is_checked(docs):
    """A shared tok2vec of another width."""

    def forward(model, docs, is_train):
        return [np.zeros((len(doc), 4), "f") for doc in docs], lambda dYs: docs

    model = build_sequence_tagger(Model("given", forward, dims={"nO": 6}), output="softmax")
    head = model.get_ref("output_layer")
    head.set_dim("nI", 6)
    head.initialize(Y=[np.zeros((1, 3), "f")])
    with pytest.raises(ValueError, match="BIRNN-E0.*sequence_scores"):
        model.predict(docs)
