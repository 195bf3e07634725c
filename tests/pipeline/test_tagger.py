from itertools import product

import numpy as np
import pytest
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SequenceCategoricalCrossentropy

from spacy_birnn.crf import posterior


@pytest.fixture
def make_tagger(nlp, tiny_tok2vec, randomize):
    def make(labels=("NN", "NNP", "VB"), **settings):
        model = {"tok2vec": tiny_tok2vec, **settings.pop("model", {})}
        tagger = nlp.add_pipe("birnn_tagger", config={**settings, "model": model})
        for label in labels:
            tagger.add_label(label)
        if labels:
            nlp.initialize()
            randomize(tagger.model)
        return tagger

    return make


def examples_with(nlp, *tag_lists):
    return [
        Example.from_dict(Doc(nlp.vocab, words=[f"w{i}" for i in range(len(tags))]), {"tags": tags})
        for tags in tag_lists
    ]


def loss_of(tagger, examples):
    scores, _ = tagger.model.begin_update([eg.x for eg in examples])
    return scores, *tagger.get_loss(examples, scores)


@pytest.mark.parametrize("overwrite, kept", [(False, True), (True, False)])
def test_overwrite(make_tagger, nlp, overwrite, kept):
    tagger = make_tagger(overwrite=overwrite)
    doc = Doc(nlp.vocab, words=["a", "b", "c"], tags=["OLD", "", "OLD"])
    tagger(doc)
    assert doc[1].tag_ in tagger.labels
    assert [doc[0].tag_ == "OLD", doc[2].tag_ == "OLD"] == [kept, kept]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_gradient_is_that_of_categorical_crossentropy(make_tagger, nlp, label_smoothing):
    """Softmax, smoothing and missing tags are just what they are in spaCy's tagger."""
    tagger = make_tagger(label_smoothing=label_smoothing)
    examples = examples_with(nlp, ["NN", "", "VB", "NNP"], ["VB"], [])
    scores, _, gradient = loss_of(tagger, examples)
    guesses = np.split(posterior(scores).marginals.astype("f"), np.cumsum(scores.lengths)[:-1])
    reference = SequenceCategoricalCrossentropy(
        names=tagger.labels, normalize=False, label_smoothing=label_smoothing
    )
    expected, _ = reference(guesses, [["NN", None, "VB", "NNP"], ["VB"], []])
    np.testing.assert_allclose(gradient.emissions, np.vstack(expected), atol=1e-5)
    assert not gradient.emissions[1].any()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_gradient_is_that_of_the_loss(make_tagger, nlp, label_smoothing):
    """By finite differences, so that the loss that is printed is the one that is minimised."""
    tagger = make_tagger(label_smoothing=label_smoothing)
    examples = examples_with(nlp, ["NN", "", "!VB"])
    scores, _, gradient = loss_of(tagger, examples)
    for index in np.ndindex(*scores.emissions.shape):
        kept, values = scores.emissions[index], []
        for moved in (kept + 1e-2, kept - 1e-2):
            scores.emissions[index] = moved
            values.append(tagger.get_loss(examples, scores)[0])
        scores.emissions[index] = kept
        expected = (values[0] - values[1]) / 2e-2
        assert gradient.emissions[index] == pytest.approx(expected, abs=1e-3)


def test_a_smoothed_model_is_less_certain(make_tagger, nlp, fit):
    tagger = make_tagger(label_smoothing=0.3)
    examples = examples_with(nlp, ["NN", "VB", "NNP"])
    fit(nlp, examples, steps=100)
    marginals = posterior(tagger.model.predict([examples[0].x])).marginals
    np.testing.assert_allclose(marginals.max(axis=1), [0.7] * 3, atol=0.03)
    np.testing.assert_allclose(marginals.min(axis=1), [0.15] * 3, atol=0.03)


def test_smoothing_that_would_teach_the_opposite(make_tagger, nlp):
    tagger = make_tagger(label_smoothing=0.7)
    with pytest.raises(ValueError, match="BIRNN-E006.*0.7.*3 outcomes.*less than 0.667"):
        tagger.update(examples_with(nlp, ["NN", "VB", "NNP"]))


def test_smoothing_needs_softmax(make_tagger):
    with pytest.raises(ValueError, match="BIRNN-E004.*0.1.*crf"):
        make_tagger(label_smoothing=0.1, model={"output": "crf"})


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_a_negative_tag_is_learnt_as_such(make_tagger, nlp, fit, output):
    """Of three tags two are ruled out for the second token; what remains is the third."""
    tagger = make_tagger(labels=(), model={"output": output})
    both = examples_with(nlp, ["NN", "!NN", "VB"], ["NN", "!VB", "VB"])
    both += examples_with(nlp, ["NN", "!NN", "VB", "NNP"])
    fit(nlp, both)
    assert tagger.labels == ("NN", "NNP", "VB")
    doc = Doc(nlp.vocab, words=["w0", "w1", "w2"])
    marginals = posterior(tagger.model.predict([doc])).marginals
    assert marginals[1].argmax() == 1 and marginals[1, 1] > 0.8
    assert [token.tag_ for token in nlp(doc)] == ["NN", "NNP", "VB"]


