"""What every component promises, whatever it predicts."""

import errno
import hashlib
import json
import os
import pickle
import re
import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
import spacy
import srsly
import torch
from spacy.tokens import Doc, Span, Token
from spacy.tokens.underscore import Underscore
from spacy.training import Example, offsets_to_biluo_tags
from spacy.util import load_config, load_model_from_config
from thinc.api import Adam, fix_random_seed

from spacy_birnn.errors import BirnnError
from spacy_birnn.pipeline.calibration import calibrate


@dataclass(frozen=True)
class Case:
    """A component with settings; `read` takes from a document what it sets, `array` from a model's
    output what it says of the documents."""

    factory: str
    settings: Dict[str, Any]
    read: Callable[[Doc], Any]
    new_label: str = ""
    new_annotation: Dict[str, Any] = field(default_factory=dict)  # of "zzz ."
    array: Callable[[Any], np.ndarray] = lambda scores: scores.emissions
    of_tokens: bool = True  # whether the annotation is of tokens, not of documents
    scores_labels: bool = True  # whether the model gives each of the labels a score
    in_context: bool = True  # whether the model has a tok2vec
    other_model: str = "BIRNN-E005.*SequenceTagger"
    no_labels: str = r"E143.*pipe"


def read_ents(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def read_tags(doc):
    return [token.tag_ for token in doc]


def read_morphs(doc):
    return [(token.pos_, str(token.morph)) for token in doc]


def read_lemmas(doc):
    return [token.lemma_ for token in doc]


def read_best(doc):
    return max(doc.cats, key=doc.cats.get)


def read_likely(doc):
    return sorted(label for label, value in doc.cats.items() if value > 0.5)


EVENT = {"entities": ["U-EVENT", "O"]}
CRF, SOFTMAX = {"output": "crf"}, {"output": "softmax"}
TEXTCAT: Dict[str, Any] = {
    "new_label": "NOISE",
    "new_annotation": {"cats": {"NOISE": 1.0, "TRAVEL": 0.0, "TRADE": 0.0, "SLOGAN": 0.0}},
    "array": lambda scores: scores.logits,
    "of_tokens": False,
    "other_model": "BIRNN-E031.*TextClassifier",
}
# Its labels are characters, and it writes others too. A few words are learnt by heart
LEMMATIZER_MODEL = {"width": 32, "char_width": 16, "rows": 200, "hallucinate": 0.0}
LEMMATIZER: Dict[str, Any] = {
    "settings": {"lookup": False, "model": LEMMATIZER_MODEL},
    "read": read_lemmas,
    "scores_labels": False,
    "other_model": "BIRNN-E041.*Lemmatizer",
    "no_labels": "BIRNN-E040.*pipe",
}
CASES = {
    "ner-biluo": Case("birnn_ner", {}, read_ents, "EVENT", EVENT),
    "ner-bio": Case("birnn_ner", {"scheme": "BIO"}, read_ents, "EVENT", EVENT),
    "ner-softmax": Case("birnn_ner", {"model": SOFTMAX}, read_ents, "EVENT", EVENT),
    "tagger": Case("birnn_tagger", {}, read_tags, "XX", {"tags": ["XX", "."]}),
    "tagger-crf": Case("birnn_tagger", {"model": CRF}, read_tags, "XX", {"tags": ["XX", "."]}),
    "morphologizer": Case(
        "birnn_morphologizer",
        {},
        read_morphs,
        "Case=Voc|POS=INTJ",
        {"pos": ["INTJ", "PUNCT"], "morphs": ["Case=Voc", ""]},
    ),
    "tagger-attention": Case(
        "birnn_tagger",
        {"model": {**SOFTMAX, "attention_heads": 2}},
        read_tags,
        "XX",
        {"tags": ["XX", "."]},
    ),
    "textcat": Case("birnn_textcat", {}, read_best, no_labels="E867", **TEXTCAT),
    "textcat-max": Case(
        "birnn_textcat",
        {"model": {"pooling": "max", "attention_heads": 2}},
        read_best,
        no_labels="E867",
        **TEXTCAT,
    ),
    "textcat-multilabel": Case("birnn_textcat_multilabel", {}, read_likely, **TEXTCAT),
    "lemmatizer": Case("birnn_lemmatizer", **LEMMATIZER),
    "lemmatizer-alone": Case("birnn_lemmatizer", in_context=False, **LEMMATIZER),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def blank(case, tiny_tok2vec):
    """Makes a pipeline with a tiny component that has not been initialized."""

    def make(**tok2vec):
        settings = {**case.settings, "model": {**case.settings.get("model", {})}}
        if case.in_context:
            settings["model"]["tok2vec"] = {**tiny_tok2vec, **tok2vec}
        nlp = spacy.blank("xx")
        nlp.add_pipe(case.factory, name="pipe", config=settings)
        return nlp

    return make


@pytest.fixture(scope="module")
def trained_once(blank, fit, make_examples):
    fix_random_seed(0)
    nlp = blank()
    fit(nlp, make_examples(nlp))
    return nlp


@pytest.fixture
def trained(trained_once, reload):
    """A trained pipeline that a test may change."""
    return reload(trained_once)


@pytest.fixture
def initialized(blank, make_examples):
    nlp = blank()
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def scores_of(case, nlp, docs):
    return case.array(nlp.get_pipe("pipe").model.predict(docs))


def skip_unless_of_tokens(case):
    if not case.of_tokens:
        pytest.skip("its annotation is not of tokens")


def skip_unless_it_scores_labels(case):
    if not case.scores_labels:
        pytest.skip("its model does not give labels scores")


def skip_unless_it_labels_tokens(case):
    if not (case.of_tokens and case.scores_labels):
        pytest.skip("it does not choose a label for each token")


def readable(labellings):
    """Spans by value, labels as they are."""
    return [
        ([(x.start, x.end, x.label_) if isinstance(x, Span) else x for x in found], probability)
        for found, probability in labellings
    ]


# Setting up


def test_it_works_without_a_config(case, nlp, make_examples):
    pipe = nlp.add_pipe(case.factory)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    first = nlp.update(examples, sgd=sgd)
    for _ in range(3):
        last = nlp.update(examples, sgd=sgd)
    assert 0 < last[pipe.name] < first[pipe.name]
    assert len(nlp("Anna flew to Oslo")) == 4


def test_data_may_begin_with_empty_documents(case, blank, make_examples):
    if case.factory in ("birnn_tagger", "birnn_morphologizer"):
        pytest.skip("as with spaCy's, one of the first ten documents has to have a tag")
    nlp = blank()
    empty = [Example.from_dict(Doc(nlp.vocab, words=[]), {}) for _ in range(10)]
    examples = [*empty, *make_examples(nlp)]
    sgd = nlp.initialize(lambda: examples)
    assert nlp.update(examples, sgd=sgd)["pipe"] > 0


def test_malformed_examples_are_refused(blank, make_examples):
    nlp = blank()
    pipe, examples = nlp.get_pipe("pipe"), make_examples(nlp)
    for no_callback in (None, [], examples):
        with pytest.raises(TypeError, match="E930"):
            pipe.initialize(no_callback, nlp=nlp)
    for no_examples in (None, [], ["text"], [examples[0].x]):
        with pytest.raises((TypeError, ValueError), match="E930|E978"):
            pipe.initialize(lambda given=no_examples: given, nlp=nlp)
    with pytest.raises(TypeError, match="E978"):
        pipe.update([examples[0].x])
    with pytest.raises(TypeError, match="E978"):
        pipe.rehearse([examples[0].x])


def test_no_annotation_at_all_is_refused(case, blank):
    nlp = blank()
    with pytest.raises(ValueError, match=case.no_labels):
        nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("Anna flew"), {})])


