"""What `evaluation` counts, against spaCy's scorer and against cases worked out by hand."""

from itertools import product

import numpy as np
import pytest
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_birnn.evaluation import (
    compare_entities,
    count,
    count_by_label,
    count_by_seen,
    count_by_tags,
    document_counts,
    entity_confusion,
    entity_forms,
    f_score,
    predict,
    randomisation_test,
    threshold_curve,
    token_confusion,
)

VOCAB = Vocab()
WORDS = ["Anna", "flew", "to", "New", "York", "City", "with", "Acme"]


def example(gold, predicted, words=WORDS):
    docs = []
    for ents in (predicted, gold):
        doc = Doc(VOCAB, words=words)
        doc.set_ents([Span(doc, *ent) for ent in ents], default="outside")
        docs.append(doc)
    return Example(*docs)


def kinds(eg):
    return [
        (f.kind, f.annotated and f.annotated.text, f.predicted and f.predicted.text)
        for f in compare_entities(eg)
    ]


def test_each_error_has_a_kind():
    gold = [(0, 1, "PER"), (3, 6, "LOC"), (7, 8, "ORG")]
    assert kinds(example(gold, gold)) == [
        ("right", "Anna", "Anna"),
        ("right", "New York City", "New York City"),
        ("right", "Acme", "Acme"),
    ]
    eg = example(gold, [(0, 1, "ORG"), (1, 2, "ORG"), (4, 6, "LOC")])
    assert kinds(eg) == [
        ("label", "Anna", "Anna"),
        ("invented", None, "flew"),
        ("boundary", "New York City", "York City"),
        ("missed", "Acme", None),
    ]


def test_an_entity_is_in_one_pair():
    """That with which it shares the most."""
    eg = example([(3, 6, "LOC")], [(3, 4, "LOC"), (4, 6, "ORG")])
    assert kinds(eg) == [("invented", None, "New"), ("boundary", "New York City", "York City")]
    # Two that are annotated, and one that covers both: the right bounds come first
    eg = example([(3, 5, "LOC"), (5, 6, "LOC")], [(3, 6, "LOC")])
    assert kinds(eg) == [("boundary", "New York", "New York City"), ("missed", "City", None)]


def random_examples(n, rng):
    """Some with tokens that do not align, some where annotation is missing."""
    for _ in range(n):
        sides = []
        for _ in range(2):
            starts = sorted(rng.choice(9, size=4, replace=False).tolist())
            labels = rng.choice(["A", "B"], size=2).tolist()
            pairs = [starts[:2], starts[2:]]
            sides.append([(s, min(e, 8), x) for (s, e), x in zip(pairs, labels) if s < min(e, 8)])
        eg = example(*sides)
        if rng.random() < 0.3:
            missing = eg.reference[6:8]
            ents = [ent for ent in eg.reference.ents if ent.end <= 6]
            eg.reference.set_ents(ents, missing=[missing], default="outside")
        if rng.random() < 0.3:
            with eg.predicted.retokenize() as retokenizer:
                retokenizer.merge(eg.predicted[2:4])
            eg = Example(eg.predicted, eg.reference)
        yield eg
    eg = example([], [(0, 1, "A")])
    yield Example(eg.predicted, Doc(eg.reference.vocab, words=WORDS))


def test_counts_are_those_of_the_scorer():
    examples = list(random_examples(300, np.random.default_rng(0)))
    findings = [found for eg in examples for found in compare_entities(eg)]
    scores = get_ner_prf(examples)
    counts = count(findings)
    assert len({found.kind for found in findings}) == 5
    assert [counts.p, counts.r, counts.f] == pytest.approx([scores[f"ents_{x}"] for x in "prf"])
    by_label = count_by_label(findings)
    assert list(by_label) == ["A", "B"]
    for label, counts in by_label.items():
        expected = scores["ents_per_type"][label]
        assert [counts.p, counts.r, counts.f] == pytest.approx([expected[x] for x in "prf"])


