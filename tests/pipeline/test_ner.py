import json
import pickle
import warnings
from itertools import product

import numpy as np
import pytest
import spacy
from spacy.pipeline.functions import merge_entities
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import fix_random_seed

from spacy_birnn import crf
from spacy_birnn.errors import BirnnError
from spacy_birnn.pipeline.confidence import get_confidence
from spacy_birnn.pipeline.labels import EntitySpan, Scheme
from spacy_birnn.pipeline.spans import DocChain

SCHEMES = ("BILUO", "BIO")
LABELS = ["GPE", "ORG"]
# Random transitions tend to make one long entity; without them there are many
MANY = {"scheme": "BIO", "model": {"output": "softmax"}}


def word(i):
    # No digits: to the embedding all numbers of a form are one word
    return chr(97 + i % 26) + (chr(65 + i // 26), chr(97 + i // 26))[i % 2] * (1 + i % 5)


@pytest.fixture(scope="module")
def random_ner(tiny_tok2vec, randomize):
    """A pipeline whose weights mean nothing, so that it finds entities everywhere."""

    def make(labels=LABELS, scale=1.0, threshold=None, **settings):
        fix_random_seed(0)
        nlp = spacy.blank("xx")
        model = {**settings.pop("model", {}), "tok2vec": tiny_tok2vec}
        ner = nlp.add_pipe("birnn_ner", config={**settings, "threshold": threshold, "model": model})
        for label in labels:
            ner.add_label(label)
        nlp.initialize()
        # Words that training never showed are all alike
        words = [word(i) for i in range(200)]
        docs = [
            Doc(nlp.vocab, words=words[i : i + n]) for n in (1, 5, 25) for i in range(0, 200, n)
        ]
        ner.model.begin_update(docs)
        randomize(ner.model, scale, docs)
        return nlp

    return make


def random_words(n):
    return [word(i) for i in np.random.randint(0, 200, n)]


def spans(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


# Decoding


@pytest.mark.parametrize("output", ["crf", "softmax"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_illegal_sequence_never_comes_out(random_ner, scheme, output):
    nlp = random_ner(scheme=scheme, model={"output": output})
    ner = nlp.get_pipe("birnn_ner")
    legal = ner.scheme.legal()
    docs = [Doc(nlp.vocab, words=random_words(n)) for n in (1, 2, 7, 90, 900, 2000)]
    scores = ner.constrain(ner.model.predict(docs))
    decoded = np.split(crf.viterbi(scores), np.cumsum(scores.lengths)[:-1])
    for tags, doc in zip(decoded, docs):
        assert legal.start[tags[0]] and legal.end[tags[-1]]
        assert legal.transitions[tags[:-1], tags[1:]].all()
        expected = [(s.start, s.end, LABELS[s.label]) for s in ner.scheme.decode(tags)]
        assert spans(nlp(doc)) == expected
    assert {ent.label_ for doc in docs for ent in doc.ents} == set(LABELS)
    # Without the constraint these weights do produce illegal sequences
    free = crf.viterbi(ner.model.predict(docs[-1:]))
    assert not legal.transitions[free[:-1], free[1:]].all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_entity_neither_begins_nor_ends_with_white_space(random_ner, scheme):
    nlp = random_ner(scheme=scheme, model={"output": "softmax"})
    words = random_words(1200)
    words[::3] = [" \n"] * 400
    doc = nlp(Doc(nlp.vocab, words=words))
    assert len(doc.ents) > 50
    assert [ent for ent in doc.ents if ent[0].is_space or ent[-1].is_space] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_entity_does_not_cross_the_start_of_a_sentence(random_ner, scheme):
    nlp = random_ner(scheme=scheme, model={"output": "softmax"})
    words = random_words(600)
    without = nlp(Doc(nlp.vocab, words=words))
    assert any(ent.start % 4 + len(ent) > 4 for ent in without.ents)
    doc = nlp(Doc(nlp.vocab, words=words, sent_starts=[i % 4 == 0 for i in range(600)]))
    assert len(doc.ents) > 50
    assert [ent for ent in doc.ents if ent.start % 4 + len(ent) > 4] == []


def preset_document(nlp):
    """Entities with and without a label that the model knows, with ids, side by side and alone; and
    blocked tokens."""
    doc = Doc(nlp.vocab, words=random_words(40))
    known = Span(doc, 3, 6, label="GPE", kb_id="Q1", span_id="one")
    beside = Span(doc, 6, 7, label="GPE", kb_id="Q2")
    unknown = Span(doc, 12, 15, label="LAW", kb_id="Q3", span_id="three")
    at_the_end = Span(doc, 38, 40, label="ORG")
    doc.set_ents(
        [known, beside, unknown, at_the_end], blocked=[doc[20:24], doc[30:31]], default="missing"
    )
    return doc


def ids(doc):
    return {(e.start, e.end, e.label_, e.kb_id_, e.id_) for e in doc.ents}


@pytest.mark.parametrize("confidence", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_that_are_set_stand_and_the_others_are_found_around_them(
    random_ner, scheme, confidence
):
    nlp = random_ner(scheme=scheme, confidence=confidence)
    found = set()
    for _ in range(10):
        doc = preset_document(nlp)
        before = ids(doc)
        nlp.get_pipe("birnn_ner")(doc)
        assert before <= ids(doc)
        new = ids(doc) - before
        taken = [*range(3, 7), *range(12, 15), *range(20, 24), 30, 38, 39]
        assert not any(i in taken for ent in new for i in range(ent[0], ent[1]))
        found |= new
    assert len(found) > 20
    assert "LAW" not in {label for _, _, label, _, _ in found}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_blocked_tokens_stay_blocked(random_ner, nlp, scheme):
    """As after spaCy's own `ner`: a component that comes later finds them blocked, too."""
    ours = random_ner(scheme=scheme)
    theirs = spacy.blank("xx")
    theirs.add_pipe("ner").add_label("GPE")
    theirs.initialize()
    for pipeline, name in ((theirs, "ner"), (ours, "birnn_ner")):
        doc = preset_document(pipeline)
        pipeline.get_pipe(name)(doc)
        blocked = [t.i for t in doc if t.ent_iob_ == "B" and not t.ent_type_]
        assert blocked == [20, 21, 22, 23, 30], name


def test_running_twice_changes_nothing(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    before = spans(doc), [ent._.confidence for ent in doc.ents]
    assert len(doc.ents) > 3
    nlp.get_pipe("birnn_ner")(doc)
    assert (spans(doc), [ent._.confidence for ent in doc.ents]) == before


def test_an_entity_ruler_before_it(random_ner):
    nlp = random_ner()
    ruler = nlp.add_pipe("entity_ruler", before="birnn_ner")
    ruler.add_patterns([{"label": "LAW", "pattern": "Mabo v Queensland", "id": "mabo"}])
    (law,) = [ent for ent in nlp("Is Mabo v Queensland in force?").ents if ent.label_ == "LAW"]
    assert (law.text, law.ent_id_) == ("Mabo v Queensland", "mabo")


def test_no_entity_is_an_annotation_too(random_ner):
    nlp = random_ner(scale=0.0)  # ties go to O
    doc = nlp(Doc(nlp.vocab, words=random_words(5)))
    assert doc.ents == () and doc.has_annotation("ENT_IOB")
    assert {token.ent_iob_ for token in doc} == {"O"}


def test_a_long_document(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(5000)))
    assert len(doc.ents) > 100
    assert all(0 < ent._.confidence <= 1 for ent in list(doc.ents)[::100])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_token(random_ner, scheme):
    nlp = random_ner(scheme=scheme)
    docs = list(nlp.pipe([Doc(nlp.vocab, words=[word(i)]) for i in range(50)]))
    assert {spans(doc)[0] for doc in docs if doc.ents} <= {(0, 1, "GPE"), (0, 1, "ORG")}
    assert any(doc.ents for doc in docs)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("scheme, labels", [("BILUO", ["GPE"]), ("BIO", LABELS)])
def test_entities_above_a_threshold_are_those_of_enumeration(random_ner, scheme, labels, threshold):
    nlp = random_ner(labels, scale=0.5, scheme=scheme, threshold=threshold)
    ner = nlp.get_pipe("birnn_ner")
    n_found = 0
    for words in (random_words(4) for _ in range(10)):
        probable = probabilities(ner, Doc(nlp.vocab, words=words))
        expected = []
        for span in sorted(probable, key=lambda span: -probable[span]):
            apart = all(span.end <= other.start or other.end <= span.start for other in expected)
            if probable[span] >= threshold and apart:
                expected.append(span)
        doc = nlp(Doc(nlp.vocab, words=words))
        assert spans(doc) == [(s.start, s.end, labels[s.label]) for s in sorted(expected)]
        for ent, span in zip(doc.ents, sorted(expected)):
            assert ent._.confidence == pytest.approx(probable[span], abs=1e-5)
        n_found += len(expected)
    assert (n_found > 0) == (threshold < 1)


class Counted:
    """An array that counts how often it is read."""

    def __init__(self, array):
        self.array, self.n_read = array, 0

    def __getitem__(self, key):
        self.n_read += 1
        return self.array[key]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_steps_for_a_long_entity_are_proportional_to_its_length(scheme):
    """The scores are such that an entity goes on for ever."""
    scheme = Scheme(scheme, 1)
    steps = []
    for n in (50, 100, 200):
        emissions = np.zeros((n, scheme.n_tags))
        emissions[:, scheme.tag("I", 0)] = 20
        emissions[0, scheme.tag("B", 0)] = emissions[-1, scheme.tag(scheme.endings[0], 0)] = 60
        scores = crf.SequenceScores(emissions, np.array([n])).constrained(scheme.legal())
        posterior = crf.posterior(scores)
        posterior.chain.move = Counted(posterior.chain.move)
        sequence = DocChain(posterior, scheme, 0, n)
        ((_, span),) = sequence.candidates([EntitySpan(0, 1, 0)], np.array([0.3]))
        steps.append(posterior.chain.move.n_read)
    assert (span.start, span.label) == (0, 0) and span.end >= n - 1
    assert steps[2] - steps[1] == 2 * (steps[1] - steps[0]) > 0


@pytest.mark.parametrize("threshold", [None, 0.25, 0.9])
def test_a_threshold_leaves_the_entities_that_are_set(random_ner, threshold):
    nlp = random_ner(threshold=threshold)
    for _ in range(5):
        doc = preset_document(nlp)
        before = ids(doc)
        nlp.get_pipe("birnn_ner")(doc)
        assert before <= ids(doc)


def test_a_threshold_works_without_the_confidence(random_ner):
    on, off = (random_ner(threshold=0.1, confidence=confidence) for confidence in (True, False))
    words = random_words(40)
    with_scores, without = (pipe(Doc(pipe.vocab, words=words)) for pipe in (on, off))
    assert spans(without) == spans(with_scores) != [] and not without.user_data


def test_the_lowest_threshold_is_one_in_a_hundred(random_ner):
    lowest, zero, one_in_a_hundred = (random_ner(threshold=x) for x in (1e-9, 0, 0.01))
    words = random_words(40)
    expected = spans(one_in_a_hundred(Doc(one_in_a_hundred.vocab, words=words)))
    assert expected
    for pipeline in (lowest, zero):
        assert spans(pipeline(Doc(pipeline.vocab, words=words))) == expected


@pytest.mark.parametrize("beta", [None, [0.7, 1.3, 0.4]])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_from_the_candidates_follow_the_entities_of_any_threshold(random_ner, scheme, beta):
    nlp = random_ner(scale=0.5, scheme=scheme)
    ner = nlp.get_pipe("birnn_ner")
    ner.confidence_map = beta
    docs = [preset_document(nlp), Doc(nlp.vocab, words=random_words(30)), Doc(nlp.vocab, words=[])]
    before = [ids(doc) for doc in docs]
    found = ner.candidates(docs)
    assert [ids(doc) for doc in docs] == before and found[2] == []
    assert len(found[1]) > len(spans(nlp(docs[1].copy())))
    n_different = set()
    for threshold in np.linspace(0, 1, 41).tolist():
        ner.threshold = threshold
        for doc, candidates in zip(docs, found):
            chosen = {(ent.start, ent.end, ent.label_) for ent in doc.ents}
            taken = {i for start, end, _ in chosen for i in range(start, end)}
            for span, confidence in candidates:
                tokens = range(span.start, span.end)
                if confidence >= threshold and taken.isdisjoint(tokens):
                    chosen.add((span.start, span.end, span.label_))
                    taken.update(tokens)
            own = ner(doc.copy())
            assert spans(own) == sorted(chosen)
            n_different.add(len(chosen))
            values = {(s.start, s.end, s.label_): value for s, value in candidates}
            for ent in own.ents if not doc.ents else ():
                same = values[ent.start, ent.end, ent.label_]
                assert ent._.confidence == pytest.approx(same, abs=1e-5)
    assert len(n_different) > 5
    with pytest.raises(ValueError, match="BIRNN-E007"):
        ner.candidates(docs[0])


@pytest.mark.parametrize("threshold", [-0.5, 1.5])
def test_an_impossible_threshold_is_named(nlp, threshold):
    with pytest.raises(ValueError, match=f"BIRNN-E001.*'threshold'.*{threshold}.*birnn_ner"):
        nlp.add_pipe("birnn_ner", config={"threshold": threshold})


def test_an_unknown_scheme_is_named(nlp):
    with pytest.raises(ValueError, match="BIRNN-E001.*'scheme'.*'BILUO', 'BIO'.*IOB2.*birnn_ner"):
        nlp.add_pipe("birnn_ner", config={"scheme": "IOB2"})


# Confidence


def labellings(ner, doc):
    """Each set of entities with its probability, by enumeration of all labellings that are legal
    and allowed."""
    scheme, legal = ner.scheme, ner.scheme.legal()
    scores, allowed = ner.model.predict([doc]), ner.allowed_mask([doc])
    parts = scores.constrained(legal)
    found = []
    for tags in product(range(scheme.n_tags), repeat=len(doc)):
        if allowed is not None and not allowed[range(len(doc)), tags].all():
            continue
        score = parts.emissions[range(len(doc)), tags].astype("float64").sum()
        score += parts.start[tags[0]] + parts.end[tags[-1]]
        score += parts.transitions[tags[:-1], tags[1:]].sum()
        if score > -np.inf:
            found.append((scheme.decode(np.array(tags)), score))
    total = np.logaddexp.reduce([score for _, score in found])
    return [(spans, np.exp(score - total)) for spans, score in found]


def probabilities(ner, doc):
    """Each span's probability, by the same enumeration."""
    of_span = {}
    for spans, probability in labellings(ner, doc):
        for span in spans:
            of_span[span] = of_span.get(span, 0.0) + probability
    return of_span


@pytest.mark.parametrize("output", ["crf", "softmax"])
@pytest.mark.parametrize("scheme, labels", [("BILUO", ["GPE"]), ("BIO", LABELS)])
def test_confidence_is_the_probability_of_the_span(random_ner, scheme, labels, output):
    nlp = random_ner(labels, scale=0.5, scheme=scheme, model={"output": output})
    ner = nlp.get_pipe("birnn_ner")
    checked = 0
    for words in (random_words(4) for _ in range(10)):
        expected = probabilities(ner, Doc(nlp.vocab, words=words))
        for ent in nlp(Doc(nlp.vocab, words=words)).ents:
            span = EntitySpan(ent.start, ent.end, labels.index(ent.label_))
            assert ent._.confidence == pytest.approx(expected[span], abs=1e-5)
            checked += 1
    assert checked > 4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_confidence_is_that_given_the_entities_that_are_set(random_ner, scheme):
    nlp = random_ner(["GPE"], scheme=scheme)
    ner = nlp.get_pipe("birnn_ner")
    checked = 0
    for words in (random_words(5) for _ in range(8)):
        doc = Doc(nlp.vocab, words=words)
        doc.set_ents([Span(doc, 2, 4, label="GPE")], default="missing")
        expected = probabilities(ner, doc)
        for ent in ner(doc).ents:
            if ent.start != 2:
                span = EntitySpan(ent.start, ent.end, 0)
                assert ent._.confidence == pytest.approx(expected[span], abs=1e-5)
                checked += 1
    assert checked > 2


# The k best labellings, and the probability of any span


def values(ents):
    return tuple((ent.start, ent.end, ent.label_) for ent in ents)


@pytest.mark.parametrize("output", ["crf", "softmax"])
@pytest.mark.parametrize("scheme, labels", [("BILUO", ["GPE"]), ("BIO", LABELS)])
def test_the_k_best_are_those_of_enumeration(random_ner, scheme, labels, output):
    """No two labellings have the same entities."""
    nlp = random_ner(labels, scale=0.5, scheme=scheme, model={"output": output})
    ner = nlp.get_pipe("birnn_ner")
    for n in (1, 2, 4, 4, 4):
        doc = Doc(nlp.vocab, words=random_words(n))
        expected = {
            tuple((s.start, s.end, labels[s.label]) for s in found): probability
            for found, probability in labellings(ner, doc)
        }
        assert len(expected) == len(labellings(ner, doc))
        for k in (1, 7, 10**6):
            found = [(values(ents), probability) for ents, probability in ner.k_best([doc], k)[0]]
            assert len(found) == min(k, len(expected))
            best = sorted(expected.values(), reverse=True)[:k]
            assert [probability for _, probability in found] == pytest.approx(best, abs=1e-6)
            assert dict(found) == pytest.approx({e: expected[e] for e, _ in found}, abs=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_k_best_are_what_would_be_set(random_ner, scheme):
    """Around the entities that are set, which keep their ids, and the blocked tokens."""
    nlp = random_ner(scheme=scheme)
    ner = nlp.get_pipe("birnn_ner")
    doc = preset_document(nlp)
    before, saved = ids(doc), doc.to_bytes()
    (found,) = ner.k_best([doc], 20)
    assert doc.to_bytes() == saved
    assert len({values(ents) for ents, _ in found}) == 20
    for ents, _ in found:
        copy = doc.copy()
        copy.set_ents(ents)  # refuses what overlaps
        assert before <= ids(copy) and list(values(ents)) == spans(copy)
        assert not any(20 <= i < 24 or i == 30 for ent in ents for i in range(ent.start, ent.end))
    ner(doc)
    assert ids(doc) == {(e.start, e.end, e.label_, e.kb_id_, e.id_) for e in found[0][0]}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("scheme, labels", [("BILUO", ["GPE"]), ("BIO", LABELS)])
def test_the_probability_of_a_span_is_that_of_the_labellings_that_have_it(
    random_ner, scheme, labels, given
):
    """Whether found or not, and also given an entity and white space."""
    nlp = random_ner(labels, scale=0.5, scheme=scheme)
    ner = nlp.get_pipe("birnn_ner")
    words = random_words(5)
    if given:
        words[0] = " "
    doc = Doc(nlp.vocab, words=words)
    if given:
        doc.set_ents([Span(doc, 2, 4, label="GPE")], default="missing")
    saved = doc.to_bytes()
    (every,) = ner.k_best([doc], 10**6)
    assert sum(probability for _, probability in every) == pytest.approx(1)
    asked = [
        Span(doc, start, end, label=label)
        for start, end in product(range(5), range(1, 6))
        for label in labels
        if start < end
    ]
    expected = [
        sum(p for ents, p in every if (span.start, span.end, span.label_) in values(ents))
        for span in asked
    ]
    found = ner.span_probabilities(doc, asked)
    assert all(isinstance(value, float) for value in found)
    assert found == pytest.approx(expected, abs=1e-9)
    assert (0.0 in found) == given and (1.0 in np.round(found, 9)) == given
    assert doc.to_bytes() == saved


def test_the_probability_of_what_is_found_is_its_confidence(random_ner):
    nlp = random_ner(**MANY)
    words = random_words(30)
    asked, doc = Doc(nlp.vocab, words=words), nlp(Doc(nlp.vocab, words=words))
    assert len(doc.ents) > 3
    found = [Span(asked, ent.start, ent.end, label=ent.label) for ent in doc.ents]
    expected = [ent._.confidence for ent in doc.ents]
    assert nlp.get_pipe("birnn_ner").span_probabilities(asked, found) == expected


def test_spans_that_are_no_entity(random_ner):
    nlp = random_ner()
    ner = nlp.get_pipe("birnn_ner")
    doc = preset_document(nlp)
    blocked, overlapping = Span(doc, 19, 21, label="GPE"), Span(doc, 5, 8, label="GPE")
    unknown, nothing = Span(doc, 12, 15, label="ORG"), Span(doc, 1, 1, label="ORG")
    asked = [blocked, overlapping, unknown, nothing]
    assert ner.span_probabilities(doc, asked) == [0.0] * 4
    assert ner.span_probabilities(doc, []) == []
    empty = Doc(nlp.vocab)
    assert ner.span_probabilities(empty, [Span(empty, 0, 0, label="ORG")]) == [0.0]


@pytest.mark.parametrize("label", ["LAW", ""])
def test_a_span_with_a_label_that_it_does_not_have_is_named(random_ner, label):
    nlp = random_ner()
    doc = Doc(nlp.vocab, words=["w1", "w2"])
    with pytest.raises(ValueError, match=f"BIRNN-E025.*'w2'.*'{label}'.*birnn_ner.*GPE, ORG"):
        nlp.get_pipe("birnn_ner").span_probabilities(doc, [Span(doc, 1, 2, label=label)])


def test_a_span_of_another_document_is_named(random_ner):
    nlp = random_ner()
    doc, other = Doc(nlp.vocab, words=["w1", "w2"]), Doc(nlp.vocab, words=["w1", "w2"])
    with pytest.raises(ValueError, match="BIRNN-E038.*'birnn_ner'.*None.*char_span"):
        nlp.get_pipe("birnn_ner").span_probabilities(doc, [doc.char_span(0, 1, label="GPE")])
    with pytest.raises(ValueError, match="BIRNN-E026.*'w2'.*birnn_ner.*'w1 w2"):
        nlp.get_pipe("birnn_ner").span_probabilities(doc, [Span(other, 1, 2, label="GPE")])


def test_the_probability_of_a_span_before_initialization_is_refused(nlp):
    doc = Doc(nlp.vocab, words=["w1"])
    with pytest.raises(ValueError, match="BIRNN-E010.*birnn_ner"):
        nlp.add_pipe("birnn_ner").span_probabilities(doc, [Span(doc, 0, 1, label="GPE")])


# Confidence that is kept


def confidences(doc):
    return {(e.start_char, e.end_char, e.label_): e._.confidence for e in doc.ents}


def from_json(doc):
    return Doc(doc.vocab).from_json(doc.to_json(underscore=["confidence"]))


def through_doc_bin(doc):
    stored = DocBin(docs=[doc], store_user_data=True).to_bytes()
    return next(DocBin().from_bytes(stored).get_docs(doc.vocab))


WAYS = {
    "bytes": lambda doc: Doc(doc.vocab).from_bytes(doc.to_bytes()),
    "doc-bin": through_doc_bin,
    "json": from_json,
    "copy": Doc.copy,
    "pickle": lambda doc: pickle.loads(pickle.dumps(doc)),
    "as-doc": lambda doc: doc[:].as_doc(copy_user_data=True),
    "from-docs": lambda doc: Doc.from_docs([doc]),
}


@pytest.fixture(scope="module")
def annotated(random_ner):
    """A document with many entities, each with another confidence."""
    nlp = random_ner(**MANY)

    def make(n=30):
        doc = nlp(" ".join(word(i) for i in range(n)))
        values = set(confidences(doc).values())
        assert len(values) == len(doc.ents) > 3 and all(0 < value < 1 for value in values)
        return doc

    return make


@pytest.mark.parametrize("way", WAYS)
def test_confidence_goes_with_the_document(annotated, way):
    doc = annotated()
    assert confidences(WAYS[way](doc)) == confidences(doc)
    assert doc._.confidence == list(confidences(doc).values())
    assert not doc.spans


def test_confidence_goes_along_when_documents_are_cut_and_joined(annotated):
    doc = annotated()
    cut = next(ent.start for ent in list(doc.ents)[2:])
    parts = [part.as_doc(copy_user_data=True) for part in (doc[:cut], doc[cut:])]
    values = list(confidences(doc).values())
    assert parts[0]._.confidence == values[: len(parts[0].ents)]
    assert parts[1]._.confidence == values[len(parts[0].ents) :] != []
    joined = Doc.from_docs(parts[::-1])
    assert joined._.confidence == parts[1]._.confidence + parts[0]._.confidence


def test_json_of_documents_without_entities_or_confidence(annotated):
    doc = annotated()
    empty = Doc(doc.vocab, words=["a", "b"])
    assert empty.to_json(underscore=["confidence"])["_"] == {"confidence": []}
    # By hand, and later than the component
    doc.set_ents([*list(doc.ents)[1:], Span(doc, 0, 1, label="LAW")], default="outside")
    expected = [None, *doc._.confidence[1:]]
    assert from_json(doc)._.confidence == doc._.confidence == expected
    assert json.loads(json.dumps(doc.to_json(underscore=["confidence"])))["_"] == {
        "confidence": expected
    }


def test_a_list_of_another_length_than_that_of_the_entities_is_refused(annotated):
    doc = annotated()
    before = confidences(doc)
    with pytest.raises(ValueError, match=rf"BIRNN-E039.*{len(doc.ents)} entities.*\[0\.5\]"):
        doc._.confidence = [0.5]
    assert confidences(doc) == before


def test_confidence_stays_with_its_entity_when_tokens_are_merged_or_split(annotated):
    doc = annotated()
    before = confidences(doc)
    longest, *_, last = sorted(doc.ents, key=lambda ent: (-len(ent), ent.start))
    assert len(longest) > 1
    with doc.retokenize() as retokenizer:
        retokenizer.merge(longest)
        text = last[0].text
        retokenizer.split(last[0], [text[:1], text[1:]], heads=[(last[0], 1), (last[0], 0)])
    assert confidences(doc) == before
    for way, go in WAYS.items():
        assert confidences(go(doc)) == before, way


def test_merged_entities_keep_their_confidence(annotated):
    doc = annotated(60)
    before, n_words = confidences(doc), len(doc)
    merged = merge_entities(doc)
    assert len(merged) < n_words and {len(ent) for ent in merged.ents} == {1}
    assert confidences(merged) == before


def test_an_entity_that_a_merge_changes_has_no_confidence(annotated):
    doc = annotated()
    before = confidences(doc)
    first = doc.ents[0]
    others = [ent for ent in doc.ents if ent.start > first.end]
    doc.set_ents([first, *others], default="outside")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[first.end - 1 : first.end + 1])
    kept = {
        (ent.start_char, ent.end_char, ent.label_): before.get(
            (ent.start_char, ent.end_char, ent.label_)
        )
        for ent in doc.ents
    }
    assert confidences(doc) == kept and list(kept.values()).count(None) == len(kept) - len(others)


def test_entities_that_are_set_later_have_no_confidence(random_ner):
    """By hand, or by a ruler that overwrites: another label in the same place, and other places."""
    nlp = random_ner(**MANY)
    text = " ".join(word(i) for i in range(30))
    before = confidences(nlp(text))
    first, second, *_ = nlp(text).ents
    ruler = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "LAW", "pattern": first.text}])
    after = confidences(nlp(text))
    assert after[first.start_char, first.end_char, "LAW"] is None
    assert {key for key, value in after.items() if value is not None} < before.keys()
    doc = nlp.get_pipe("birnn_ner")(nlp.make_doc(text))
    doc.ents = [Span(doc, second.start, second.end, label="LAW")]
    assert confidences(doc) == {(second.start_char, second.end_char, "LAW"): None}


def test_entities_that_were_set_before_are_certain(random_ner):
    nlp = random_ner(**MANY)
    ruler = nlp.add_pipe("entity_ruler", before="birnn_ner")
    ruler.add_patterns([{"label": "LAW", "pattern": word(3)}])
    found = confidences(nlp(" ".join(word(i) for i in range(30))))
    assert [value for (*_, label), value in found.items() if label == "LAW"] == [1.0]
    assert len(found) > 3 and all(0 < value <= 1 for value in found.values())


def test_a_second_run_leaves_nothing_of_the_first(random_ner):
    nlp = random_ner(**MANY)
    ner = nlp.get_pipe("birnn_ner")
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    doc.user_data["the user's own"] = 1
    first = confidences(doc)
    for threshold, kept in ((None, list(doc.ents)[1:3]), (1.0, [])):
        ner.cfg["threshold"] = threshold
        values = [ent._.confidence for ent in kept]
        doc.set_ents(kept, default="outside")
        ner(doc)
        assert [ent._.confidence for ent in doc.ents if ent in kept] == values
        assert len(doc.user_data) == 1 + len(doc.ents)
    assert len(first) > 3 and not doc.ents and doc.user_data == {"the user's own": 1}


def test_an_entity_that_has_lost_its_confidence_counts_as_given(annotated, random_ner):
    doc = annotated()
    lost = Doc(doc.vocab).from_json(doc.to_json())
    given = confidences(lost)
    assert set(given.values()) == {None}
    found = confidences(random_ner(**MANY).get_pipe("birnn_ner")(lost))
    assert {found[key] for key in given} == {1.0}


def test_other_spans_have_no_confidence(random_ner):
    nlp = random_ner()
    doc = nlp(Doc(nlp.vocab, words=random_words(20)))
    ent = doc.ents[0]
    assert Span(doc, ent.start, ent.end, label="LAW")._.confidence is None
    assert doc[0:20]._.confidence is None
    assert nlp.make_doc("a text")[0:1]._.confidence is None


def test_confidence_can_be_switched_off(random_ner):
    on, off = random_ner(), random_ner(confidence=False)
    words = random_words(20)
    with_scores, without = (pipe(Doc(pipe.vocab, words=words)) for pipe in (on, off))
    assert spans(without) == spans(with_scores) != []
    assert not without.user_data and without.ents[0]._.confidence is None
    # What another component found keeps its own
    before = confidences(with_scores)
    off.get_pipe("birnn_ner")(with_scores)
    assert before.items() <= confidences(with_scores).items()


def test_switching_off_survives_saving(random_ner, reload):
    loaded = reload(random_ner(confidence=False, scheme="BIO"))
    assert loaded.config["components"]["birnn_ner"]["confidence"] is False
    doc = loaded(Doc(loaded.vocab, words=random_words(20)))
    assert doc.ents and not doc.user_data
    assert loaded.get_pipe("birnn_ner").scheme.name == "BIO"


@pytest.mark.parametrize("kind, other", [(Span, Doc), (Doc, Span)])
def test_an_extension_of_the_user_of_the_same_name_is_left_alone(
    random_ner, no_extensions, kind, other
):
    kind.set_extension("confidence", default="mine")
    with pytest.warns(UserWarning, match=f"BIRNN-W011.*'confidence' of {kind.__name__}.*get_conf"):
        nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    ent = doc.ents[0]
    mine, theirs = (ent, doc) if kind is Span else (doc, ent)
    assert mine._.confidence == "mine" and theirs._.confidence
    mine._.confidence = "changed"
    copy = Doc(doc.vocab).from_bytes(doc.to_bytes())
    assert (copy.ents[0] if kind is Span else copy)._.confidence == "changed"
    assert 0 < get_confidence(copy.ents[0]) == get_confidence(ent) < 1


# Training


@pytest.fixture
def ner(random_ner):
    return random_ner().get_pipe("birnn_ner")


def example(vocab, words, tags, predicted=None):
    annotated = Example.from_dict(Doc(vocab, words=words), {"entities": tags})
    return annotated if predicted is None else Example(predicted, annotated.y)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mask_says_what_is_known(random_ner, scheme):
    ner = random_ner(["GPE"], scheme=scheme).get_pipe("birnn_ner")
    eg = example(ner.vocab, list("abcde"), ["-", "B-GPE", "L-GPE", "-", "O"])
    mask = ner.gold_mask(eg)
    names = Scheme(scheme, 1)
    last = names.tag("L" if scheme == "BILUO" else "I", 0)
    known = {1: [names.tag("B", 0)], 2: [last], 4: [0]}
    for i, tags in known.items():
        assert np.flatnonzero(mask[i]).tolist() == tags
    assert mask[0].all()
    # In BIO the token after an entity would make it longer, if it were inside
    assert mask[3].all() if scheme == "BILUO" else np.flatnonzero(mask[3]).tolist() == [0, 1]


def test_misaligned_entities_are_missing_and_reported_once(ner):
    reference = Doc(ner.vocab, words=["in", "New", "York", "City", "now"])
    reference.set_ents([Span(reference, 1, 3, label="GPE"), Span(reference, 4, 5, label="ORG")])
    predicted = Doc(ner.vocab, words=["in", "New", "York City", "now"])
    eg = Example(predicted, reference)
    with pytest.warns(UserWarning, match=r"BIRNN-W001.*birnn_ner.*'New York'") as record:
        mask = ner.gold_mask(eg)
    assert len(record) == 1
    assert mask[[1, 2]].all()
    assert np.flatnonzero(mask[0]).tolist() == [0]
    assert np.flatnonzero(mask[3]).tolist() == [ner.scheme.tag("U", 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(ner.gold_mask(eg), mask)


def test_annotation_by_characters_that_does_not_align_is_missing(ner):
    doc = Doc(ner.vocab, words=["Londoners", "flew"])
    with pytest.warns(UserWarning, match="W030"):  # spaCy's own
        eg = Example.from_dict(doc, {"entities": [(0, 6, "GPE")]})
    mask = ner.gold_mask(eg)
    assert mask[0].all() and np.flatnonzero(mask[1]).tolist() == [0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_annotation_goes_before_what_is_set_on_the_document(random_ner, scheme):
    """What contradicts it, such as an entity ruler's mistake, counts as not set; only that."""
    ner = random_ner(scheme=scheme).get_pipe("birnn_ner")
    words = list("abcdefgh")
    # Of the three entities the first is wrong; the token "g" is blocked, "h" wrongly so
    given = Doc(ner.vocab, words=words)
    wrong, right, unknown = (
        Span(given, *place) for place in ((0, 2, "ORG"), (3, 4, "GPE"), (4, 6, "LAW"))
    )
    given.set_ents([wrong, right, unknown], blocked=[given[6:8]], default="missing")
    tags = ["O", "U-GPE", *"-----", "U-ORG"]
    gold = example(ner.vocab, words, tags).y
    expected = Doc(ner.vocab, words=words)
    expected.set_ents([right, unknown], blocked=[expected[6:7]], default="missing")
    losses = []
    for predicted in (given, expected):
        eg = Example(predicted, gold)
        scores, _ = ner.model.begin_update([eg.x])
        loss, gradient = ner.get_loss([eg], scores)
        losses.append((loss, gradient.emissions))
    assert losses[0][0] == pytest.approx(losses[1][0]) and 0 < losses[0][0] < np.inf
    np.testing.assert_allclose(losses[0][1], losses[1][1], atol=1e-6)
    np.testing.assert_allclose(losses[0][1][3:7], 0, atol=1e-12)
    assert losses[0][1][[0, 1, 7]].any(axis=1).all()


TRIMMED = [
    (["Dorn", "\n"], (0, 1)),
    (["\n", "Dorn"], (1, 2)),
    (["\n", " ", "Dorn", "Ltd", "\n", "\n"], (2, 4)),
    (["\n"], None),
]


@pytest.mark.parametrize("words, left", TRIMMED)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_white_space_at_the_ends_of_an_entity_is_left_out(random_ner, scheme, words, left):
    ner = random_ner(scheme=scheme).get_pipe("birnn_ner")
    words = ["Ask", *words, "today"]

    def mask(start, end):
        reference = Doc(ner.vocab, words=words)
        ents = [] if start is None else [Span(reference, start, end, label="ORG")]
        reference.set_ents(ents, default="outside")
        return ner.gold_mask(Example(Doc(ner.vocab, words=words), reference))

    expected = mask(None, None) if left is None else mask(left[0] + 1, left[1] + 1)
    with pytest.warns(UserWarning, match="BIRNN-W009.*birnn_ner") as record:
        found = mask(1, len(words) - 1)
    assert len(record) == 1
    # In BIO any token may be the first after an entity, if its tag is not "inside"
    assert np.array_equal(found, expected) and (found.sum(axis=1) == 1).all()
    assert np.array_equal(mask(1, len(words) - 1), expected)  # reported once


def test_an_entity_annotated_with_a_line_break_is_found_without_it(nlp, tiny_tok2vec, fit):
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    words = ["Ask", "Dorn", "\n", "today"]
    examples = [example(nlp.vocab, words, ["O", "B-ORG", "L-ORG", "O"]) for _ in range(3)]
    with pytest.warns(UserWarning, match=r"BIRNN-W009.*\(3 of 3\)"):
        fit(nlp, examples)
    assert spans(nlp(Doc(nlp.vocab, words=words))) == [(1, 2, "ORG")]


@pytest.mark.parametrize(
    "scheme, words, starts",
    [
        ("BILUO", ["in", "New", "York", "now"], [True, False, True, False]),
        ("BIO", ["in", "New", "York", "now"], [True, False, True, False]),
        ("BIO", ["in", "New", "\n", "York", "now"], None),
    ],
)
def test_an_entity_that_cannot_be_found_is_missing_and_reported_once(
    random_ner, scheme, words, starts
):
    """Training must not teach what decoding forbids."""
    ner = random_ner(scheme=scheme).get_pipe("birnn_ner")
    predicted = Doc(ner.vocab, words=words, sent_starts=starts)
    reference = Doc(ner.vocab, words=words)
    reference.set_ents([Span(reference, 1, len(words) - 1, label="GPE")], default="outside")
    eg = Example(predicted, reference)
    with pytest.warns(UserWarning, match="BIRNN-W010.*birnn_ner.*'New") as record:
        mask = ner.gold_mask(eg)
    assert len(record) == 1
    assert mask[1:-1].all() and mask[[0, -1]].sum(axis=1).tolist() == [1, 1]
    assert mask[[0, -1], 0].all()
    scores, _ = ner.model.begin_update([predicted])
    _, gradient = ner.get_loss([eg], scores)
    ner_rules = ner.allowed_mask([predicted])
    assert ner_rules is not None and not gradient.emissions[~ner_rules].any()


def test_white_space_inside_an_entity_is_learnt(random_ner):
    ner = random_ner().get_pipe("birnn_ner")
    eg = example(ner.vocab, ["New", "\n", "York"], ["B-GPE", "I-GPE", "L-GPE"])
    assert ner.gold_mask(eg).sum(axis=1).tolist() == [1, 1, 1]


def test_the_initialization_says_how_many_entities_cannot_be_learnt(nlp, tiny_tok2vec):
    ner = nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    examples = []
    for _ in range(30):
        reference = Doc(nlp.vocab, words=["in", "New", "York", "City", "now"])
        ents = [Span(reference, 1, 3, label="GPE"), Span(reference, 4, 5, label="ORG")]
        reference.set_ents(ents, default="outside")
        examples.append(Example(Doc(nlp.vocab, words=["in", "New", "York City", "now"]), reference))
    for labels in (None, ["GPE", "ORG"]):
        with pytest.warns(UserWarning) as record:
            ner.initialize(lambda: examples, labels=labels)
        (message,) = [str(warning.message) for warning in record]
        assert "BIRNN-W001" in message and "(30 of 60)" in message and "'New York'" in message
        ner.update(examples)  # filterwarnings: no more are given


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_loss_is_that_of_enumeration(random_ner, scheme):
    ner = random_ner(["GPE"], scheme=scheme).get_pipe("birnn_ner")
    eg = example(ner.vocab, list("abcde"), ["-", "B-GPE", "L-GPE", "-", "O"])
    scores, _ = ner.model.begin_update([eg.x])
    loss, _ = ner.get_loss([eg], scores)
    legal, names = ner.scheme.legal(), ner.scheme
    parts = scores.constrained(legal)
    every, agreeing = [], []
    for tags in product(range(names.n_tags), repeat=5):
        score = parts.emissions[range(5), tags].sum() + parts.start[tags[0]] + parts.end[tags[-1]]
        score += parts.transitions[tags[:-1], tags[1:]].sum()
        if score > -np.inf:
            every.append(score)
            if EntitySpan(1, 3, 0) in names.decode(np.array(tags)) and tags[4] == 0:
                agreeing.append(score)
    expected = np.logaddexp.reduce(every) - np.logaddexp.reduce(agreeing)
    assert loss == pytest.approx(expected, abs=1e-4)


def test_labels_are_those_of_the_examples_sorted(nlp, make_examples, tiny_tok2vec):
    ner = nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    assert ner.labels == ner.label_data == ("GPE", "ORG", "PERSON")
    assert ner.model.get_dim("nO") == 1 + 4 * 3


def test_labels_as_one_text_are_refused(nlp, tiny_tok2vec, make_examples):
    ner = nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    with pytest.raises(ValueError, match="BIRNN-E020.*'PER'"):
        ner.initialize(lambda: make_examples(nlp), labels="PER")


def test_annotation_that_contradicts_an_entity_still_trains(nlp, tiny_tok2vec):
    ner = nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    words = ["a", "b", "c", "d", "e"]
    entities = ["B-ORG", "L-ORG", None, "O", "O"]
    given = Doc(nlp.vocab, words=words, ents=["O", "O", "B-ORG", "I-ORG", "I-ORG"])
    gold = Example.from_dict(Doc(nlp.vocab, words=words), {"entities": entities}).y
    nlp.initialize(lambda: [Example(given, gold)])
    loss, _ = ner.get_loss([Example(given, gold)], ner.model.predict([given]))
    bare = Doc(nlp.vocab, words=words)
    plain, _ = ner.get_loss([Example(bare, gold)], ner.model.predict([bare]))
    assert loss > 1 and loss == pytest.approx(plain)


def test_what_training_depends_on_cannot_be_changed_later(
    nlp, tiny_tok2vec, make_examples, tmp_path
):
    ner = nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path)
    with pytest.raises(BirnnError, match="BIRNN-E012.*'scheme' was 'BILUO' in training.*'BIO' now"):
        spacy.load(tmp_path, config={"components.birnn_ner.scheme": "BIO"})
    with pytest.raises(AttributeError):
        ner.scheme = "BIO"
    ner.cfg["scheme"] = "BIO"
    with pytest.raises(BirnnError, match="BIRNN-E024.*birnn_ner"):
        nlp("Anna flew")


def test_labels_in_the_form_of_another_component_are_refused(nlp, tiny_tok2vec, make_examples):
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    of_spacy = {"0": {"": 1}, "1": {"ORG": 3}}
    with pytest.raises(BirnnError, match="BIRNN-E020.*ORG.*birnn_ner"):
        nlp.get_pipe("birnn_ner").initialize(lambda: make_examples(nlp), nlp=nlp, labels=of_spacy)


def test_a_confidence_can_be_set(nlp, tiny_tok2vec):
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tiny_tok2vec}})
    doc = nlp.make_doc("Anna flew")
    ent = doc.char_span(0, 4, label="PERSON")
    ent._.confidence = 0.75
    doc.ents = [ent]
    assert doc.ents[0]._.confidence == 0.75 and doc._.confidence == [0.75]
    for value in (None, 3, [0.5, 0.5]):
        with pytest.raises(BirnnError, match="BIRNN-E039"):
            doc._.confidence = value