def test_use_before_initialization_is_refused(blank):
    with pytest.raises(ValueError, match="E109|BIRNN-E010"):
        blank()("Anna flew")


def test_training_before_initialization_is_refused(blank, make_examples):
    nlp = blank()
    with pytest.raises(ValueError, match="BIRNN-E010.*pipe"):
        nlp.update(make_examples(nlp))


def test_another_architecture_is_refused(case, nlp, tiny_tok2vec):
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tiny_tok2vec}
    with pytest.raises(ValueError, match=case.other_model):
        nlp.add_pipe(case.factory, config={"model": model})


def test_the_first_example_may_be_empty(blank, make_examples):
    nlp = blank()
    empty = Example(Doc(nlp.vocab), Doc(nlp.vocab))
    nlp.initialize(lambda: [empty, *make_examples(nlp)])
    nlp.update([empty, *make_examples(nlp)])


def test_initialize_with_label_data(case, blank, trained, make_examples):
    """As after `spacy init labels`, which keeps them as JSON."""
    nlp = blank()
    pipe, before = nlp.get_pipe("pipe"), trained.get_pipe("pipe")
    labels = json.loads(json.dumps(before.label_data))
    pipe.initialize(lambda: make_examples(nlp)[2:], nlp=nlp, labels=labels)
    assert pipe.labels == before.labels and len(pipe.labels) > 2
    assert pipe.model.get_dim("nO") == before.model.get_dim("nO")
    assert np.isfinite(nlp.update(make_examples(nlp))["pipe"])


def test_initializing_again_starts_again(initialized, make_examples, weights, same):
    pipe = initialized.get_pipe("pipe")
    before, labels = weights(pipe.model), pipe.labels
    initialized.initialize(lambda: make_examples(initialized))
    assert pipe.labels == labels
    assert weights(pipe.model).keys() == before.keys() and not same(weights(pipe.model), before)


@pytest.mark.parametrize("label", [None, 3])
def test_a_label_must_be_a_string(case, initialized, label):
    skip_unless_it_scores_labels(case)
    with pytest.raises(ValueError, match="BIRNN-E023|E187"):
        initialized.get_pipe("pipe").add_label(label)


# Training


def biluo_tag(token):
    return offsets_to_biluo_tags(
        token.doc, [(ent.start_char, ent.end_char, ent.label_) for ent in token.doc.ents]
    )[token.i]


def test_it_learns_a_few_sentences_by_heart(case, trained_once, make_examples):
    for eg in make_examples(trained_once):
        doc = trained_once(Doc(trained_once.vocab, words=[token.text for token in eg.y]))
        assert case.read(doc) == case.read(eg.y)


def test_its_scores_say_so(case, trained_once, make_examples):
    scores = trained_once.evaluate(make_examples(trained_once))
    weighted = trained_once.get_pipe_meta("pipe").default_score_weights
    main = [name for name, weight in weighted.items() if weight]
    assert main and all(scores[name] == 1.0 for name in main)


def test_training_is_reproducible(blank, make_examples, weights, same):
    found = []
    for _ in range(2):
        fix_random_seed(1)
        nlp = blank(word_dropout=0.3)
        examples = make_examples(nlp)
        sgd = nlp.initialize(lambda examples=examples: examples)
        for _ in range(2):
            nlp.update(examples, sgd=sgd, drop=0.3)
        found.append(weights(nlp.get_pipe("pipe").model))
    assert same(*found)


def test_every_parameter_is_trained_unless_frozen(
    initialized, make_examples, weights, same, unmoved
):
    model = initialized.get_pipe("pipe").model
    examples = make_examples(initialized)
    before = weights(model)
    initialized.update(examples, exclude=["pipe"])
    with initialized.select_pipes(disable=["pipe"]):
        initialized.update(examples)
    assert same(weights(model), before)
    # The output weights start at 0: the gradient reaches the rest from the second update on
    sgd = Adam(0.01)
    for _ in range(2):
        initialized.update(examples, sgd=sgd)
    assert unmoved(before, weights(model)) == []


def test_missing_annotation_gives_no_loss_and_no_gradient(case, trained, make_examples):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    examples = [Example.from_dict(eg.x, {}) for eg in make_examples(trained)]
    scores, _ = pipe.model.begin_update([eg.x for eg in examples])
    loss, gradient = pipe.get_loss(examples, scores)
    assert loss == 0
    if not case.of_tokens:
        assert gradient.shape[-2:] == scores.logits.shape and not gradient.any()
        return
    for name in ("emissions", "transitions", "start", "end"):
        part = getattr(gradient, name)
        assert part is None or not part.any()