def chunks(tags):
    """The chunks of IOB2 tags as conlleval reads them (Tjong Kim Sang and Buchholz 2000): one goes
    on with I- of the same type, and anything else ends it."""
    found, start, kind = set(), 0, None
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, label = tag.partition("-")
        if kind is not None and (prefix != "I" or label != kind):
            found.add((start, i, kind))
            kind = None
        if prefix != "O" and kind is None:
            start, kind = i, label
    return found


def iob(doc):
    return [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc]


def test_conlleval_agrees_where_everything_is_annotated():
    spans = [(i, j, label) for i in range(8) for j in (i + 1, i + 2) if j < 9 for label in "AB"]
    rng = np.random.default_rng(0)
    for _ in range(200):
        sides = []
        for _ in range(2):
            ents, end = [], 0
            for start, stop, label in (spans[i] for i in sorted(rng.choice(len(spans), 6))):
                if start >= end:
                    ents.append((start, stop, label))
                    end = stop
            sides.append(ents)
        eg = example(*sides)
        gold, predicted = chunks(iob(eg.reference)), chunks(iob(eg.predicted))
        by_tags = count_by_tags([eg])
        assert by_tags == (len(gold & predicted), len(predicted), len(gold))
        assert by_tags == count(compare_entities(eg))


def test_conlleval_differs_where_annotation_is_missing_or_does_not_align():
    eg = example([(0, 1, "PER")], [(0, 1, "PER"), (3, 5, "LOC")])
    eg.reference.set_ents([Span(eg.reference, 0, 1, "PER")], missing=[eg.reference[3:5]])
    assert count(compare_entities(eg)) == (1, 1, 1)
    assert count_by_tags([eg]) == (1, 2, 1)
    gold = Doc(VOCAB, words=["New", "York", "-based"], spaces=[True, False, False])
    gold.set_ents([Span(gold, 0, 2, "LOC")], default="outside")
    coarse = Example(Doc(VOCAB, words=["New", "York-based"]), gold)
    assert count(compare_entities(coarse)) == (0, 0, 1)
    assert count_by_tags([coarse]) == (0, 0, 0)


def test_the_confusion_adds_up_to_the_counts():
    findings = [
        found
        for eg in random_examples(100, np.random.default_rng(1))
        for found in compare_entities(eg)
    ]
    pairs = entity_confusion(findings)
    for label, counts in count_by_label(findings).items():
        assert pairs[label, label] == counts.right
        assert sum(n for (gold, _), n in pairs.items() if gold == label) == counts.annotated
        assert sum(n for (_, found), n in pairs.items() if found == label) == counts.predicted


def test_several_tokens_for_one_that_is_annotated(nlp):
    words = ["Anna", "sleeps"]
    gold = Doc(nlp.vocab, words=words, tags=["N", "V"])
    predicted = Doc(nlp.vocab, words=["An", "na", "sleeps"], spaces=[False, True, False])
    for token in predicted:
        token.tag_ = "N"
    assert token_confusion([Example(predicted, gold)], "tag") == {("N", "N"): 1, ("V", "N"): 1}


def test_seen_entities_are_those_whose_text_training_has():
    gold, predicted = [(0, 1, "PER"), (3, 6, "LOC"), (7, 8, "ORG")], [(0, 1, "PER"), (3, 5, "LOC")]
    trained_on = example([(0, 1, "ORG"), (1, 3, "LOC")], [], words=["NEW", "york", "city"])
    trained_on.reference.set_ents([Span(trained_on.reference, 0, 3, "LOC")])
    forms = entity_forms([trained_on.reference, example([(0, 1, "ORG")], []).reference])
    assert forms == {"new york city", "anna"}
    parts = count_by_seen(compare_entities(example(gold, predicted)), forms)
    assert parts == {"seen": (1, 1, 2), "unseen": (0, 1, 1)}


@pytest.fixture
def trained(nlp, tiny_tok2vec, make_examples, fit):
    names = ("birnn_tagger", "birnn_morphologizer", "birnn_ner", "birnn_textcat_multilabel")
    for name in names:
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.add_pipe("birnn_lemmatizer")
    examples = make_examples(nlp)
    fit(nlp, examples, steps=3)
    return nlp, examples


