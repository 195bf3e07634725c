import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_birnn.models.tagger import SCALE


@pytest.fixture
def make_examples_of(nlp):
    def make(pos, morphs, words=("a", "b", "c")):
        doc = Doc(nlp.vocab, words=list(words))
        return [Example.from_dict(doc, {"pos": pos, "morphs": morphs})]

    return make


@pytest.fixture
def morphologizer(nlp, tiny_tok2vec):
    return nlp.add_pipe("birnn_morphologizer", config={"model": {"tok2vec": tiny_tok2vec}})


@pytest.fixture(scope="module")
def both(tiny_tok2vec, fit):
    """Our morphologizer and spaCy's, which have learnt one word by heart."""
    pipelines = []
    for factory, model in (
        ("birnn_morphologizer", {"tok2vec": tiny_tok2vec}),
        ("morphologizer", {}),
    ):
        nlp = spacy.blank("xx")
        nlp.add_pipe(factory, name="pipe", config={"model": model})
        annotation = {"pos": ["NOUN"], "morphs": ["Case=Nom|Number=Sing"]}
        fit(nlp, [Example.from_dict(Doc(nlp.vocab, words=["tree"]), annotation)], steps=20)
        pipelines.append(nlp)
    return pipelines


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("extend", [False, True])
def test_overwrite_and_extend_are_those_of_the_built_in_morphologizer(both, overwrite, extend):
    found = []
    for nlp in both:
        nlp.get_pipe("pipe").cfg.update(overwrite=overwrite, extend=extend)
        docs = [
            Doc(nlp.vocab, words=["tree"]),
            Doc(nlp.vocab, words=["tree"], pos=["VERB"], morphs=["Case=Acc|Gender=Fem"]),
            Doc(nlp.vocab, words=["tree"], pos=["VERB"]),
            Doc(nlp.vocab, words=["tree"], morphs=["Gender=Fem"]),
        ]
        found.append([(doc[0].pos_, str(doc[0].morph)) for doc in nlp.pipe(docs)])
    assert found[0] == found[1]
    assert found[0][0] == ("NOUN", "Case=Nom|Number=Sing")


@pytest.mark.parametrize("settings", [{"overwrite": False}, {"extend": True}])
def test_settings_reach_the_component(nlp, settings):
    pipe = nlp.add_pipe("birnn_morphologizer", config=settings)
    assert settings.items() <= pipe.cfg.items()


def test_defaults_are_those_of_the_built_in_morphologizer(nlp):
    ours = nlp.add_pipe("birnn_morphologizer")
    theirs = nlp.add_pipe("morphologizer")
    assert ours.cfg == {**theirs.cfg, "temperature": 1.0}


def test_labels_join_pos_and_features(nlp, morphologizer, make_examples_of):
    pos = ["NOUN", "", "VERB"]
    nlp.initialize(lambda: make_examples_of(pos, ["Number=Sing", "Number=Plur", ""]))
    assert set(morphologizer.labels) == {"Number=Sing|POS=NOUN", "Number=Plur", "POS=VERB"}
    assert morphologizer.label_data["morph"]["Number=Sing|POS=NOUN"] == "Number=Sing"


def test_what_is_learnt_without_features_has_none(nlp, morphologizer, make_examples_of, fit):
    fit(nlp, make_examples_of(["NOUN", "", "VERB"], ["Number=Sing", "Number=Plur", ""]))
    doc = nlp(Doc(nlp.vocab, words=["a", "b", "c"]))
    assert [(token.pos_, str(token.morph)) for token in doc] == [
        ("NOUN", "Number=Sing"),
        ("", "Number=Plur"),
        ("VERB", ""),
    ]


def test_the_order_of_features_does_not_matter(nlp, morphologizer, make_examples_of):
    nlp.initialize(lambda: make_examples_of(["NOUN"], ["Number=Sing|Case=Nom"], ["a"]))
    assert len(morphologizer.labels) == 1
    mask = morphologizer.gold_mask(make_examples_of(["NOUN"], ["Case=Nom|Number=Sing"], ["a"])[0])
    assert mask.tolist() == [[True]]