def test_the_annotated_part_is_learnt_from_partial_annotation(case, blank, fit, make_examples):
    """One sentence has no annotation; of the other two, each is annotated in every second token."""
    skip_unless_of_tokens(case)
    nlp = blank()
    full = make_examples(nlp)
    examples = []
    for eg in full[:2]:
        partial = {"tags": [], "pos": [], "morphs": [], "lemmas": [], "entities": []}
        for token in eg.y:
            known = token.i % 2 == 1
            partial["tags"].append(token.tag_ if known else "")
            partial["pos"].append(token.pos_ if known else "")
            partial["morphs"].append(str(token.morph) if known else "")
            partial["lemmas"].append(token.lemma_ if known else "")
            # Tokens 4 to 7 have an entity in both sentences, which cannot be known in part
            in_entity = 4 <= token.i < 8
            partial["entities"].append(biluo_tag(token) if in_entity else "-")
        examples.append(Example.from_dict(Doc(nlp.vocab, [t.text for t in eg.y]), partial))
        for i in range(0, len(eg.y), 2):
            examples[-1].y[i].set_morph(
                None
            )  # not annotated, which is not the same as "no features"
    examples.append(Example.from_dict(full[2].x, {}))
    assert fit(nlp, examples)["pipe"] < 0.5
    for eg in full[:2]:
        doc = nlp(Doc(nlp.vocab, words=[token.text for token in eg.y]))
        found, expected = case.read(doc), case.read(eg.y)
        if case.factory == "birnn_ner":
            found = [ent for ent in found if ent[0] >= 4]
            assert found == [ent for ent in expected if ent[0] >= 4]
        else:
            assert found[1::2] == expected[1::2]


def test_training_on_other_tokens_than_those_of_the_annotation(case, blank, fit):
    """The annotation has one token where the pipeline has two, and two where it has one."""
    skip_unless_of_tokens(case)
    nlp = blank()
    reference = Doc(
        nlp.vocab,
        words=["Anna", "flew", "to", "New", "York", "."],
        spaces=[True, True, True, False, False, False],
        tags=["NNP", "VBD", "TO", "NNP", "FW", "."],
        pos=["PROPN", "VERB", "ADP", "PROPN", "X", "PUNCT"],
        morphs=["Number=Sing", "Tense=Past", "", "Number=Sing", "", ""],
        lemmas=["Anna", "fly", "to", "New", "York", "."],
        ents=["B-PERSON", "O", "O", "B-GPE", "I-GPE", "O"],
    )
    words = ["An", "na", "flew", "to", "NewYork", "."]
    predicted = Doc(nlp.vocab, words=words, spaces=[False, True, True, True, False, False])
    assert fit(nlp, [Example(predicted, reference)])["pipe"] < 0.5
    doc = nlp(Doc(nlp.vocab, words=words, spaces=[False, True, True, True, False, False]))
    if case.factory == "birnn_ner":
        assert case.read(doc) == [(0, 2, "PERSON"), (4, 5, "GPE")]
    else:
        # "New" and "York" have different labels, so that of "NewYork" is unknown
        expected, found = case.read(reference), case.read(doc)
        assert found[:4] == [expected[0], *expected[:3]] and found[5] == expected[5]


def test_labels_that_training_meets_are_treated_as_spacys_component_treats_them(
    case, trained, make_examples
):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    doc = Doc(trained.vocab, words=["zzz", "."])
    example = Example.from_dict(doc, case.new_annotation)
    label = re.escape(case.new_label)
    if case.factory == "birnn_ner":
        assert np.isfinite(trained.update([example], sgd=Adam(0.01))["pipe"])
        assert case.new_label in pipe.labels
        return
    if case.factory == "birnn_tagger":
        with pytest.raises(BirnnError, match=f"BIRNN-E021.*'{label}'.*pipe"):
            trained.update([example])
    else:
        # They are left out; of a classifier they may be another's, see test_textcat.py
        code = "W012" if case.factory == "birnn_morphologizer" else "W004"
        with pytest.warns(UserWarning, match=f"BIRNN-{code}.*'{label}'"):
            assert np.isfinite(trained.update([example])["pipe"])
        trained.update([example])  # no second warning
    assert case.new_label not in pipe.labels


def test_a_new_label_leaves_the_others_and_can_be_learnt(case, trained, fit, make_examples):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    examples = make_examples(trained)
    for eg in examples:
        eg.y.cats[case.new_label] = 0.0  # not annotated, it would be unknown
    texts = [" ".join(token.text for token in eg.y) for eg in examples]
    before = [case.read(trained(text)) for text in texts]
    assert pipe.add_label(case.new_label) == 1
    assert pipe.add_label(case.new_label) == 0
    assert case.new_label in pipe.labels and len(pipe.labels) == len(set(pipe.labels))
    assert [case.read(trained(text)) for text in texts] == before
    doc = Doc(trained.vocab, words=["zzz", "."])
    new = Example.from_dict(doc, case.new_annotation)
    fit(trained, [*examples, new], steps=60, resume=True)
    learnt = trained(Doc(trained.vocab, words=["zzz", "."]))
    assert case.read(learnt) == case.read(new.y)
    assert [case.read(trained(text)) for text in texts] == before


def test_a_new_label_takes_no_probability_from_the_others(case, trained, make_examples):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    head = pipe.model.get_ref("output_layer")
    head.set_param("W", head.get_param("W") * 0.3)  # not so sure of anything
    docs = [Doc(trained.vocab, words=[t.text for t in eg.y]) for eg in make_examples(trained)]

    def probabilities():
        if case.of_tokens:
            return [p for found in pipe.k_best(docs, 3) for _, p in found]
        known = pipe.labels[:3]
        return [doc.cats[label] for doc in pipe.pipe(docs) for label in known]

    before = probabilities()
    assert min(before) < 0.9
    pipe.add_label(case.new_label)
    assert probabilities() == pytest.approx(before, abs=0.03)


@pytest.mark.parametrize("use_averages", [True, False])
def test_training_goes_on_after_a_new_label(case, blank, make_examples, use_averages):
    """Neither gradients nor the optimizer's state may keep the shape they had before."""
    skip_unless_it_scores_labels(case)
    nlp = blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    sgd = Adam(0.01, use_averages=use_averages)
    nlp.update(examples, sgd=sgd)
    nlp.get_pipe("pipe").update(examples)  # leaves a gradient behind
    nlp.get_pipe("pipe").add_label(case.new_label)
    new = Example.from_dict(Doc(nlp.vocab, words=["zzz", "."]), case.new_annotation)
    nlp.update([*examples, new], sgd=sgd)
    with nlp.use_params(sgd.averages or {}):
        nlp("zzz .")