@pytest.mark.parametrize("other_tokens", [False, True])
def test_the_counts_of_documents_are_those_of_the_scores(trained, other_tokens):
    nlp, examples = trained
    if other_tokens:
        for eg in examples:
            words = [part for word in eg.y for part in (word.text[:3], word.text[3:]) if part]
            spaces = [bool(eg.y.char_span(0, 1)) and False] * len(words)
            eg.predicted = Doc(nlp.vocab, words=words, spaces=spaces)
    done = predict(nlp, examples)
    scores = Scorer(nlp).score(done)
    counts = document_counts(nlp, done)
    assert set(counts) == {
        *("ents_f", "tag_acc", "pos_acc", "morph_acc", "lemma_acc", "cats_micro_f")
    }
    for name, found in counts.items():
        assert found.shape == (len(examples), 3)
        assert f_score(found.sum(axis=0)) == pytest.approx(scores[name]), name


def test_exclusive_categories(nlp, tiny_tok2vec, make_examples, fit):
    nlp.add_pipe("birnn_textcat", config={"model": {"tok2vec": tiny_tok2vec}})
    examples = make_examples(nlp)
    fit(nlp, examples, steps=2)
    for eg, label in zip(examples, ("TRADE", "SLOGAN", "SLOGAN")):
        eg.reference.cats = {x: float(x == label) for x in ("TRAVEL", "TRADE", "SLOGAN")}
    done = predict(nlp, examples)
    counts = document_counts(nlp, done)
    assert list(counts) == ["cats_micro_f"]
    score = Scorer(nlp).score(done)["cats_micro_f"]
    assert 0 < score < 1
    assert f_score(counts["cats_micro_f"].sum(axis=0)) == pytest.approx(score)


def test_the_documents_stay_as_they_are(trained):
    nlp, examples = trained
    predict(nlp, examples)
    threshold_curve(nlp, examples, "birnn_ner")
    assert not any(eg.predicted.ents or eg.predicted.has_annotation("TAG") for eg in examples)


def test_the_curve_is_that_of_the_component_with_each_threshold(trained, randomize):
    nlp, examples = trained
    examples *= 3
    pipe = nlp.get_pipe("birnn_ner")
    randomize(pipe.model, scale=0.2, docs=[eg.predicted for eg in examples])
    pipe.confidence = False
    curve = threshold_curve(nlp, examples, "birnn_ner")
    assert (pipe.threshold, pipe.confidence) == (None, False)
    assert len({counts for _, counts in curve}) > 3
    for threshold, counts in curve:
        pipe.threshold = threshold
        done = predict(nlp, examples)
        assert counts == count(f for eg in done for f in compare_entities(eg)), threshold


def brute_force(first, second):
    """The share of all ways to change sides with a difference as large."""
    observed = abs(f_score(first.sum(axis=0)) - f_score(second.sum(axis=0)))
    found = []
    for sides in product([False, True], repeat=len(first)):
        swap = np.array(sides)[:, None]
        a = np.where(swap, second, first).sum(axis=0)
        b = np.where(swap, first, second).sum(axis=0)
        found.append(abs(f_score(a) - f_score(b)) >= observed - 1e-12)
    return np.mean(found)


def test_the_test_of_a_difference_agrees_with_all_ways_to_change_sides():
    rng = np.random.default_rng(0)
    annotated = rng.integers(0, 5, size=10)
    for quality in (0.2, 0.5, 0.8):
        systems = []
        for share in (quality, 0.7):
            predicted = rng.integers(0, 5, size=10)
            right = rng.binomial(np.minimum(annotated, predicted), share)
            systems.append(np.stack([right, predicted, annotated], axis=1))
        difference, p = randomisation_test(*systems, trials=20000)
        expected = f_score(systems[0].sum(axis=0)) - f_score(systems[1].sum(axis=0))
        assert difference == pytest.approx(expected)
        assert p == pytest.approx(brute_force(*systems), abs=0.015)
        assert randomisation_test(*systems, trials=20000) == (difference, p)


def test_the_same_system_twice_does_not_differ():
    counts = np.array([[1, 2, 3], [2, 2, 2]])
    assert randomisation_test(counts, counts, trials=100) == (0.0, 1.0)