def test_missing_and_misaligned_annotation(nlp, morphologizer, make_examples_of):
    known = make_examples_of(["NOUN", "VERB", "VERB"], ["Number=Sing", "", ""])
    nlp.initialize(lambda: known)
    n_labels = len(morphologizer.labels)
    (missing,) = make_examples_of(["NOUN", "", "VERB"], ["Number=Sing", "", ""])
    missing.y[1].set_morph(None)  # not annotated, which is not the same as "no features"
    assert morphologizer.gold_mask(missing).sum(axis=1).tolist() == [1, n_labels, 1]
    predicted = Doc(nlp.vocab, words=["ab", "c"], spaces=[True, False])
    reference = Doc(
        nlp.vocab,
        words=["a", "b", "c"],
        spaces=[False, True, False],
        pos=["NOUN", "VERB", "VERB"],
        morphs=["Number=Sing", "", ""],
    )
    mask = morphologizer.gold_mask(Example(predicted, reference))
    assert mask.sum(axis=1).tolist() == [n_labels, 1]


def test_a_combination_that_is_no_label_is_missing_and_named(nlp, morphologizer, make_examples_of):
    nlp.initialize(lambda: make_examples_of(["NOUN", "VERB"], ["Number=Sing", ""], ["a", "b"]))
    (example,) = make_examples_of(["NOUN", "VERB"], ["Number=Plur", ""], ["a", "b"])
    with pytest.warns(UserWarning, match=r"BIRNN-W012.*'Number=Plur\|POS=NOUN'"):
        mask = morphologizer.gold_mask(example)
    assert mask.sum(axis=1).tolist() == [len(morphologizer.labels), 1]


def test_smoothing(nlp, tiny_tok2vec, make_examples_of, fit):
    config = {"model": {"tok2vec": tiny_tok2vec}, "label_smoothing": 0.2}
    pipe = nlp.add_pipe("birnn_morphologizer", config=config)
    examples = make_examples_of(["NOUN", "VERB", "ADP"], ["", "", ""])
    fit(nlp, examples, steps=100)
    emissions = pipe.model.predict([examples[0].x]).emissions.astype("float64")
    probabilities = np.exp(emissions) / np.exp(emissions).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities.max(axis=1), [0.8] * 3, atol=0.03)


def test_smoothing_needs_softmax(nlp, tiny_tok2vec):
    model = {"tok2vec": tiny_tok2vec, "output": "crf"}
    with pytest.raises(ValueError, match="BIRNN-E004.*0.2.*crf"):
        nlp.add_pipe("birnn_morphologizer", config={"model": model, "label_smoothing": 0.2})


def test_probabilities_are_those_of_the_labels_in_their_order(nlp, morphologizer, make_examples_of):
    nlp.initialize(lambda: make_examples_of(["NOUN", "VERB", "ADP"], ["Case=Nom", "", ""]))
    bias = np.array([0.1, 0.3, 0.2], dtype="f")
    morphologizer.model.get_ref("output_layer").set_param("b", bias)  # W is 0
    assert morphologizer.labels == ("Case=Nom|POS=NOUN", "POS=VERB", "POS=ADP")
    doc = nlp.make_doc("a")
    expected = np.exp(SCALE * bias) / np.exp(SCALE * bias).sum()
    (probabilities,) = morphologizer.label_probabilities([doc])
    np.testing.assert_allclose(probabilities, [expected], atol=1e-6)
    (found,) = morphologizer.k_best([doc], 2)
    assert [labels for labels, _ in found] == [["POS=VERB"], ["POS=ADP"]]
    assert [value for _, value in found] == pytest.approx([expected[1], expected[2]])


@pytest.mark.parametrize("labels", [{"0": 1}, ["Number=Sing"], "Number=Sing"])
def test_labels_in_another_form_are_refused(nlp, morphologizer, make_examples_of, labels):
    examples = make_examples_of(["NOUN"], ["Number=Sing"], ["a"])
    with pytest.raises(ValueError, match="BIRNN-E020.*morphologizer"):
        morphologizer.initialize(lambda: examples, nlp=nlp, labels=labels)