def test_a_label_added_before_the_initialization_is_there_after_it(case, blank, make_examples):
    skip_unless_it_scores_labels(case)
    nlp = blank()
    pipe = nlp.get_pipe("pipe")
    pipe.add_label(case.new_label)
    nlp.initialize(lambda: make_examples(nlp))
    assert case.new_label in pipe.labels and len(pipe.labels) > 2
    assert np.isfinite(nlp.update(make_examples(nlp))["pipe"])


def test_scores_that_are_not_finite_are_reported(case, trained):
    skip_unless_it_scores_labels(case)
    head = trained.get_pipe("pipe").model.get_ref("output_layer")
    head.set_param("b", np.full_like(head.get_param("b"), np.nan))
    with pytest.raises(ValueError, match="BIRNN-E022.*pipe"):
        trained("Anna flew")


# Rehearsal


def disturb_ngrams(model):
    """Each part of a classifier rehearses on its own, and one that has not moved stays."""
    ngrams = model.maybe_get_ref("ngram_layer")
    if ngrams is not None:
        ngrams.set_param("b", ngrams.get_param("b") + np.array([0.3, -0.3, 0.1], "f"))


def test_rehearsal_leads_back_to_the_earlier_predictions(
    case, trained, make_examples, weights, unmoved
):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    examples = make_examples(trained)
    trained.resume_training()
    assert pipe.rehearse(examples, sgd=Adam(0.0))["pipe"] == pytest.approx(0, abs=1e-5)
    rng = np.random.default_rng(0)
    head = pipe.model.get_ref("output_layer")
    W = head.get_param("W")
    scale = 1.0 if case.of_tokens else 5.0  # a classifier of three documents is very sure of them
    head.set_param("W", W + head.ops.asarray_f(rng.normal(size=W.shape, scale=scale)))
    disturb_ngrams(pipe.model)
    before = weights(pipe.model)
    sgd = Adam(0.01)
    divergence = [pipe.rehearse(examples, sgd=sgd)["pipe"] for _ in range(25)]
    assert divergence[0] > 0.01 and divergence[-1] < divergence[0] / 2
    assert unmoved(before, weights(pipe.model)) == []


def test_nlp_rehearse_moves_every_parameter(case, trained, make_examples, weights, unmoved):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    trained.resume_training()
    head = pipe.model.get_ref("output_layer")
    head.set_param("W", head.get_param("W") * 0.5)
    disturb_ngrams(pipe.model)
    before = weights(pipe.model)
    trained.rehearse(make_examples(trained), sgd=Adam(0.01))
    assert unmoved(before, weights(pipe.model)) == []


def test_rehearsal_has_no_opinion_on_a_new_label(case, trained, make_examples):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    trained.resume_training()
    pipe.add_label(case.new_label)
    examples = make_examples(trained)
    assert pipe.rehearse(examples, sgd=Adam(0.01))["pipe"] == pytest.approx(0, abs=1e-4)
    before = pipe.model.get_ref("output_layer").get_param("b").copy()
    pipe.rehearse(examples, sgd=Adam(0.01, L2=0.0))
    n_old = pipe._rehearsal_model.get_ref("output_layer").get_dim("nO")
    after = pipe.model.get_ref("output_layer").get_param("b")
    assert np.array_equal(before[n_old:], after[n_old:])


def test_rehearsal_without_an_optimizer_moves_nothing(
    case, trained, make_examples, weights, unmoved
):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    trained.resume_training()
    before = weights(pipe.model)
    losses = pipe.rehearse(make_examples(trained))
    assert losses["pipe"] == pytest.approx(0, abs=1e-5)
    assert len(unmoved(before, weights(pipe.model))) > 10


def test_rehearsal_without_tokens_or_teacher_does_nothing(case, trained, weights, same):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    before = weights(pipe.model)
    example = Example.from_dict(trained.make_doc("Anna flew"), {})
    assert pipe.rehearse([example], sgd=Adam(0.1)) == {"pipe": 0}
    trained.resume_training()
    empty = Example.from_dict(trained.make_doc(""), {})
    assert pipe.rehearse([empty], sgd=Adam(0.1)) == {"pipe": 0}
    assert same(weights(pipe.model), before)


# Calibration


@pytest.fixture
def held_out(make_examples):
    """The sentences of the training data, but every third word is a new one, and two have the
    category of another."""

    def make(nlp):
        examples, sentences = [], make_examples(nlp)
        for k, eg in enumerate(sentences * 3):
            words = [f"w{t.i}" if (t.i + k) % 3 == 0 else t.text for t in eg.y]
            other = Doc(nlp.vocab, words=words).from_array(
                ["TAG", "POS", "MORPH", "ENT_IOB", "ENT_TYPE"],
                eg.y.to_array(["TAG", "POS", "MORPH", "ENT_IOB", "ENT_TYPE"]),
            )
            other.cats = (eg if k < 7 else sentences[k - 7]).y.cats
            examples.append(Example(Doc(nlp.vocab, words=words), other))
        return examples

    return make


def calibrated(nlp, examples):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are few, and easy
        calibrate(nlp, examples)
    return nlp.get_pipe("pipe")


def read_extensions(doc):
    ents = [ent._.confidence for ent in doc.ents if ent.has_extension("confidence")]
    return ents, doc._.birnn_attention if doc.has_extension("birnn_attention") else None


def test_it_can_be_sent_to_another_process(case, trained, make_examples, no_extensions):
    """Where processes are spawned, not forked, spaCy pickles the pipeline. Nothing has been
    registered there, as the component is not constructed."""
    loaded = pickle.loads(pickle.dumps(trained))
    docs = [eg.x.copy() for eg in make_examples(trained)]
    annotated = [loaded(Doc(loaded.vocab, words=[t.text for t in doc])) for doc in docs]
    assert [case.read(doc) for doc in annotated] == [case.read(trained(doc)) for doc in docs]
    values, _ = zip(*(read_extensions(doc) for doc in annotated))
    n_ents = sum(len(doc.ents) for doc in annotated)
    assert len([value for ents in values for value in ents if value is not None]) == n_ents


