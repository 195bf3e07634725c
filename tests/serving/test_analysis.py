"""What the service says of a text is what the pipeline says, whoever else asks."""

import random
import string

import numpy as np
import pytest
from spacy.tokens import Doc

from spacy_birnn.explanation import HIDDEN, explain
from spacy_birnn.pipeline.confidence import to_json
from spacy_birnn.serving.analysis import Analyzer, Failure, Query, describe, recognizer_of
from spacy_birnn.tracing import trace

TEXT = "Anna Berg flew from Oslo to New York ."


def about(value):
    """With its numbers as they may differ between batches."""
    if isinstance(value, dict):
        return {key: about(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [about(one) for one in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def chosen(found, threshold):
    """The entities that the page shows for a threshold."""

    def apart(one):
        return lambda other: one["end"] <= other["start"] or other["end"] <= one["start"]

    own = []
    for entry in found["candidates"]:
        enough = not entry["given"] and entry["confidence"] >= threshold
        if enough and all(map(apart(entry), own)):
            own.append(entry)
    given = [entry for entry in found["candidates"] if entry["given"]]
    shown = given + [entry for entry in own if all(map(apart(entry), given))]
    return sorted((entry["start"], entry["end"], entry["label"]) for entry in shown)


def spans(doc):
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


@pytest.mark.parametrize("view", ["document", "inspection"])
def test_alone_in_a_batch_and_as_the_pipeline(reference, served, mixed_texts, view):
    expected = [about(to_json(reference(text))) for text in mixed_texts]
    queries = [Query(text, view) for text in mixed_texts]
    analyzer = Analyzer(served)
    together = analyzer.answer(queries)
    alone = [found for query in queries for found in analyzer.answer([query])]
    for found in (together, alone):
        assert [{k: one[k] for k in own} for one, own in zip(found, expected)] == expected
    assert any(one["ents"] for one in together)


def test_a_text_on_which_the_pipeline_fails_fails_alone(served, caplog):
    texts = [TEXT, "They fail", "Oslo", "fail too"]
    found = Analyzer(served).answer([Query(text) for text in texts])
    assert [isinstance(one, Failure) for one in found] == [False, True, False, True]
    assert found[1] == Failure("The pipeline failed on this text: it says fail", False)
    assert found[0] == about(to_json(served(TEXT))) and found[2]["text"] == "Oslo"
    assert len(caplog.records) == 2 and "They fail" not in caplog.text.split("Traceback")[0]


def test_the_vocab_does_not_grow(reference, served):
    """And what was forgotten is found again."""

    def invented():
        return " ".join("".join(random.choices(string.ascii_letters, k=8)) for _ in range(20))

    random.seed(0)
    analyzer = Analyzer(served)
    texts = [f"{TEXT} {invented()}" for _ in range(12)]
    expected = [about(to_json(reference(text))) for text in texts]
    analyzer.answer([Query("fail"), Query(TEXT, "states"), Query(TEXT, "inspection")])
    before = len(served.vocab.strings)
    for _ in range(2):
        for view in ("document", "inspection"):
            for i in range(0, len(texts), 3):
                found = analyzer.answer([Query(text, view) for text in texts[i : i + 3]])
                for one, own in zip(found, expected[i : i + 3]):
                    assert {key: one[key] for key in own} == own
        analyzer.answer([Query(f"fail {invented()}"), Query(f"{invented()} fail")])
    assert len(served.vocab.strings) == before


@pytest.mark.parametrize("beta", [None, [0.7, 1.2, 0.3]])
def test_the_entities_of_any_threshold_follow_from_the_candidates(served, beta):
    ner = served.get_pipe("birnn_ner")
    # Less certain than training has made it
    ner.temperature, ner.confidence_map = 4.0, beta
    text = f"{TEXT} They sell bread to Acme Foods Ltd . Anna flew to Acme ."
    (found,) = Analyzer(served).answer([Query(text, "inspection")])
    sizes = set()
    for threshold in np.linspace(0.01, 1, 100).round(2).tolist():
        ner.threshold = threshold
        assert chosen(found, threshold) == spans(served(text))
        sizes.add(len(chosen(found, threshold)))
    assert len(sizes) > 3
    assert not any(entry["given"] for entry in found["candidates"])


@pytest.mark.parametrize("place", [{"before": "birnn_ner"}, {"after": "birnn_ner"}])
def test_entities_of_other_components_stand_at_any_threshold(served, place):
    ruler = served.add_pipe("entity_ruler", **place, config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "FLIGHT", "pattern": "flew"}, {"label": "GPE", "pattern": "New"}])
    served.get_pipe("birnn_ner").temperature = 4.0
    (found,) = Analyzer(served).answer([Query(TEXT, "inspection")])
    given = [entry for entry in found["candidates"] if entry["given"]]
    assert [(entry["text"], entry["label"]) for entry in given] == [
        ("flew", "FLIGHT"),
        ("New", "GPE"),
    ]
    for threshold in (0.05, 0.3, 0.6, 0.9, 1.0):
        served.get_pipe("birnn_ner").threshold = threshold
        assert chosen(found, threshold) == spans(served(TEXT))


def test_a_pipeline_without_entities_and_attention(nlp):
    nlp.add_pipe("sentencizer")
    (found,) = Analyzer(nlp).answer([Query("Oslo . Bread .", "inspection")])
    assert found["candidates"] is None and found["attention"] == [] and "ents" not in found
    assert recognizer_of(nlp) is None
    (states,) = Analyzer(nlp).answer([Query("Oslo", "states")])
    assert states.asked_wrongly and "no recurrent encoder" in states.message


def test_hidden_context_is_that_of_the_explanation(reference, served):
    explained = explain(reference, TEXT, pipes=["birnn_ner"])["components"]["birnn_ner"]
    doc = reference(TEXT)
    n_asked = 0
    for ent, fact in zip(doc.ents, explained["predicted"]):
        sides = {"without_left": (ent.start_char, len(TEXT)), "without_right": (0, ent.end_char)}
        for name, visible in sides.items():
            (found,) = Analyzer(served).answer([Query(TEXT, "inspection", visible)])
            start, end = found["visible"]
            words = [TEXT[t.idx : t.idx + len(t)] for t in doc]
            first = 0 if name == "without_right" else ent.start
            last = ent.end if name == "without_right" else len(doc)
            hidden = [w if first <= i < last else HIDDEN for i, w in enumerate(words)]
            assert found["text"] == " ".join(hidden)
            assert found["text"][start:end] == TEXT[slice(*visible)]
            moved = start if name == "without_left" else ent.start_char
            values = [
                entry["confidence"]
                for entry in found["candidates"]
                if (entry["start"], entry["text"], entry["label"]) == (moved, ent.text, ent.label_)
            ]
            if fact[name] is not None and fact[name] > 0.02:
                assert values == [pytest.approx(fact[name], abs=1e-5)]
                n_asked += 1
    assert n_asked > 2


@pytest.mark.parametrize("visible", [(-1, 3), (3, 2), (0, 39)])
def test_what_can_be_visible_is_within_the_text(served, visible):
    (found,) = Analyzer(served).answer([Query(TEXT, "inspection", visible)])
    assert found.asked_wrongly and f"from {visible[0]} to {visible[1]}" in found.message


def test_nothing_is_visible(served):
    found, empty = Analyzer(served).answer(
        [Query(TEXT, "inspection", (5, 5)), Query("", "inspection", (0, 0))]
    )
    assert found["visible"] == (0, 0) and found["text"] == " ".join([HIDDEN] * 9)
    assert empty["visible"] == (0, 0) and empty["tokens"] == []


def test_states_are_those_of_the_trace(reference, served):
    (found,) = Analyzer(served).answer([Query(TEXT, "states", component="birnn_ner")])
    expected = trace(reference, reference.make_doc(TEXT), pipe="birnn_ner")
    assert found["component"] == "birnn_ner" and found["words"] == TEXT.split()
    for direction, own in zip(found["directions"], expected):
        assert direction["direction"] == own.direction
        for key in ("states", "norms", "changes"):
            assert np.allclose(direction[key], getattr(own, key), atol=6e-4)
    first, wrong, long = Analyzer(served).answer(
        [
            Query(TEXT, "states"),
            Query(TEXT, "states", component="tagger"),
            Query("a " * 101, "states"),
        ]
    )
    assert first["component"] == "birnn_tagger"
    assert wrong.asked_wrongly and "birnn_ner" in wrong.message
    assert long.asked_wrongly and "101 words" in long.message


def test_a_pipeline_that_fails_before_the_encoder_is_not_the_asker_s_fault(reference, reload):
    nlp = reload(reference)
    nlp.add_pipe("serving_gate", first=True)
    (found,) = Analyzer(nlp).answer([Query("They fail", "states")])
    assert found == Failure("The pipeline failed on this text: it says fail", False)


def test_attention_of_each_word(reference, served):
    (found,) = Analyzer(served).answer([Query(TEXT, "inspection")])
    doc = Doc(reference.vocab, words=TEXT.split())
    (entry,) = found["attention"]
    weights = reference.get_pipe("birnn_textcat").predict([doc])[0].attention
    assert entry["component"] == "birnn_textcat" and entry["words"] == TEXT.split()
    assert entry["weights"] == pytest.approx(weights.tolist(), abs=1e-5)


def test_what_is_in_the_pipeline(served):
    found = describe(served)
    assert found["name"] == "xx_pipeline"
    assert [c["factory"] for c in found["components"]] == served.pipe_names
    assert set(found["colors"]) == {"GPE", "ORG", "PERSON"}
    assert found["glossary"]["NNP"] == "noun, proper singular" and "NOUN" in found["glossary"]
    assert found["threshold"] is None and "birnn_ner" in found["encoders"]
    ner = served.get_pipe("birnn_ner")
    ner.fitted_threshold = 0.4
    assert describe(served)["threshold"] == 0.4
    ner.threshold = 0.7
    assert describe(served)["threshold"] == 0.7
    ner.threshold = {"GPE": 0.2}
    assert describe(served)["threshold"] is None
