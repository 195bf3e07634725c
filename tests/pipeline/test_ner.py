import warnings
from itertools import product

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import fix_random_seed

from spacy_birnn import crf
from spacy_birnn.pipeline.labels import EntitySpan, Scheme
from spacy_birnn.pipeline.ner import _Sequence

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
        chain = crf.posterior(scores).chain
        chain.move = Counted(chain.move)
        sequence = _Sequence(chain, scheme, 0, n)
        (span,) = sequence.probable({(0, 0)}, np.array([0.3]))
        steps.append(chain.move.n_read)
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
    assert spans(without) == spans(with_scores) != [] and not without.spans


def test_the_lowest_threshold_is_one_in_a_hundred(random_ner):
    lowest, zero, one_in_a_hundred = (random_ner(threshold=x) for x in (1e-9, 0, 0.01))
    words = random_words(40)
    expected = spans(one_in_a_hundred(Doc(one_in_a_hundred.vocab, words=words)))
    assert expected
    for pipeline in (lowest, zero):
        assert spans(pipeline(Doc(pipeline.vocab, words=words))) == expected


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


def test_confidence_survives_saving(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(20)))
    expected = [ent._.confidence for ent in doc.ents]
    assert len(expected) > 2 and len(set(expected)) > 2
    group = doc.spans["birnn_ner"]
    assert [span.label_ for span in group] == [ent.label_ for ent in doc.ents]
    assert group.attrs["scores"].tolist() == expected
    from_bytes = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (from_bin,) = DocBin().from_bytes(DocBin(docs=[doc]).to_bytes()).get_docs(nlp.vocab)
    for loaded in (from_bytes, from_bin, doc.copy()):
        assert [ent._.confidence for ent in loaded.ents] == pytest.approx(expected, abs=1e-6)


def test_confidence_stays_with_its_entity_when_tokens_are_merged_or_split(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    before = {(ent.start_char, ent.end_char): ent._.confidence for ent in doc.ents}
    longest, *_, last = sorted(doc.ents, key=lambda ent: (-len(ent), ent.start))
    assert len(longest) > 1 and len(set(before.values())) > 2
    with doc.retokenize() as retokenizer:
        retokenizer.merge(longest)
        text = last[0].text
        retokenizer.split(last[0], [text[:1], text[1:]], heads=[(last[0], 1), (last[0], 0)])
    group = doc.spans["birnn_ner"]
    # One index first, so that it is not another method that finds them again
    assert (group[-1].start_char, group[-1].end_char) == max(before)
    assert list(group) == list(doc.ents) and len(group) == len(doc.ents)
    saved = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    # The component keeps them, too; beside them it may find more in the new tokens
    kept = nlp.get_pipe("birnn_ner")(doc.copy())
    for found in (doc, saved, kept):
        now = {(ent.start_char, ent.end_char): ent._.confidence for ent in found.ents}
        assert now.items() >= before.items() and (found is kept or len(now) == len(before))
        assert list(found.spans["birnn_ner"]) == list(found.ents)


def test_merged_entities_can_be_saved_copied_and_looked_at(random_ner):
    nlp = random_ner(**MANY)
    nlp.add_pipe("merge_entities")
    doc = Doc(nlp.vocab, words=[word(i) for i in range(60)])
    n_words = len(doc)
    for read in (
        lambda doc: Doc(nlp.vocab).from_bytes(doc.to_bytes()),
        lambda doc: next(DocBin(docs=[doc]).get_docs(nlp.vocab)),
        lambda doc: doc.copy(),
        lambda doc: doc,
    ):
        found = read(nlp(doc.copy()))
        assert len(found) < n_words and {len(ent) for ent in found.ents} == {1}
        assert repr(found.spans["birnn_ner"]) == repr(list(found.ents))
        assert len(found.to_json()["spans"]["birnn_ner"]) == len(found.ents)


def test_a_merge_across_the_end_of_an_entity_drops_it(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    first, *others = doc.ents
    expected = [(ent.text, ent._.confidence) for ent in others if ent.start > first.end]
    others = [ent for ent in others if ent.start > first.end]
    doc.set_ents(others, default="outside")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[first.end - 1 : first.end + 1])
    group = doc.spans["birnn_ner"]
    assert [span.text for span in group] == [text for text, _ in expected]
    assert group.attrs["scores"].tolist() == [value for _, value in expected]


def test_a_group_that_was_added_to_is_left_alone(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    ents = list(doc.ents)
    doc.spans["birnn_ner"].append(doc[0:30])
    assert list(doc.spans["birnn_ner"]) == [*ents, doc[0:30]]


def test_a_document_that_has_lost_the_confidence_can_be_read_and_annotated_again(random_ner):
    nlp = random_ner(**MANY)
    doc = nlp(Doc(nlp.vocab, words=random_words(30)))
    joined = Doc.from_docs([doc, doc])
    from_json = Doc(nlp.vocab).from_json(doc.to_json())
    added = doc.copy()
    added.spans["birnn_ner"] = list(added.ents)
    for lost in (joined, from_json, added):
        given = spans(lost)
        assert {ent._.confidence for ent in lost.ents} == {None}
        assert len(nlp(lost).ents) >= len(doc.ents) > 3
        # What was lost counts as given; the component may find more
        confidence = dict(zip(spans(lost), [ent._.confidence for ent in lost.ents]))
        assert {confidence[span] for span in given} == {1.0}


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
    assert not without.spans and without.ents[0]._.confidence is None


def test_switching_off_survives_saving(random_ner, reload):
    loaded = reload(random_ner(confidence=False, scheme="BIO"))
    assert loaded.config["components"]["birnn_ner"]["confidence"] is False
    doc = loaded(Doc(loaded.vocab, words=random_words(20)))
    assert doc.ents and not doc.spans
    assert loaded.get_pipe("birnn_ner").scheme.name == "BIO"


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
    with pytest.warns(UserWarning, match=r"BIRNN-W001.*1 .*birnn_ner.*'New York'") as record:
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


def test_annotation_goes_before_what_is_set_on_the_document(ner):
    """An entity ruler's mistake, or white space inside the annotated entity, must not make the
    annotation impossible."""
    predicted = Doc(ner.vocab, words=["in", "Oslo", "\n", "now"])
    predicted.set_ents([Span(predicted, 0, 2, label="ORG")], default="missing")
    reference = Doc(ner.vocab, words=["in", "Oslo", "\n", "now"])
    reference.set_ents([Span(reference, 1, 3, label="GPE")])
    eg = Example(predicted, reference)
    scores, _ = ner.model.begin_update([eg.x])
    loss, gradient = ner.get_loss([eg], scores)
    assert np.isfinite(loss) and loss > 0
    scheme = ner.scheme
    assert gradient.emissions[1, scheme.tag("B", 0)] < 0
    assert gradient.emissions[2, scheme.tag("L", 0)] < 0


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