def test_what_a_component_registers_is_there_once_it_is_loaded(
    case, trained_once, reload, no_extensions
):
    """For documents that were annotated elsewhere."""
    saved = trained_once("Anna flew to Oslo").to_bytes()
    Underscore.load_state(({}, {}, {}))
    nlp = reload(trained_once)
    doc = Doc(nlp.vocab).from_bytes(saved)
    if case.factory == "birnn_ner":
        assert doc.ents and None not in doc._.confidence == [e._.confidence for e in doc.ents]
    elif "textcat" in case.factory:
        assert doc._.birnn_attention is None
    else:
        assert Underscore.get_state() == ({}, {}, {})


def test_extensions_of_the_user_are_left_alone(case, blank, fit, make_examples, no_extensions):
    for kind in (Doc, Span, Token):
        for name in ("confidence", "birnn_attention"):
            kind.set_extension(name, default="mine")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        nlp = blank()
        fit(nlp, make_examples(nlp), steps=1)
        doc = nlp("Anna flew to Oslo")
    if case.factory == "birnn_ner":
        (message,) = [str(w.message) for w in record if "BIRNN" in str(w.message)]
        assert "BIRNN-W011" in message and "Span and Doc" in message
    assert {x._.confidence for x in (doc, doc[0:2], doc[0])} == {"mine"}
    assert {x._.birnn_attention for x in (doc, doc[0:2], doc[0])} == {"mine"}


def test_calibration_makes_held_out_annotation_likelier(case, trained, held_out):
    skip_unless_it_scores_labels(case)
    examples = held_out(trained)
    evidence = trained.get_pipe("pipe").evidence(examples, set())
    before = [case.read(trained(eg.x.copy())) for eg in examples]
    pipe = calibrated(trained, examples)
    temperature = pipe.cfg["temperature"]
    assert temperature != pytest.approx(1, rel=0.02)
    assert pipe.loss_at(evidence, temperature) < pipe.loss_at(evidence, 1.0)
    # By the temperature alone nothing else is predicted, nor does training change
    scores = pipe.model.predict([eg.x for eg in examples])
    loss, _ = pipe.get_loss(examples, scores)
    pipe.void_calibration()
    assert pipe.get_loss(examples, scores)[0] == loss > 0
    pipe.cfg["temperature"] = temperature
    assert [case.read(trained(eg.x.copy())) for eg in examples] == before


def test_calibration_is_saved(case, trained, reload, held_out, tmp_path):
    skip_unless_it_scores_labels(case)
    examples = held_out(trained)
    pipe = calibrated(trained, examples)
    expected = pipe.decisions(pipe.evidence(examples, set()), pipe.cfg).confidence
    trained.to_disk(tmp_path)
    for loaded in (spacy.load(tmp_path), reload(trained)):
        again = loaded.get_pipe("pipe")
        found = again.decisions(again.evidence(examples, set()), again.cfg).confidence
        # Ten decimals of a setting are saved
        for name in pipe.unfitted:
            assert again.cfg[name] == pytest.approx(pipe.cfg[name], abs=1e-9)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_a_load_that_fails_leaves_the_calibration(case, trained, held_out):
    skip_unless_it_scores_labels(case)
    pipe = trained.get_pipe("pipe")
    now = dict(calibrated(trained, held_out(trained)).cfg)
    assert now["temperature"] != 1
    with pytest.raises(BirnnError, match="BIRNN-E013"):
        pipe.from_bytes(pipe.to_bytes()[:-1])
    assert pipe.cfg == now


def test_training_makes_calibration_void(case, trained, held_out):
    skip_unless_it_scores_labels(case)
    pipe, examples = trained.get_pipe("pipe"), held_out(trained)
    before = pipe.cfg.copy()
    trained.resume_training()
    fitted = {**calibrated(trained, examples).cfg}
    assert fitted != before
    for train in (pipe.update, pipe.rehearse):
        pipe.cfg.update(fitted)
        train(examples)
        assert pipe.cfg == before


def test_calibrated_probabilities_do_not_depend_on_the_batch(case, trained, held_out):
    skip_unless_it_scores_labels(case)
    examples = held_out(trained)
    pipe = calibrated(trained, examples)

    def confidence(batches):
        parts = [pipe.decisions(pipe.evidence(batch, set()), pipe.cfg) for batch in batches]
        return np.concatenate([part.confidence for part in parts])

    together, alone = confidence([examples]), confidence([[eg] for eg in examples])
    assert len(together) > 5 and (together > 0).all() and (together < 1).all()
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)


# Documents of any length


@pytest.mark.parametrize("text", ["", " ", "\n\n", "Oslo", "zzz"])
def test_a_document_without_context(trained_once, text):
    doc = trained_once(text)
    assert doc.text == text


def test_unusual_tokens(case, trained_once):
    """Very long, emoji, combining marks, control characters and code points without a meaning."""
    words = [
        "x" * 10000,
        "\U0001f44d\U0001f3ff",
        "e\u0301" * 50,
        "\x00\x1b",
        "\u0378",
        "\U0010ffff",
    ]
    doc = trained_once(Doc(trained_once.vocab, words=words))
    assert [token.text for token in doc] == words
    if case.scores_labels:
        assert np.isfinite(scores_of(case, trained_once, [doc])).all()
    else:
        assert all(case.read(doc))


@pytest.mark.parametrize("texts", [[""], ["", ""], ["Oslo"], ["", "Oslo", "", "Anna flew", ""]])
def test_training_on_documents_of_any_length(case, trained, texts):
    examples = []
    for text in texts:
        words = text.split()
        values = {"tags": "NNP", "pos": "PROPN", "morphs": "Number=Sing", "entities": "O"}
        values["lemmas"] = "anna"
        annotation: Dict[str, Any] = {name: [value] * len(words) for name, value in values.items()}
        annotation["cats"] = {"TRAVEL": 1.0, "TRADE": 0.0, "SLOGAN": 0.0}
        examples.append(Example.from_dict(Doc(trained.vocab, words=words), annotation))
    loss = trained.update(examples)["pipe"]
    assert np.isfinite(loss) and (loss > 0) == any(texts)
    assert [doc.text for doc in trained.pipe(texts)] == texts


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_pipe_predicts_what_the_pipeline_predicts_one_by_one(
    case, trained_once, mixed_texts, batch_size
):
    texts = mixed_texts * 2
    docs = list(trained_once.pipe(texts, batch_size=batch_size))
    assert [doc.text for doc in docs] == texts
    assert [case.read(doc) for doc in docs] == [case.read(trained_once(text)) for text in texts]


