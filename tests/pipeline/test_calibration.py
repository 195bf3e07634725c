"""Probabilities that hold."""

from itertools import product

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_birnn import crf
from spacy_birnn.crf import SequenceScores
from spacy_birnn.pipeline.calibration import Decisions, calibrate, reliability, report
from spacy_birnn.pipeline.fitting import (
    best_threshold,
    calibrated,
    fit_beta,
    fit_temperature,
    uncalibrated,
)

few = pytest.mark.filterwarnings("ignore:.*BIRNN-W00[67]")


def random_scores(rng, lengths=(3, 0, 6, 9), n=4, scale=2.0):
    def parts(*shape):
        return rng.normal(size=shape, scale=scale)

    return SequenceScores(
        parts(sum(lengths), n), np.array(lengths), parts(n, n), parts(n), parts(n)
    )


# Fitting


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_a_search_over_a_grid(truth):
    """Of labels that are drawn from the scores at a temperature."""
    rng = np.random.default_rng(0)
    scores = random_scores(rng, lengths=[1] * 1000)
    p = crf.posterior(scores.tempered(truth)).marginals
    drawn = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    gold = np.eye(4, dtype=bool)[drawn]

    def loss(temperature):
        return crf.loss(scores.tempered(temperature), gold)[0]

    grid = np.geomspace(0.1, 10, 100)
    best = grid[np.argmin([loss(t) for t in grid])]
    assert fit_temperature(loss) == pytest.approx(best, rel=0.06)
    assert best == pytest.approx(truth, rel=0.15)


def test_without_data_the_temperature_is_one():
    assert fit_temperature(lambda temperature: 0.0) == pytest.approx(1, rel=0.01)


def test_tempered_scores_are_divided_and_decoded_alike():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = random_scores(rng)
        tempered = scores.tempered(2.5)
        for part, expected in zip(tempered.chain, scores.chain):
            assert np.array_equal(part, expected / 2.5)
        assert np.array_equal(crf.viterbi(tempered), crf.viterbi(scores))
    softmax = SequenceScores(scores.emissions, scores.lengths).tempered(2.0)
    assert softmax.transitions is None
    assert np.array_equal(softmax.emissions, scores.emissions / 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_has_the_best_expected_f1(seed):
    p = np.random.default_rng(seed).beta(0.5, 1, size=30)
    total = p.sum()

    def expected_f1(threshold):
        return 2 * p[p >= threshold].sum() / ((p >= threshold).sum() + total)

    threshold = best_threshold(p)
    best = max(expected_f1(t) for t in p)
    assert expected_f1(threshold) == pytest.approx(best)
    assert threshold == pytest.approx(best / 2)


def test_the_threshold_of_nothing():
    assert best_threshold(np.array([])) == 0.5


def test_beta_calibration_finds_the_map_that_the_data_has():
    rng = np.random.default_rng(0)
    p = rng.random(20000)
    truth = [0.7, 1.5, -0.6]
    right = rng.random(len(p)) < calibrated(p, truth)
    assert fit_beta(p, right) == pytest.approx(truth, abs=0.1)


def test_beta_calibration_with_little_data_and_with_data_that_contradicts():
    assert fit_beta(np.array([]), np.array([], dtype=bool)) == [1, 1, 0]
    rng = np.random.default_rng(0)
    p = rng.random(500)
    for right in (p < 0.5, np.ones(500, bool), np.zeros(500, bool), p > 0.5):
        a, b, c = fit_beta(p, right)
        assert a >= 0 and b >= 0 and np.isfinite(c)
    assert fit_beta(p, p < 0.5)[:2] == [0, 0]
    extremes = fit_beta(np.array([0.0, 1.0, 1.0]), np.array([True, False, True]))
    assert np.isfinite(extremes).all()


def test_the_map_rises_and_has_an_inverse():
    values = np.linspace(0.02, 0.98, 50)
    for beta in ([0.8, 1.4, -0.8], [1.3, 1.0, 0.4], None):
        p = uncalibrated(values, beta)
        assert (np.diff(p) > 0).all()
        np.testing.assert_allclose(calibrated(p, beta), values, atol=1e-9)
        assert (calibrated(p, beta) >= values).all()
    assert calibrated(np.array([0.0, 1.0]), [0.8, 1.4, -0.8]) == pytest.approx([0, 1], abs=1e-6)


def test_the_reliability_table():
    confidence = np.array([0.05, 0.05, 0.5, 1.0, 0.95, 0.95])
    right = np.array([False, True, True, True, True, False])
    found = report(Decisions(confidence, right), {"temperature": 1.5, "fitted_threshold": 0.4})
    assert found.count.tolist() == [2] + [0] * 6 + [1] + [0] * 6 + [3]
    assert found.expected[[0, 7, 14]] == pytest.approx([0.05, 0.5, 2.9 / 3])
    assert found.observed[[0, 7, 14]] == pytest.approx([0.5, 1, 2 / 3])
    assert found.ece == pytest.approx((2 * 0.45 + 0.5 + 3 * (2.9 / 3 - 2 / 3)) / 6)
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.5**2 + 0 + 0.05**2 + 0.95**2) / 6)
    text = str(found)
    assert "0.93-1.00" in text and "0.07-0.13" not in text
    assert f"{found.ece:.4f}" in text and "temperature 1.500" in text and "threshold 0.400" in text
    nothing = report(Decisions(np.array([]), np.array([])), {"temperature": 1.0})
    assert nothing.ece == nothing.brier == 0 and "threshold" not in str(nothing)


