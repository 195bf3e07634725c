"""What is special about the text classifiers; for the rest see test_contract.py."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam

from spacy_birnn.errors import BirnnError

LABELS = ("A", "B", "C")
PIPES = ["birnn_textcat", "birnn_textcat_multilabel"]


@pytest.fixture
def make_textcat(nlp, tiny_tok2vec, randomize):
    """Makes a classifier of one part with the labels A, B and C and weights that mean nothing."""

    def make(factory, *, labels=LABELS, scale=0.3, **settings):
        model = {"tok2vec": tiny_tok2vec, "ngram_size": 0, **settings.pop("model", {})}
        textcat = nlp.add_pipe(factory, name="pipe", config={**settings, "model": model})
        textcat.initialize(lambda: examples_with(nlp, {"A": 1.0}), nlp=nlp, labels=labels)
        randomize(textcat.model, scale=scale)
        return textcat

    return make


def examples_with(nlp, *cats):
    docs = [Doc(nlp.vocab, words=["Anna", "flew", f"w{i}"][i % 2 :]) for i in range(len(cats))]
    return [Example.from_dict(doc, {"cats": values}) for doc, values in zip(docs, cats)]


def loss_of(textcat, examples):
    scores, _ = textcat.model.begin_update([eg.x for eg in examples])
    loss, (d_logits,) = textcat.get_loss(examples, scores)
    return scores.logits.astype("float64"), loss, d_logits


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_probabilities(make_textcat, nlp):
    textcat = make_textcat("birnn_textcat")
    docs = [nlp.make_doc(text) for text in ("Anna flew", "", "Oslo")]
    logits = textcat.model.predict(docs).logits
    for doc, expected in zip(textcat.pipe(docs), softmax(logits)):
        assert list(doc.cats) == list(LABELS) and sum(doc.cats.values()) == pytest.approx(1)
        assert list(doc.cats.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_probabilities_of_independent_labels(make_textcat, nlp):
    textcat = make_textcat("birnn_textcat_multilabel")
    docs = [nlp.make_doc(text) for text in ("Anna flew", "", "Oslo")]
    logits = textcat.model.predict(docs).logits
    for doc, expected in zip(textcat.pipe(docs), sigmoid(logits)):
        assert list(doc.cats.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_categories_of_other_components_stay(make_textcat, nlp):
    doc = nlp.make_doc("Anna flew")
    doc.cats = {"OTHER": 0.5, "A": 7.0}
    make_textcat("birnn_textcat")(doc)
    assert doc.cats["OTHER"] == 0.5 and doc.cats["A"] < 1


def test_the_loss_of_exclusive_classes(make_textcat, nlp):
    """Whole annotation, only what is right, only what is wrong, nothing."""
    textcat = make_textcat("birnn_textcat")
    cats = [{"A": 0.0, "B": 1.0, "C": 0.0}, {"C": 1.0}, {"A": 0.0}, {}]
    logits, loss, gradient = loss_of(textcat, examples_with(nlp, *cats))
    p = softmax(logits)
    assert loss == pytest.approx(-np.log([p[0, 1], p[1, 2], p[2, 1] + p[2, 2]]).sum(), rel=1e-5)
    target = np.array([[0, 1, 0], [0, 0, 1], [0, p[2, 1], p[2, 2]], p[3]])
    target[2] /= target[2].sum()
    np.testing.assert_allclose(gradient, p - target, atol=1e-6)
    assert not gradient[3].any()


def test_the_loss_of_independent_labels(make_textcat, nlp):
    textcat = make_textcat("birnn_textcat_multilabel")
    cats = [{"A": 1.0, "B": 1.0, "C": 0.0}, {"C": 1.0}, {}]
    logits, loss, gradient = loss_of(textcat, examples_with(nlp, *cats))
    p = sigmoid(logits)
    expected = -np.log([p[0, 0], p[0, 1], 1 - p[0, 2], p[1, 2]]).sum()
    assert loss == pytest.approx(expected, rel=1e-5)
    target = np.array([[1, 1, 0], [p[1, 0], p[1, 1], 1], p[2]])
    np.testing.assert_allclose(gradient, p - target, atol=1e-6)


@pytest.mark.parametrize("factory", PIPES)
def test_class_weights(make_textcat, nlp, factory):
    """They multiply what documents with the label contribute, and nothing else."""
    textcat = make_textcat(factory, class_weights={"B": 3.0})
    examples = examples_with(nlp, {"A": 0.0, "B": 1.0, "C": 0.0}, {"A": 1.0, "B": 0.0}, {})
    _, loss, gradient = loss_of(textcat, examples)
    alone = loss_of(textcat, examples[:1])[1]
    textcat.cfg["class_weights"] = None
    _, plain_loss, plain = loss_of(textcat, examples)
    plain_alone = loss_of(textcat, examples[:1])[1]
    factor = np.ones_like(plain)
    factor[0] = 3.0 if factory == "birnn_textcat" else [1.0, 3.0, 1.0]
    np.testing.assert_allclose(gradient, factor * plain, atol=1e-6)
    assert loss - plain_loss == pytest.approx(alone - plain_alone, rel=1e-5) and loss > plain_loss


@pytest.mark.parametrize("factory", PIPES)
def test_label_smoothing(make_textcat, nlp, factory):
    textcat = make_textcat(factory, label_smoothing=0.2)
    logits, loss, gradient = loss_of(
        textcat, examples_with(nlp, {"A": 0.0, "B": 1.0, "C": 0.0}, {})
    )
    if factory == "birnn_textcat":
        expected = softmax(logits)[0] - [0.1, 0.8, 0.1]
    else:
        expected = sigmoid(logits)[0] - [0.2, 0.8, 0.2]
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)
    assert loss > 0 and not gradient[1].any()


@pytest.mark.parametrize("factory", PIPES)
def test_each_part_of_the_model_has_a_loss_of_its_own(make_textcat, nlp, factory):
    textcat = make_textcat(factory, model={"ngram_size": 2})
    examples = examples_with(nlp, {"A": 0.0, "B": 1.0, "C": 0.0}, {"A": 1.0, "B": 0.0, "C": 0.0})
    scores, _ = textcat.model.begin_update([eg.x for eg in examples])
    loss, gradient = textcat.get_loss(examples, scores)
    p = (softmax if factory == "birnn_textcat" else sigmoid)(scores.parts.astype("float64"))
    target = np.array([[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(gradient, p - target, atol=1e-6)
    right = p[:, target == 1] if factory == "birnn_textcat" else np.where(target, p, 1 - p)
    assert loss == pytest.approx(-np.log(right).sum(), rel=1e-5)
    assert np.abs(p[0] - p[1]).max() > 0.1


@pytest.mark.parametrize("factory", PIPES)
def test_each_part_of_the_model_rehearses(make_textcat, nlp, factory):
    textcat = make_textcat(factory, model={"ngram_size": 2})
    # Small scores, of which none is nearly certain
    for ref in ("output_layer", "ngram_layer"):
        layer = textcat.model.get_ref(ref)
        layer.set_param("W", layer.get_param("W") / 10)
    examples = examples_with(nlp, {"A": 1.0}, {"B": 1.0})
    docs = [eg.x for eg in examples]
    nlp.resume_training()
    before = textcat.model.predict(docs)
    textcat.add_label("NEW")
    for ref in ("output_layer", "ngram_layer"):
        textcat.model.get_ref(ref).set_param("b", np.array([4, -4, 0, -5], "f"))
    probabilities = softmax if factory == "birnn_textcat" else sigmoid

    def distances():
        now, earlier = textcat.model.predict(docs).parts[:, :, :3], before.parts
        return np.abs(probabilities(now) - probabilities(earlier)).mean(axis=(1, 2))

    at_first, sgd = distances(), Adam(0.01)
    for _ in range(100):
        textcat.rehearse(examples, sgd=sgd)
    assert (distances() < at_first / 2).all()


def test_the_loss_of_extreme_scores_is_finite(make_textcat, nlp):
    for factory in PIPES:
        textcat = make_textcat(factory)
        head = textcat.model.get_ref("output_layer")
        head.set_param("b", np.array([-1e4, 1e4, 0], "f"))
        _, loss, gradient = loss_of(textcat, examples_with(nlp, {"A": 1.0, "B": 0.0}))
        assert 1e4 < loss < 1e5 and np.isfinite(gradient).all()
        nlp.remove_pipe("pipe")


def test_independent_labels_are_learnt_together(nlp, tiny_tok2vec, fit):
    """Both, one or none of them may be right, and one label is enough."""
    nlp.add_pipe(
        "birnn_textcat_multilabel", name="pipe", config={"model": {"tok2vec": tiny_tok2vec}}
    )
    texts = {"so red": (1, 0), "so round": (0, 1), "red and round": (1, 1), "so what": (0, 0)}
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {"RED": float(red), "ROUND": float(rnd)}})
        for text, (red, rnd) in texts.items()
    ]
    assert fit(nlp, examples, steps=120)["pipe"] < 0.5
    for text, expected in texts.items():
        assert [value > 0.5 for value in nlp(text).cats.values()] == [bool(e) for e in expected]


def test_one_label_is_enough_where_labels_are_independent(make_textcat, nlp):
    textcat = make_textcat("birnn_textcat_multilabel", labels=["A"])
    assert 0 < nlp("Anna flew").cats["A"] < 1
    assert textcat.update(examples_with(nlp, {"A": 1.0}, {"A": 0.0}))["pipe"] > 0


# A new label


@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("factory", PIPES)
def test_a_new_label_is_improbable_until_it_is_learnt(make_textcat, nlp, factory, size):
    textcat = make_textcat(factory, model={"ngram_size": size}, scale=0.01)
    before = nlp("Anna flew").cats
    textcat.add_label("NEW")
    after = nlp("Anna flew").cats
    assert after.pop("NEW") < 0.01
    assert list(after.values()) == pytest.approx(list(before.values()), abs=0.01)


# Attention


def test_attention_is_kept_with_the_document(make_textcat, nlp):
    make_textcat("birnn_textcat", attention=True)
    docs = [nlp(text) for text in ("Anna flew to Oslo", "Oslo", "")]
    for doc in docs:
        assert len(doc._.birnn_attention) == len(doc)
        assert sum(doc._.birnn_attention) == pytest.approx(min(len(doc), 1))
        expected = nlp.get_pipe("pipe").model.predict([doc]).attention[0].tolist()
        assert doc._.birnn_attention == pytest.approx(expected)
    copy = Doc(nlp.vocab).from_bytes(docs[0].to_bytes())
    assert copy._.birnn_attention == docs[0]._.birnn_attention
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    restored = list(DocBin().from_bytes(stored).get_docs(spacy.blank("xx").vocab))
    for doc, before in zip(restored, docs, strict=True):
        assert list(doc._.birnn_attention) == before._.birnn_attention


def test_attention_is_not_kept_unless_asked_for(make_textcat, nlp):
    make_textcat("birnn_textcat")
    doc = nlp("Anna flew")
    assert doc._.birnn_attention is None and not doc.user_data


def test_attention_that_the_model_does_not_have(make_textcat):
    with pytest.raises(ValueError, match="BIRNN-E033.*pipe.*pooling = 'max'"):
        make_textcat("birnn_textcat", attention=True, model={"pooling": "max"})


# A shared tok2vec


@pytest.mark.parametrize("heads", [0, 2])
def test_a_listener_and_its_replacement(nlp, tiny_tok2vec, make_examples, fit, heads):
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": tiny_tok2vec["width"]}
    model = {"tok2vec": listener, "attention_heads": heads}
    nlp.add_pipe("birnn_textcat", config={"model": model})
    nlp.add_pipe("birnn_tagger", config={"model": model})
    examples = make_examples(nlp)
    fit(nlp, examples, steps=40)
    texts = [" ".join(token.text for token in eg.y) for eg in examples]
    found = [(doc.cats, [token.tag_ for token in doc]) for doc in nlp.pipe(texts)]
    for (cats, tags), eg in zip(found, examples):
        assert max(cats, key=cats.get) == max(eg.y.cats, key=eg.y.cats.get)
        assert tags == [token.tag_ for token in eg.y]
    for name in ("birnn_textcat", "birnn_tagger"):
        nlp.replace_listeners("tok2vec", name, ["model.tok2vec"])
    nlp.remove_pipe("tok2vec")
    nlp.get_pipe("birnn_textcat").add_label("NEW")
    for text, (cats, tags) in zip(texts, found):
        doc = nlp(text)
        assert {k: doc.cats[k] for k in cats} == pytest.approx(cats, abs=0.01)
        assert [token.tag_ for token in doc] == tags
    nlp.update(examples, sgd=Adam(0.01))


# Scores


def test_the_score_is_that_of_the_positive_label(nlp, tiny_tok2vec):
    pipe = nlp.add_pipe("birnn_textcat", config={"model": {"tok2vec": tiny_tok2vec}})
    examples = examples_with(nlp, {"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0})
    pipe.initialize(lambda: examples, nlp=nlp, positive_label="B")
    scores = nlp.evaluate(examples)
    assert scores["cats_score_desc"] == "F (B)"
    assert scores["cats_score"] == scores["cats_f_per_type"]["B"]["f"]


def test_the_threshold_of_independent_labels(make_textcat, nlp):
    textcat = make_textcat("birnn_textcat_multilabel", threshold=0.9)
    textcat.model.get_ref("output_layer").set_param("W", np.zeros((3, 64), "f"))
    textcat.model.get_ref("output_layer").set_param("b", np.array([3, 1, -1], "f"))
    example = examples_with(nlp, {"A": 1.0, "B": 1.0, "C": 0.0})
    assert nlp.evaluate(example)["cats_micro_r"] == 0.5
    textcat.cfg["threshold"] = 0.5
    assert nlp.evaluate(example)["cats_micro_r"] == 1.0


# Bad input


def test_one_class_cannot_be_exclusive(make_textcat):
    with pytest.raises(ValueError, match="E867.*at least two labels"):
        make_textcat("birnn_textcat", labels=["A"])


@pytest.mark.parametrize("factory", PIPES)
@pytest.mark.parametrize("value", [0.3, -1.0, 2.0])
def test_values_that_are_neither_right_nor_wrong(make_textcat, nlp, factory, value):
    textcat = make_textcat(factory)
    with pytest.raises(ValueError, match=f"BIRNN-E037.*pipe.*'A'.*{value}"):
        textcat.update(examples_with(nlp, {"A": value}))
    # Of labels that are another component's they are no concern
    with pytest.warns(UserWarning, match="BIRNN-W004"):
        textcat.update(examples_with(nlp, {"A": 1.0, "X": value}))


@pytest.mark.parametrize(
    "cats, message",
    [
        ({"A": 1.0, "B": 1.0, "C": 0.0}, "BIRNN-E036.*pipe.*birnn_textcat_multilabel"),
        ({"A": 0.0, "B": 0.0, "C": 0.0}, "BIRNN-E035.*pipe.*birnn_textcat_multilabel"),
    ],
)
def test_exclusive_classes_of_which_not_one_is_right(make_textcat, nlp, cats, message):
    textcat = make_textcat("birnn_textcat")
    with pytest.raises(ValueError, match=message):
        textcat.update(examples_with(nlp, cats))


@pytest.mark.parametrize(
    "factory, cats, message",
    [
        (PIPES[0], {"A": 0.0, "B": 0.0}, "E035"),
        (PIPES[0], {"A": 1.0, "B": 1.0}, "E036"),
        (PIPES[0], {"A": 7.0}, "E037"),
        (PIPES[1], {"A": 7.0}, "E037"),
    ],
)
@pytest.mark.parametrize("labels", [None, ["A", "B"]])
def test_bad_annotation_is_reported_before_training(
    nlp, tiny_tok2vec, factory, cats, message, labels
):
    pipe = nlp.add_pipe(factory, config={"model": {"tok2vec": tiny_tok2vec}})
    examples = examples_with(nlp, *[{"A": 1.0, "B": 0.0}] * 20, cats)
    with pytest.raises(ValueError, match=f"BIRNN-{message}.*{factory}"):
        pipe.initialize(lambda: examples, nlp=nlp, labels=labels)


@pytest.mark.parametrize("factory", PIPES)
def test_labels_of_another_classifier_are_left_out_and_reported_once(make_textcat, nlp, factory):
    textcat = make_textcat(factory)
    own = {"A": 0.0, "B": 0.0} if factory == "birnn_textcat" else {"A": 1.0, "B": 0.0}
    with pytest.warns(UserWarning, match="BIRNN-W004.*'X'.*pipe.*A, B, C"):
        with_other = loss_of(textcat, examples_with(nlp, {**own, "X": 1.0, "Y": 0.0}))
    if factory == "birnn_textcat":
        # None of its own is right, and that is all
        assert with_other[1] == 0 and not with_other[2].any()
    else:
        for value, expected in zip(with_other, loss_of(textcat, examples_with(nlp, own))):
            np.testing.assert_array_equal(value, expected)
    loss_of(textcat, examples_with(nlp, {"X": 1.0}))  # a second warning would be an error


@pytest.mark.parametrize("factory", PIPES)
def test_two_classifiers_learn_from_the_same_documents(nlp, tiny_tok2vec, fit, factory):
    labels = {"size": ["BIG", "SMALL"], "mood": ["GLAD", "SAD"]}
    for name in labels:
        config = {"model": {"tok2vec": tiny_tok2vec}}
        nlp.add_pipe(factory, name=name, config=config)
        nlp.config["initialize"]["components"][name] = {"labels": labels[name]}
    cats = [
        dict(zip(sum(labels.values(), []), values))
        for values in ((1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 1.0))
    ]
    with pytest.warns(UserWarning, match="BIRNN-W004"):
        examples = examples_with(nlp, *cats)
        losses = fit(nlp, examples)
    assert max(losses.values()) < 0.5
    for eg in examples:
        assert nlp(eg.text).cats == pytest.approx(eg.y.cats, abs=0.3)


@pytest.mark.parametrize(
    "factory, rate, limit", [(PIPES[0], 0.7, "3 outcomes.*0.667"), (PIPES[1], 0.5, "2 .*0.5")]
)
def test_smoothing_that_would_teach_the_opposite(make_textcat, nlp, factory, rate, limit):
    with pytest.raises(ValueError, match=f"BIRNN-E006.*{rate}.*pipe.*{limit}"):
        make_textcat(factory, label_smoothing=rate)
    nlp.remove_pipe("pipe")
    textcat = make_textcat(factory)
    textcat.cfg["label_smoothing"] = rate
    with pytest.raises(ValueError, match=f"BIRNN-E006.*{rate}.*pipe.*{limit}"):
        textcat.update(examples_with(nlp, {"A": 1.0}))


@pytest.mark.parametrize("positive, message", [("Z", "E920"), ("A", "E919")])
def test_a_positive_label_that_is_not_one_of_two(nlp, tiny_tok2vec, positive, message):
    pipe = nlp.add_pipe("birnn_textcat", config={"model": {"tok2vec": tiny_tok2vec}})
    examples = examples_with(nlp, {"A": 1.0, "B": 0.0, "C": 0.0})
    with pytest.raises(ValueError, match=message):
        pipe.initialize(lambda: examples, nlp=nlp, positive_label=positive)


@pytest.mark.parametrize("factory", PIPES)
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"labels": "ABC"}, "BIRNN-E020.*'ABC'"),
        ({"class_weights": {"Z": 2.0}}, "BIRNN-E034.*'Z'.*A, B, C"),
        ({"class_weights": {"A": 0.0}}, "BIRNN-E001.*'class_weights'.*above 0.*pipe"),
        ({"class_weights": {"A": -1.0}}, "BIRNN-E001.*'class_weights'.*above 0.*pipe"),
        ({"class_weights": {"A": "2"}}, "BIRNN-E001.*'class_weights'.*above 0.*pipe"),
        ({"label_smoothing": 1.0}, "BIRNN-E001.*'label_smoothing'.*1.0.*pipe"),
        ({"threshold": 1.5}, "BIRNN-E001.*'threshold'.*1.5.*pipe"),
        ({"model": {"pooling": "sum"}}, "BIRNN-E001.*'pooling'.*'sum'"),
        ({"model": {"ngram_size": -1}}, "BIRNN-E001.*'ngram_size'.*-1"),
        ({"model": {"attention_heads": 3}}, "BIRNN-E030.*width = 16.*3 heads"),
    ],
)
def test_impossible_settings_are_named(make_textcat, factory, settings, message):
    with pytest.raises(ValueError, match=message):
        make_textcat(factory, **settings)


@pytest.mark.parametrize("factory", PIPES)
def test_an_empty_label_is_refused(nlp, tiny_tok2vec, factory):
    textcat = nlp.add_pipe(factory, config={"model": {"tok2vec": tiny_tok2vec}})
    with pytest.raises(ValueError, match=f"BIRNN-E023.*{factory}"):
        textcat.initialize(lambda: examples_with(nlp, {"A": 1.0, "": 0.0}), nlp=nlp)


@pytest.mark.parametrize("factory", PIPES)
def test_it_cannot_predict_before_it_is_initialized(nlp, tiny_tok2vec, factory):
    textcat = nlp.add_pipe(factory, config={"model": {"tok2vec": tiny_tok2vec}})
    with pytest.raises(ValueError, match="BIRNN-E010"):
        textcat.predict([nlp.make_doc("Anna flew")])


@pytest.mark.parametrize("factory", PIPES)
def test_text_as_the_value_of_a_category_is_named(nlp, tiny_tok2vec, factory):
    nlp.add_pipe(factory, config={"model": {"tok2vec": tiny_tok2vec}})
    examples = examples_with(nlp, {"A": 1.0, "B": 0.0}, {"A": "negative", "B": 1.0})
    with pytest.raises(BirnnError, match="BIRNN-E037.*'A'.*'negative' in the document '"):
        nlp.initialize(lambda: examples)


@pytest.mark.parametrize("kind", [{"default": 3}, {"getter": len}])
def test_attention_where_the_name_is_taken(make_textcat, no_extensions, kind):
    Doc.set_extension("birnn_attention", **kind)
    with pytest.warns(UserWarning, match="BIRNN-W014.*pipe"):
        make_textcat("birnn_textcat", attention=True)