def test_scores_do_not_depend_on_the_batch(case, trained_once, mixed_texts):
    skip_unless_it_scores_labels(case)
    docs = [trained_once.make_doc(text) for text in mixed_texts]
    together = scores_of(case, trained_once, docs)
    alone = np.vstack([scores_of(case, trained_once, [doc]) for doc in docs])
    # The rounding of a sum goes with the size of what is added
    np.testing.assert_allclose(together, alone, rtol=0, atol=5e-7 * np.abs(alone).max())


def test_predicting_nothing(trained_once):
    assert list(trained_once.pipe([])) == []
    assert trained_once.get_pipe("pipe").predict([]) == []


def test_prediction_does_not_touch_the_documents(case, trained_once):
    doc = trained_once.make_doc("Anna flew to Oslo")
    before = doc.to_bytes()
    trained_once.get_pipe("pipe").predict([doc])
    assert doc.to_bytes() == before


# The k best labellings


def test_the_best_labelling_is_the_one_that_is_predicted(case, trained, mixed_texts):
    skip_unless_it_labels_tokens(case)
    pipe = trained.get_pipe("pipe")
    if case.factory == "birnn_ner":
        pipe.cfg["threshold"] = None
    for text in mixed_texts:
        doc = trained.make_doc(text)
        (predicted,) = pipe.predict([doc])
        if case.factory == "birnn_ner":
            expected = [(s.start, s.end, pipe.labels[s.label]) for s in predicted.spans]
        else:
            expected = [pipe.labels[tag] for tag in predicted]
        ((found, probability),) = readable(pipe.k_best([doc], 1)[0])
        assert found == expected and 0 < probability <= 1


def test_the_k_best_are_sorted_and_do_not_depend_on_the_batch(case, trained_once, mixed_texts):
    skip_unless_it_labels_tokens(case)
    pipe = trained_once.get_pipe("pipe")
    docs = [trained_once.make_doc(text) for text in mixed_texts]
    together = [readable(found) for found in pipe.k_best(docs, 5)]
    for doc, labellings in zip(docs, together):
        values = [probability for _, probability in labellings]
        assert values == sorted(values, reverse=True) and 0 < sum(values) <= 1 + 1e-9
        assert 1 <= len(labellings) <= 5
        if not len(doc):
            assert labellings == [([], 1.0)]
        alone = readable(pipe.k_best([doc], 5)[0])
        assert [found for found, _ in alone] == [found for found, _ in labellings]
        assert [p for _, p in alone] == pytest.approx(values, abs=1e-5)


def test_all_labellings_of_a_token_are_certain_together(case, trained_once):
    skip_unless_it_labels_tokens(case)
    pipe = trained_once.get_pipe("pipe")
    ner = case.factory == "birnn_ner"
    (labellings,) = pipe.k_best([trained_once.make_doc("Oslo")], 1000)
    assert len(labellings) == len(pipe.labels) + ner  # one more has no entity
    assert sum(probability for _, probability in labellings) == pytest.approx(1, abs=1e-9)


def test_the_k_best_of_no_documents(case, trained_once):
    skip_unless_it_labels_tokens(case)
    assert trained_once.get_pipe("pipe").k_best([], 3) == []


def test_a_single_document_is_no_list_of_documents(case, trained_once):
    skip_unless_it_labels_tokens(case)
    pipe = trained_once.get_pipe("pipe")
    doc = trained_once.make_doc("Anna flew to Oslo")
    with pytest.raises(BirnnError, match=r"BIRNN-E007.*pipe.*\[doc\]"):
        pipe.k_best(doc, 3)
    if hasattr(pipe, "label_probabilities"):
        with pytest.raises(BirnnError, match="BIRNN-E007.*pipe"):
            pipe.label_probabilities(doc)


def test_asking_for_the_k_best_does_not_touch_the_documents(case, trained_once):
    skip_unless_it_labels_tokens(case)
    doc = trained_once.make_doc("Anna flew to Oslo")
    before = doc.to_bytes()
    trained_once.get_pipe("pipe").k_best([doc], 3)
    assert doc.to_bytes() == before


@pytest.mark.parametrize("k", [0, -1, 1.5, "2", True, None])
def test_an_impossible_k_is_named(case, trained_once, k):
    skip_unless_it_labels_tokens(case)
    with pytest.raises(ValueError, match=f"BIRNN-E001.*'k'.*{k}.*'pipe'"):
        trained_once.get_pipe("pipe").k_best([trained_once.make_doc("Oslo")], k)


def test_the_k_best_before_initialization_are_refused(case, blank):
    skip_unless_it_labels_tokens(case)
    nlp = blank()
    with pytest.raises(ValueError, match="BIRNN-E010.*pipe"):
        nlp.get_pipe("pipe").k_best([nlp.make_doc("Oslo")], 2)


# Saving and loading


@pytest.mark.parametrize("way", ["bytes", "disk", "pipe-bytes", "pipe-disk"])
def test_round_trip_by_value(case, trained_once, mixed_texts, weights, same, tmp_path, way):
    saved = trained_once.get_pipe("pipe")
    nlp = load_model_from_config(trained_once.config)
    pipe = nlp.get_pipe("pipe")
    if way == "bytes":
        nlp.from_bytes(trained_once.to_bytes())
    elif way == "disk":
        trained_once.to_disk(tmp_path / "model")
        nlp = spacy.load(tmp_path / "model")
        pipe = nlp.get_pipe("pipe")
    elif way == "pipe-bytes":
        pipe.from_bytes(saved.to_bytes())
    else:
        saved.to_disk(tmp_path / "pipe")
        pipe.from_disk(tmp_path / "pipe")
    assert same(weights(pipe.model), weights(saved.model))
    assert pipe.labels == saved.labels and pipe.cfg == saved.cfg
    for text in mixed_texts:
        assert case.read(nlp(text)) == case.read(trained_once(text))


def test_saving_again_over_an_older_pipeline(case, trained, make_examples, tmp_path, weights, same):
    trained.to_disk(tmp_path)
    trained.update(make_examples(trained))
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path).get_pipe("pipe")
    assert same(weights(loaded.model), weights(trained.get_pipe("pipe").model))