def test_the_negative_prefix_can_be_another(make_tagger, nlp):
    tagger = make_tagger(labels=("!", "NN"), neg_prefix="~")
    mask = tagger.gold_mask(examples_with(nlp, ["!", "~NN", "~!", ""])[0])
    assert mask.tolist() == [[True, False], [True, False], [False, True], [True, True]]


def test_a_tag_that_is_the_prefix_alone_is_a_tag(make_tagger, nlp, fit):
    tagger = make_tagger(labels=())
    fit(nlp, examples_with(nlp, ["NN", "!"]), steps=1)
    assert tagger.labels == ("!", "NN")


def test_a_negative_tag_that_is_no_label_is_named(make_tagger, nlp):
    tagger = make_tagger()
    with pytest.raises(ValueError, match="BIRNN-E021.*'FW'.*birnn_tagger.*NN, NNP, VB"):
        tagger.update(examples_with(nlp, ["NN", "!FW"]))


def test_a_crf_learns_from_the_neighbours(make_tagger, nlp, fit):
    """With the same word everywhere and one direction, only the chain of tags tells where it is."""
    tagger = make_tagger(labels=(), model={"output": "crf"})
    tags = ["NN", "VB"] * 3
    words = [f"w{i}" for i in range(6)]
    fit(nlp, [Example.from_dict(Doc(nlp.vocab, words=words), {"tags": tags})], steps=60)
    transitions = tagger.model.get_ref("output_layer").get_param("transitions")
    assert transitions[0, 1] > transitions[0, 0] and transitions[1, 0] > transitions[1, 1]


def test_tokens_that_do_not_align_are_missing(make_tagger, nlp):
    tagger = make_tagger()
    reference = Doc(
        nlp.vocab,
        words=["flew", "New", "York", "now"],
        spaces=[True, False, True, False],
        tags=["VB", "NN", "NNP", "NN"],
    )
    predicted = Doc(
        nlp.vocab, words=["fl", "ew", "NewYork", "now"], spaces=[False, True, True, False]
    )
    mask = tagger.gold_mask(Example(predicted, reference))
    assert mask.tolist() == [[False, False, True]] * 2 + [[True] * 3] + [[True, False, False]]


def test_labels_that_are_one_text_are_refused(make_tagger, nlp):
    tagger = make_tagger(labels=())
    with pytest.raises(ValueError, match="BIRNN-E020.*'NN'"):
        tagger.initialize(lambda: [], labels="NN")


# The k best labellings, and the probability of each label


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_the_k_best_and_the_labels_are_those_of_enumeration(make_tagger, nlp, output):
    tagger = make_tagger(model={"output": output})
    doc = Doc(nlp.vocab, words=["w1", "w2", "w3", "w4"])
    scores = tagger.model.predict([doc])
    of_labels, marginals = {}, np.zeros((4, 3))
    for tags in product(range(3), repeat=4):
        score = scores.emissions[range(4), tags].astype("float64").sum()
        if output == "crf":
            transitions, start, end = scores.chain
            score += start[tags[0]] + end[tags[-1]] + transitions[tags[:-1], tags[1:]].sum()
        of_labels[tags] = np.exp(score)
    total = sum(of_labels.values())
    for tags, value in of_labels.items():
        marginals[range(4), tags] += value / total
    expected = {
        tuple(tagger.labels[tag] for tag in tags): value / total
        for tags, value in of_labels.items()
    }
    for k in (1, 5, 81, 1000):
        found = [(tuple(labels), value) for labels, value in tagger.k_best([doc], k)[0]]
        assert len(dict(found)) == len(found) == min(k, 81)
        assert dict(found) == pytest.approx(
            {labels: expected[labels] for labels, _ in found}, rel=1e-5
        )
        best = sorted(expected.values(), reverse=True)[:k]
        assert [value for _, value in found] == pytest.approx(best, rel=1e-5)
    (probabilities,) = tagger.label_probabilities([doc])
    np.testing.assert_allclose(probabilities, marginals, atol=1e-6)


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_label_probabilities_do_not_depend_on_the_batch(make_tagger, nlp, mixed_texts, output):
    tagger = make_tagger(model={"output": output})
    docs = [nlp.make_doc(text) for text in mixed_texts]
    saved = [doc.to_bytes() for doc in docs]
    together = tagger.label_probabilities(docs)
    assert [doc.to_bytes() for doc in docs] == saved
    assert [found.shape for found in together] == [(len(doc), 3) for doc in docs]
    for doc, found in zip(docs, together):
        np.testing.assert_allclose(found.sum(axis=1), np.ones(len(doc)), atol=1e-6)
        np.testing.assert_allclose(tagger.label_probabilities([doc])[0], found, atol=1e-5)
    assert tagger.label_probabilities([]) == []


def test_label_probabilities_before_initialization_are_refused(nlp):
    with pytest.raises(ValueError, match="BIRNN-E010.*birnn_tagger"):
        nlp.add_pipe("birnn_tagger").label_probabilities([nlp.make_doc("Oslo")])
