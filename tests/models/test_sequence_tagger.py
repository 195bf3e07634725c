import numpy as np
import pytest
from thinc.api import Model

from spacy_birnn.crf import SequenceScores
from spacy_birnn.models.tagger import NEW_LABEL_SCORE, SCALE, build_sequence_tagger


def rows():
    return [np.random.uniform(-1, 1, (length, 3)).astype("f") for length in (2, 0, 4)]


@pytest.fixture
def build(randomize):
    """Makes a tagger on vectors that are given, with weights that are not 0."""

    def forward(model, Xs, is_train):
        return Xs, lambda dXs: dXs

    def make(output, n_labels=2):
        model = build_sequence_tagger(Model("given", forward, dims={"nO": 3}), output=output)
        model.initialize(X=rows(), Y=[np.zeros((len(X), n_labels), "f") for X in rows()])
        randomize(model)
        return model

    return make


@pytest.mark.parametrize("output, chained", [("crf", True), ("softmax", False)])
def test_scores_are_linear_in_the_vectors(build, output, chained):
    model, Xs = build(output), rows()
    head = model.get_ref("output_layer")
    scores = model.predict(Xs)
    expected = SCALE * (np.vstack(Xs) @ head.get_param("W").T + head.get_param("b"))
    np.testing.assert_allclose(scores.emissions, expected, rtol=1e-5, atol=1e-6)
    assert scores.lengths.tolist() == [2, 0, 4]
    for name in ("transitions", "start", "end"):
        found = getattr(scores, name)
        assert np.array_equal(found, SCALE * head.get_param(name)) if chained else found is None


@pytest.mark.parametrize("output", ["crf", "softmax"])
def test_gradients_reach_the_vectors_and_the_parameters(build, output):
    model, Xs = build(output), rows()
    head = model.get_ref("output_layer")
    scores, backprop = model(Xs, is_train=True)
    names = ["emissions"] + (["transitions", "start", "end"] if output == "crf" else [])
    towards = {n: np.random.normal(size=getattr(scores, n).shape).astype("f") for n in names}
    dXs = backprop(SequenceScores(lengths=scores.lengths, **towards))
    towards = {name: SCALE * gradient for name, gradient in towards.items()}
    d_emissions = towards.pop("emissions")
    np.testing.assert_allclose(np.vstack(dXs), d_emissions @ head.get_param("W"), atol=1e-5)
    assert [len(dX) for dX in dXs] == [2, 0, 4]
    np.testing.assert_allclose(head.get_grad("W"), d_emissions.T @ np.vstack(Xs), atol=1e-5)
    np.testing.assert_allclose(head.get_grad("b"), d_emissions.sum(axis=0), atol=1e-5)
    for name, gradient in towards.items():
        np.testing.assert_allclose(head.get_grad(name), gradient, atol=1e-5)


@pytest.mark.parametrize("output", ["crf", "softmax"])
@pytest.mark.parametrize("n_before", [2, 3])  # 3 labels and 3 features: axes must not be mixed up
def test_more_labels_leave_the_scores_of_the_old_ones(build, output, n_before):
    model, Xs = build(output, n_before), rows()
    before = model.predict(Xs)
    model.attrs["resize_output"](model, 5)
    after = model.predict(Xs)
    assert np.array_equal(after.emissions[:, :n_before], before.emissions)
    assert (
        after.emissions.shape[1] == 5 and (after.emissions[:, n_before:] == NEW_LABEL_SCORE).all()
    )
    if output == "crf":
        assert np.array_equal(after.transitions[:n_before, :n_before], before.transitions)
        assert after.transitions.shape == (5, 5) and not after.transitions[n_before:].any()
        assert after.start.shape == after.end.shape == (5,)


def test_an_unknown_output_is_named():
    with pytest.raises(ValueError, match="BIRNN-E001.*'output'.*hmm.*SequenceTagger"):
        build_sequence_tagger(Model("none", lambda *_: None, dims={"nO": 3}), output="hmm")