# Components


@pytest.fixture(scope="module")
def trained_once(tiny_tok2vec, fit, make_examples):
    nlp = spacy.blank("xx")
    for name in ("birnn_tagger", "birnn_ner", "birnn_textcat"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    fit(nlp, make_examples(nlp), steps=25)
    return nlp


@pytest.fixture
def trained(trained_once, reload):
    return reload(trained_once)


@pytest.fixture(scope="module")
def held_out(make_examples):
    """The sentences of the training data, but every third word is a new one."""

    def make(nlp, **annotation):
        examples = []
        for k, eg in enumerate(make_examples(nlp) * 3):
            words = [word(t.i) if (t.i + k) % 3 == 0 else t.text for t in eg.y]
            given = {
                "tags": [t.tag_ for t in eg.y],
                "entities": [t.ent_iob_ + ("-" + t.ent_type_) * (t.ent_type != 0) for t in eg.y],
                "cats": eg.y.cats,
            }
            doc = Doc(nlp.vocab, words=words)
            examples.append(Example.from_dict(doc, {**given, **annotation}))
        return examples

    return make


def settings_of(nlp):
    return {name: dict(pipe.cfg) for name, pipe in nlp.pipeline}


@few
def test_all_components_with_annotation_are_calibrated_or_those_that_are_named(trained, held_out):
    before = settings_of(trained)
    reports = calibrate(trained, held_out(trained), pipes=["birnn_tagger"])
    assert list(reports) == ["birnn_tagger"]
    changed = {name for name, cfg in settings_of(trained).items() if cfg != before[name]}
    assert changed == {"birnn_tagger"}
    without = held_out(trained, cats={})
    assert set(calibrate(trained, without)) == {"birnn_tagger", "birnn_ner"}


@few
def test_calibration_reports_what_reliability_then_says(trained, held_out):
    examples = held_out(trained)
    copies = [eg.x.to_bytes() for eg in examples]
    before = reliability(trained, examples)
    assert before["birnn_ner"].threshold is None
    reports = calibrate(trained, examples)
    after = reliability(trained, examples)
    for name in ("birnn_tagger", "birnn_ner", "birnn_textcat"):
        assert str(after[name]) == str(reports[name])
        assert str(before[name]) != str(after[name])
        assert after[name].temperature == trained.get_pipe(name).cfg["temperature"]
    assert [eg.x.to_bytes() for eg in examples] == copies
    # It starts from the model's own scores, whatever was fitted before
    assert str(calibrate(trained, examples)["birnn_ner"]) == str(reports["birnn_ner"])


@few
def test_components_get_the_documents_as_those_before_leave_them(
    nlp, held_out, make_examples, fit, tiny_tok2vec
):
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": listener}})
    fit(nlp, make_examples(nlp))
    examples = held_out(nlp)
    docs = list(nlp.pipe([eg.x.copy() for eg in examples]))
    right = [t.tag_ == gold.tag_ for doc, eg in zip(docs, examples) for t, gold in zip(doc, eg.y)]
    found = calibrate(nlp, examples)["birnn_tagger"]
    assert (found.observed * found.count).sum() == pytest.approx(sum(right))
    assert found.count.sum() == len(right) > sum(right) > 0


def test_documents_without_annotation_are_refused(trained, make_examples):
    before = settings_of(trained)
    bare = [Example.from_dict(eg.x, {}) for eg in make_examples(trained)]
    with pytest.raises(ValueError, match="BIRNN-E028.*'birnn_tagger', 'birnn_ner'.* 3 documents"):
        calibrate(trained, bare)
    only_tags = [
        Example.from_dict(eg.x, {"tags": [t.tag_ for t in eg.y]}) for eg in make_examples(trained)
    ]
    for function in (calibrate, reliability):
        with pytest.raises(ValueError, match="BIRNN-E028.*'birnn_ner'"):
            function(trained, only_tags, pipes=["birnn_tagger", "birnn_ner"])
    # Nor is anything written of the component that could have been calibrated
    assert settings_of(trained) == before


def test_what_cannot_be_calibrated_is_refused(trained, held_out):
    trained.add_pipe("sentencizer")
    for name in ("sentencizer", "absent"):
        with pytest.raises(ValueError, match=f"BIRNN-E029.*'{name}'.*birnn_tagger, birnn_ner"):
            calibrate(trained, held_out(trained), pipes=["birnn_ner", name])
    with pytest.raises(ValueError, match="BIRNN-E028.*any component.*0 documents"):
        calibrate(spacy.blank("xx"), [])


def test_one_document_is_reported(trained, held_out):
    with pytest.warns(UserWarning, match="BIRNN-W006.*birnn_tagger.* 9 predictions in 1 annotated"):
        calibrate(trained, held_out(trained)[:1], pipes=["birnn_tagger"])
    assert 0.1 < trained.get_pipe("birnn_tagger").cfg["temperature"] < 10


@few
def test_the_training_data_is_reported(trained, make_examples):
    match = r"BIRNN-W007.*'birnn_tagger' is right in 100.0%.*temperature 0\.\d\d"
    with pytest.warns(UserWarning, match=match):
        calibrate(trained, make_examples(trained), pipes=["birnn_tagger"])


@few
def test_labels_that_a_component_does_not_have_are_reported_and_count_as_wrong(trained, held_out):
    examples = held_out(trained)
    before = calibrate(trained, examples, pipes=["birnn_tagger"])["birnn_tagger"]
    for eg in examples:
        eg.y[0].tag_ = "XYZ"
        eg.y.set_ents([Span(eg.y, 0, 1, label="LAW")], default="outside")
    with pytest.warns(UserWarning) as record:
        reports = calibrate(trained, examples, pipes=["birnn_tagger", "birnn_ner"])
    texts = [str(w.message) for w in record if "W008" in str(w.message)]
    assert len(texts) == 2
    assert "'birnn_tagger'" in texts[0] and "have: XYZ." in texts[0]
    assert "'birnn_ner'" in texts[1] and "have: LAW." in texts[1]
    found = reports["birnn_tagger"]
    assert found.count.sum() == before.count.sum()
    assert (found.observed * found.count).sum() < (before.observed * before.count).sum()
    # Its tags are as probable as that now
    expected, observed = (part @ found.count for part in (found.expected, found.observed))
    assert expected == pytest.approx(observed, rel=0.1)
    assert (reports["birnn_ner"].observed == 0).all() and reports["birnn_ner"].count.sum() > 0


# The callback


def test_the_callback_calibrates_and_returns_the_pipeline(trained, held_out):
    make = spacy.registry.callbacks.get("spacy-birnn.Calibrate.v1")
    with pytest.warns(UserWarning, match="BIRNN-W006"):
        assert make(held_out, ["birnn_tagger"])(trained) is trained
    assert trained.get_pipe("birnn_tagger").cfg["temperature"] != 1
    assert trained.get_pipe("birnn_ner").cfg["temperature"] == 1


# Classifiers


@few
def test_which_choices_of_a_classifier_count(tiny_tok2vec, randomize):
    """Of exclusive classes those whose right one is known; of others each label that is known."""
    cats = [{"A": 1.0, "B": 0.0, "C": 0.0}, {"A": 0.0, "B": 1.0}, {"C": 0.0}, {}]
    for name, n_choices in (("birnn_textcat", 2), ("birnn_textcat_multilabel", 6)):
        nlp = spacy.blank("xx")
        textcat = nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
        examples = [
            Example.from_dict(nlp.make_doc(word(i)), {"cats": c}) for i, c in enumerate(cats)
        ]
        for label in "ABC":
            textcat.add_label(label)
        nlp.initialize(lambda examples=examples: examples)
        randomize(textcat.model)
        found = reliability(nlp, examples)[name]
        assert found.count.sum() == n_choices
        docs = list(nlp.pipe([eg.x.copy() for eg in examples]))
        if name == "birnn_textcat":
            confidence = [max(doc.cats.values()) for doc in docs[:2]]
            right = [doc.cats[label] == max(doc.cats.values()) for doc, label in zip(docs, "AB")]
        else:
            pairs = [(doc.cats[lb], value) for doc, c in zip(docs, cats) for lb, value in c.items()]
            confidence = [max(p, 1 - p) for p, _ in pairs]
            right = [(p > 0.5) == value for p, value in pairs]
        expected = report(Decisions(np.array(confidence), np.array(right)), {"temperature": 1.0})
        assert str(found) == str(expected)


# Entities


def word(i):
    # No digits: to the embedding all numbers of a form are one word
    return chr(97 + i % 26) + (chr(65 + i // 26), chr(97 + i // 26))[i % 2] * (1 + i % 5)


@pytest.fixture
def random_ner(tiny_tok2vec, randomize):
    def make(scheme="BILUO", **settings):
        nlp = spacy.blank("xx")
        config = {"scheme": scheme, "model": {"tok2vec": tiny_tok2vec}, **settings}
        ner = nlp.add_pipe("birnn_ner", config=config)
        for label in ("GPE", "ORG"):
            ner.add_label(label)
        nlp.initialize()
        words = [word(i) for i in range(200)]
        docs = [
            Doc(nlp.vocab, words=words[i : i + n]) for n in (1, 5, 25) for i in range(0, 200, n)
        ]
        ner.model.begin_update(docs)
        randomize(ner.model, 0.5, docs)
        return nlp

    return make


def found_in(nlp, n=1000):
    doc = nlp(Doc(nlp.vocab, words=[word(i % 200) for i in range(n)]))
    return [(ent.start, ent.end, ent.label_, ent._.confidence) for ent in doc.ents]


def test_a_threshold_for_each_label(random_ner):
    nlp = random_ner(threshold={"GPE": 0.1, "ORG": 0.3})
    ner = nlp.get_pipe("birnn_ner")
    cfg, head = ner.cfg, ner.model.get_ref("output_layer")
    # So that neither label is everywhere
    is_org = np.array([name.endswith("ORG") for name in ner.tag_names])
    head.set_param("b", head.get_param("b") + is_org.astype("f"))
    both = found_in(nlp)
    assert {label for _, _, label, _ in both} == {"GPE", "ORG"}
    assert 0.1 <= min(p for *_, label, p in both if label == "GPE") < 0.3
    assert 0.3 <= min(p for *_, label, p in both if label == "ORG")
    cfg["threshold"] = {"GPE": 1.0, "ORG": 0.3}
    alone = found_in(nlp)
    # One that is not set does not stand in the way of another
    assert {ent for ent in both if ent[2] == "ORG"} <= set(alone)
    assert {label for _, _, label, _ in alone} == {"ORG"}
    cfg["threshold"] = 0.3
    assert {ent for ent in found_in(nlp) if ent[2] == "ORG"} <= set(alone)


@pytest.mark.parametrize(
    "value", [float("nan"), 50, -1, True, "0.5", [0.5], {"GPE": "x"}, {"GPE": None}], ids=repr
)
def test_an_impossible_threshold_is_refused_whenever_it_is_set(random_ner, value):
    nlp = random_ner()
    nlp.get_pipe("birnn_ner").cfg["threshold"] = value
    with pytest.raises(ValueError, match="BIRNN-E001.*threshold"):
        nlp("one two")


def test_a_threshold_above_all_confidences_sets_nothing(random_ner):
    nlp = random_ner(threshold=0.9)
    assert found_in(nlp)
    # This map ends at 0.62
    nlp.get_pipe("birnn_ner").cfg["confidence_map"] = [1.0, 0.0, 0.5]
    assert found_in(nlp) == []


@few
def test_initialization_makes_a_calibration_void(trained, held_out, make_examples):
    before = settings_of(trained)
    calibrate(trained, held_out(trained))
    assert settings_of(trained) != before
    trained.initialize(lambda: make_examples(trained))
    assert settings_of(trained) == before


def test_labels_without_a_threshold_of_their_own_have_the_fitted_one(random_ner):
    nlp = random_ner(threshold={"GPE": 0.4})
    cfg = nlp.get_pipe("birnn_ner").cfg
    for fitted in (None, 0.2):
        cfg.update(threshold={"GPE": 0.4}, fitted_threshold=fitted)
        found = found_in(nlp)
        cfg["threshold"] = {"GPE": 0.4, "ORG": fitted or 0.5}
        assert found_in(nlp) == found != []


def test_the_fitted_threshold_is_the_default(random_ner):
    nlp = random_ner()
    cfg = nlp.get_pipe("birnn_ner").cfg
    best = found_in(nlp)
    cfg["fitted_threshold"] = 0.25
    fitted = found_in(nlp)
    assert fitted != best and min(p for *_, p in fitted) >= 0.25
    cfg.update(threshold=0.25, fitted_threshold=None)
    assert found_in(nlp) == fitted
    cfg.update(threshold=0.5, fitted_threshold=0.25)
    assert min(p for *_, p in found_in(nlp)) >= 0.5


def test_a_threshold_for_a_label_that_there_is_not_is_refused(random_ner):
    match = "BIRNN-E027.*'birnn_ner'.*'LAW'.*GPE, ORG"
    with pytest.raises(ValueError, match=match):
        random_ner(threshold={"LAW": 0.5})
    nlp = random_ner()
    nlp.get_pipe("birnn_ner").cfg["threshold"] = {"GPE": 0.5, "LAW": 0.5}
    with pytest.raises(ValueError, match=match):
        nlp("w1 w2")


@pytest.mark.parametrize("threshold", [{"GPE": 1.5}, {"GPE": -0.1}])
def test_an_impossible_threshold_of_a_label_is_named(nlp, threshold):
    with pytest.raises(ValueError, match="BIRNN-E001.*'threshold.GPE'"):
        nlp.add_pipe("birnn_ner", config={"threshold": threshold})


def test_the_config_takes_no_other_threshold(nlp):
    with pytest.raises(ValueError, match="threshold"):
        nlp.add_pipe("birnn_ner", config={"threshold": ["GPE", 0.5]})


@few
@pytest.mark.parametrize("scheme", ["BILUO", "BIO"])
def test_confidence_is_mapped_from_the_tempered_probability(random_ner, scheme):
    nlp = random_ner(scheme)
    ner = nlp.get_pipe("birnn_ner")
    ner.cfg.update(temperature=1.7, confidence_map=[0.8, 1.4, -0.8], fitted_threshold=0.2)
    doc = nlp(Doc(nlp.vocab, words=["w1", "w2", "w3"]))
    names, raw = ner.scheme, ner.constrain(ner.model.predict([doc]))
    total, of_span = 0.0, {}
    for tags in product(range(names.n_tags), repeat=3):
        score = raw.emissions[range(3), tags].sum() + raw.start[tags[0]] + raw.end[tags[-1]]
        score += raw.transitions[tags[:-1], tags[1:]].sum()
        total += np.exp(score / 1.7)
        for span in names.decode(np.array(tags)) if score > -np.inf else ():
            of_span[span] = of_span.get(span, 0.0) + np.exp(score / 1.7)
    spans = {(s.start, s.end, ner.labels[s.label]): p / total for s, p in of_span.items()}
    assert doc.ents
    for ent in doc.ents:
        p = spans[ent.start, ent.end, ent.label_]
        assert ent._.confidence == pytest.approx(calibrated(p, [0.8, 1.4, -0.8]), abs=1e-5)
        assert ent._.confidence >= 0.2


@few
@pytest.mark.parametrize("scheme", ["BILUO", "BIO"])
def test_which_entities_count_and_are_right(random_ner, scheme):
    """Those where all is annotated, and that were not there before."""
    nlp = random_ner(scheme)
    words = [word(i) for i in range(150)]
    found = nlp(Doc(nlp.vocab, words=words))
    ents = list(found.ents)
    assert len(ents) > 10

    def count(doc, reference):
        one = reliability(nlp, [Example(doc, reference)])["birnn_ner"]
        return one.count.sum(), round((one.count * one.observed).sum())

    def fresh():
        return Doc(nlp.vocab, words=words)

    assert count(fresh(), found) == (len(ents), len(ents))
    half = fresh()
    half.set_ents(ents[::2], default="outside")
    assert count(fresh(), half) == (len(ents), len(ents[::2]))
    longer = fresh()
    longer.set_ents([Span(longer, e.start, e.end, "LAW") for e in ents[:1]], default="outside")
    with pytest.warns(UserWarning, match="BIRNN-W008.*LAW"):
        assert count(fresh(), longer) == (len(ents), 0)
    partial = fresh()
    missing = partial[ents[3].start : ents[3].end]
    partial.set_ents(ents[:3] + ents[4:], missing=[missing], default="outside")
    assert count(fresh(), partial) == (len(ents) - 1, len(ents) - 1)
    given = fresh()
    given.set_ents(ents[:4], default="missing")
    n, n_right = count(given, found)
    assert n == n_right == len(nlp(given.copy()).ents) - 4


@few
def test_after_calibration_the_threshold_is_half_of_the_expected_f1(random_ner):
    nlp = random_ner()
    ner = nlp.get_pipe("birnn_ner")
    docs = [Doc(nlp.vocab, words=[word((i * k) % 200) for i in range(20)]) for k in range(1, 30)]
    examples = []
    for i, doc in enumerate(docs):
        reference = doc.copy()
        found = nlp(doc.copy()).ents
        ents = [Span(reference, e.start, e.end, e.label_) for e in found]
        reference.set_ents(ents[i % 2 :: 2], default="outside")
        examples.append(Example(doc, reference))
    fitted = calibrate(nlp, examples)["birnn_ner"]
    assert ner.cfg["fitted_threshold"] == fitted.threshold < 0.5
    confidence = [ent._.confidence for eg in examples for ent in nlp(eg.x.copy()).ents]
    assert len(confidence) == fitted.count.sum() and min(confidence) >= fitted.threshold
    ner.cfg["threshold"] = 0.0
    every = [ent._.confidence for eg in examples for ent in nlp(eg.x.copy()).ents]
    expected_f1 = 2 * sum(confidence) / (len(confidence) + sum(every))
    assert fitted.threshold == pytest.approx(expected_f1 / 2, rel=0.02)