def test_an_untrained_pipeline_can_be_saved_and_initialized_later(blank, tmp_path, make_examples):
    blank().to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    nlp.initialize(lambda: make_examples(nlp))
    assert np.isfinite(nlp.update(make_examples(nlp))["pipe"])


def test_the_config_states_every_setting(case, nlp):
    nlp.add_pipe(case.factory, name="pipe")
    config = nlp.config
    filled = load_model_from_config(config).config
    assert filled["components"]["pipe"] == config["components"]["pipe"]
    tok2vec = config["components"]["pipe"]["model"]["tok2vec"]
    if case.factory == "birnn_lemmatizer":
        assert tok2vec is None  # it reads words without their context
        return
    assert tok2vec["@architectures"] == "spacy-birnn.BiRNNTok2Vec.v1"
    assert {"width", "depth", "cell", "word_dropout", "char_width"} <= tok2vec.keys()


def test_settings_survive_the_config(case, blank):
    if not case.in_context:
        pytest.skip("no tok2vec")
    config = blank(cell="gru", direction="backward", depth=2).config
    nlp = load_model_from_config(config)
    tok2vec = nlp.config["components"]["pipe"]["model"]["tok2vec"]
    assert (tok2vec["cell"], tok2vec["direction"], tok2vec["depth"]) == ("gru", "backward", 2)


def load_file(nlp, path, content):
    (path / "model").write_bytes(content)
    nlp.get_pipe("pipe").from_disk(path, exclude=["vocab"])


def test_a_truncated_file_is_refused(blank, trained_once, tmp_path):
    whole = trained_once.get_pipe("pipe").to_bytes(exclude=["vocab"])
    for keep in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(BirnnError, match="BIRNN-E013"):
            load_file(blank(), tmp_path, whole[:keep])


def test_a_load_that_fails_leaves_the_labels_as_they_were(trained, tmp_path):
    """Also where the file is whole and only the weights in it are damaged."""
    pipe = trained.get_pipe("pipe")
    before = srsly.json_dumps(pipe.cfg)
    fields = {
        "cfg": srsly.json_dumps({"labels": ["OTHER"], "threshold": 0.5}),
        "model": b"no model",
    }
    inner = {"pipe": srsly.msgpack_dumps(fields), "configured": {}}
    data = srsly.msgpack_dumps(inner)
    sha256 = hashlib.sha256(data).hexdigest()
    with pytest.raises(BirnnError, match="BIRNN-E013.*pipe"):
        load_file(trained, tmp_path, srsly.msgpack_dumps({"sha256": sha256, "data": data}))
    assert srsly.json_dumps(pipe.cfg) == before


def test_a_file_that_is_no_component_is_refused(blank, trained_once, tmp_path):
    bare = trained_once.get_pipe("pipe").model.to_bytes()
    for content in (b"not a model", b"\x80", b"\x00" * 1000, b"\xff" * 1000, bare):
        with pytest.raises(BirnnError, match="BIRNN-E013.*pipe") as caught:
            load_file(blank(), tmp_path, content)
        assert caught.value.code == "E013"


def test_an_altered_stretch_of_the_file_is_noticed(blank, trained_once, tmp_path):
    """Wherever it is: in the labels, in the weights of a table, in those of a torch module."""
    trained_once.get_pipe("pipe").to_disk(tmp_path, exclude=["vocab"])
    whole = (tmp_path / "model").read_bytes()
    unnoticed = []
    for place in (0.0, 0.001, 0.02, 0.3, 0.6, 0.9, 0.98):
        start = int(place * len(whole))
        altered = bytearray(whole)
        altered[start : start + 64] = (byte ^ 0x55 for byte in whole[start : start + 64])
        (tmp_path / "model").write_bytes(bytes(altered))
        try:
            blank().get_pipe("pipe").from_disk(tmp_path, exclude=["vocab"])
            unnoticed.append(place)
        except ValueError as e:
            assert "BIRNN-E01" in str(e)
    assert unnoticed == []


def load_with(saved, directory, **tok2vec):
    """Load a pipeline as if it had been trained with other settings."""
    saved.to_disk(directory)
    config = load_config(directory / "config.cfg")
    config["components"]["pipe"]["model"]["tok2vec"].update(tok2vec)
    config.to_disk(directory / "config.cfg")
    return spacy.load(directory)


def test_weights_of_other_shapes_than_those_of_the_config_are_refused(case, trained_once, tmp_path):
    if not case.in_context:
        pytest.skip("no tok2vec")
    for name, value in {"width": 32, "embed_width": 8, "embed_rows": 50, "char_width": 4}.items():
        with pytest.raises(ValueError, match="BIRNN-E01[23]"):
            load_with(trained_once, tmp_path, **{name: value})


def test_a_model_with_the_labels_of_another_is_refused(trained, tmp_path):
    pipe = trained.get_pipe("pipe")
    for key in ("labels", "labels_morph", "labels_pos"):
        if key in pipe.cfg and isinstance(pipe.cfg[key], list):
            pipe.cfg[key].pop()
        elif key in pipe.cfg:
            pipe.cfg[key].popitem()
    trained.to_disk(tmp_path)
    with pytest.raises(ValueError, match="BIRNN-E024.*pipe"):
        spacy.load(tmp_path)


def test_a_place_that_cannot_be_written_to_is_named(trained_once, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="BIRNN-E016.*pipe.*file"):
        trained_once.get_pipe("pipe").to_disk(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_leaves_what_was_there(trained, make_examples, tmp_path, monkeypatch):
    pipe = trained.get_pipe("pipe")
    pipe.to_disk(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    trained.update(make_examples(trained))
    open_file = Path.open

    class FullDisk:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *args, **given: FullDisk(open_file(*args, **given)))
    with pytest.raises(OSError, match="BIRNN-E016.*pipe.*No space left") as caught:
        pipe.to_disk(tmp_path)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    now = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert now == before


def test_whichever_replacement_fails_the_old_pipeline_is_there(
    trained, make_examples, weights, same, tmp_path, monkeypatch
):
    pipe = trained.get_pipe("pipe")
    trained.to_disk(tmp_path)
    (tmp_path / "pipe" / "NOTES.md").write_text("not ours")
    cfg, before = srsly.json_dumps(pipe.cfg), weights(pipe.model)
    trained.update(make_examples(trained))
    (pipe.cfg["table"] if "table" in pipe.cfg else pipe.cfg)["new"] = "of another training"
    n_calls = 0

    def failing_at(n, original):
        def run(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls == n:
                raise OSError(errno.EIO, "Input/output error")
            return original(*args, **kwargs)

        return run

    for n in range(1, 100):
        n_calls = 0
        with monkeypatch.context() as patch:
            for name in ("replace", "rename"):
                patch.setattr(os, name, failing_at(n, getattr(os, name)))
            try:
                trained.to_disk(tmp_path)
                break
            except OSError as e:
                assert "BIRNN-E016" in str(e)
        loaded = spacy.load(tmp_path).get_pipe("pipe")
        assert same(weights(loaded.model), before) and srsly.json_dumps(loaded.cfg) == cfg
    assert n > 1
    loaded = spacy.load(tmp_path).get_pipe("pipe")
    assert same(weights(loaded.model), weights(pipe.model))
    assert {path.name for path in (tmp_path / "pipe").iterdir()} == {"model", "NOTES.md"}


# What the user's own code has set in torch


@contextmanager
def double_by_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


TORCH_SETTINGS = {
    "default-dtype": double_by_default,
    "default-device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference-mode": torch.inference_mode,
    "no-grad": torch.no_grad,
}


@pytest.mark.parametrize("setting", TORCH_SETTINGS)
def test_settings_of_torch_do_not_matter(
    case, trained_once, reload, make_examples, mixed_texts, weights, same, setting
):
    def train(nlp):
        fix_random_seed(0)
        nlp.update(make_examples(nlp), sgd=nlp.resume_training())
        return weights(nlp.get_pipe("pipe").model)

    def load_predict_and_train():
        nlp = reload(trained_once)
        found = [case.read(doc) for doc in nlp.pipe(mixed_texts)]
        docs = [nlp.make_doc(text) for text in mixed_texts]
        scores = scores_of(case, nlp, docs) if case.scores_labels else None
        return nlp, found, scores, train(nlp)

    expected = load_predict_and_train()
    with TORCH_SETTINGS[setting]():
        found = load_predict_and_train()
    assert found[1] == expected[1]
    np.testing.assert_array_equal(found[2], expected[2])
    assert same(found[3], expected[3])
    # What was loaded under the setting is of use without it
    assert same(train(found[0]), train(expected[0]))


# Settings of a trained component


IMPOSSIBLE = {
    "threshold": (1.5, -1, "0.5"),
    "confidence": ("yes",),
    "overwrite": ("yes",),
    "extend": (None,),
    "neg_prefix": (None, 1),
    "label_smoothing": (1.0, "0.1"),
    "class_weights": ({"TRAVEL": 0}, 2),
    "attention": (1,),
    "lookup": ("no",),
    "beam_width": (0, "3"),
    "max_chars": (-1,),
    "temperature": (0.0, float("nan"), "x"),
    "fitted_threshold": ("a", 2),
    "confidence_map": ([1, 2], "abc", [1.0, 1.0, float("inf")]),
}


def test_settings_are_checked_when_they_are_set_and_when_they_are_used(case, trained):
    pipe = trained.get_pipe("pipe")
    settings = [name for name in IMPOSSIBLE if name in pipe.cfg]
    assert settings
    for name in settings:
        before = getattr(pipe, name)
        for value in IMPOSSIBLE[name]:
            with pytest.raises(BirnnError, match=f"BIRNN-E001.*'{name}"):
                setattr(pipe, name, value)
            assert getattr(pipe, name) == before == pipe.cfg[name]
            pipe.cfg[name] = value
            with pytest.raises(BirnnError, match=f"BIRNN-E001.*'{name}"):
                trained("Anna flew")
            pipe.cfg[name] = before
        setattr(pipe, name, before)
    trained("Anna flew")


def test_a_setting_is_saved_and_one_that_is_overridden_at_load_counts(case, trained, tmp_path):
    pipe = trained.get_pipe("pipe")
    values = {"threshold": (0.25, 0.75), "overwrite": (True, False), "max_chars": (7, 9)}
    name = next(name for name in values if name in pipe.cfg)
    changed, overridden = values[name]
    # A number of NumPy is a number
    setattr(pipe, name, np.asarray(changed)[()])
    assert type(getattr(pipe, name)) is type(changed)
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert getattr(loaded.get_pipe("pipe"), name) == changed
    # What the config said at the saving was not the changed value, and is no override now
    default = trained.config["components"]["pipe"][name]
    value = not default if name == "overwrite" else overridden
    again = spacy.load(tmp_path, config={f"components.pipe.{name}": value})
    assert getattr(again.get_pipe("pipe"), name) == value
    again.to_disk(tmp_path)
    assert getattr(spacy.load(tmp_path).get_pipe("pipe"), name) == value


# A shared tok2vec


@pytest.fixture
def shared(case, tiny_tok2vec):
    """Makes a pipeline whose component listens to a shared tok2vec."""
    if not case.in_context:
        pytest.skip("it has no tok2vec")

    def make(width):
        nlp = spacy.blank("xx")
        nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
        listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": width}
        model = {**case.settings.get("model", {}), "tok2vec": listener}
        nlp.add_pipe(case.factory, name="pipe", config={**case.settings, "model": model})
        return nlp

    return make


def test_a_listener_of_another_width_is_named(shared, tiny_tok2vec, make_examples):
    nlp = shared(width=tiny_tok2vec["width"] + 2)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    found = f"{tiny_tok2vec['width'] + 2}, but gets some of width {tiny_tok2vec['width']}"
    with pytest.raises(BirnnError, match=f"BIRNN-E018.*{found}"):
        nlp.update(examples)


def test_rehearsal_with_a_shared_tok2vec_is_refused(case, shared, tiny_tok2vec, make_examples):
    skip_unless_it_scores_labels(case)
    nlp = shared(width=tiny_tok2vec["width"])
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.resume_training()
    with pytest.raises(BirnnError, match="BIRNN-E019.*pipe.*replace_listeners"):
        nlp.rehearse(examples)


def test_a_copy_that_is_made_in_inference_mode_can_be_trained(trained, make_examples):
    with torch.inference_mode():
        copied = deepcopy(trained)
    assert np.isfinite(copied.update(make_examples(copied), sgd=copied.resume_training())["pipe"])
