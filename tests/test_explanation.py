"""Explanations are what the components say themselves of documents with hidden words."""

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_birnn.errors import BirnnError
from spacy_birnn.explanation import HIDDEN, explain, hide
from spacy_birnn.pipeline.confidence import get_confidence

TEXT = "Anna Berg flew from Oslo to New York ."
COMPONENTS = ("birnn_ner", "birnn_tagger", "birnn_morphologizer", "birnn_textcat")


@pytest.fixture(scope="module")
def trained(tiny_tok2vec, make_examples, fit):
    """Components, two of which listen to a shared tok2vec."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": tiny_tok2vec["width"]}
    for name in COMPONENTS:
        own = name in ("birnn_ner", "birnn_textcat")
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec if own else listener}})
    fit(nlp, make_examples(nlp), steps=40)
    return nlp


def test_hidden_words_are_unknown_ones_in_the_same_places(nlp):
    doc = Doc(nlp.vocab, words=["Anna", "\n", "flew"], spaces=[True, False, False])
    hidden = hide(doc, [0, 1])
    assert [t.text for t in hidden] == [HIDDEN, "\n", "flew"]
    assert hidden.text == f"{HIDDEN} \nflew" and doc.text == "Anna \nflew"


def test_entities_with_and_without_their_context(trained):
    found = explain(trained, TEXT, pipes=["birnn_ner"], k=2)
    component = found["components"]["birnn_ner"]
    doc = trained(TEXT)
    pipe = trained.get_pipe("birnn_ner")
    assert [(p["text"], p["label"], p["start"], p["end"]) for p in component["predicted"]] == [
        (ent.text, ent.label_, ent.start, ent.end) for ent in doc.ents
    ]
    assert "New York" in [p["text"] for p in component["predicted"]]
    given = trained.make_doc(TEXT)
    for ent, predicted in zip(doc.ents, component["predicted"]):

        def without(tokens, ent=ent):
            hidden = hide(given, tokens)
            span = Span(hidden, ent.start, ent.end, ent.label)
            return pytest.approx(pipe.span_probabilities(hidden, [span])[0], abs=1e-6)

        assert predicted["probability"] == pytest.approx(get_confidence(ent), abs=1e-6)
        assert predicted["without_word"] == [without([i]) for i in range(len(given))]
        left, right = range(ent.start), range(ent.end, len(given))
        assert predicted["without_left"] == (without(left) if left else None)
        assert predicted["without_right"] == without(right)
    best = component["best"]
    assert len(best) == 2 and best[0]["probability"] >= best[1]["probability"]
    assert [e["text"] for e in best[0]["entities"]] == [e.text for e in doc.ents]
    tags = [labels[0]["label"] for labels in component["tokens"]]
    assert tags == ["B-PERSON", "L-PERSON", "O", "O", "U-GPE", "O", "B-GPE", "L-GPE", "O"]


@pytest.mark.parametrize("name", ["birnn_tagger", "birnn_morphologizer"])
def test_the_labels_of_tokens(trained, name):
    component = explain(trained, TEXT, pipes=[name])["components"][name]
    pipe = trained.get_pipe(name)
    tok2vec = trained.get_pipe("tok2vec")
    doc = trained.make_doc(TEXT)
    probabilities = pipe.label_probabilities([tok2vec(doc)])[0]
    best = probabilities.argmax(axis=1)
    predicted = component["predicted"]
    assert [p["label"] for p in predicted] == [pipe.labels[i] for i in best]
    assert [p["probability"] for p in predicted] == pytest.approx(probabilities.max(axis=1))
    assert [labels[0]["label"] for labels in component["tokens"]] == component["best"][0]["labels"]
    hidden = tok2vec(hide(doc, range(4)))
    expected = pipe.label_probabilities([hidden])[0][4, best[4]]
    assert predicted[4]["without_left"] == pytest.approx(expected, abs=1e-6)
    assert predicted[0]["without_left"] is None and predicted[-1]["without_right"] is None


def test_categories(trained):
    found = explain(trained, TEXT, pipes=["birnn_textcat"])["components"]["birnn_textcat"]
    cats = trained(TEXT).cats
    assert {p["label"]: p["probability"] for p in found["predicted"]} == pytest.approx(cats)
    hidden = trained(hide(trained.make_doc(TEXT), [2])).cats
    assert {p["label"]: p["without_word"][2] for p in found["predicted"]} == pytest.approx(hidden)
    assert np.isclose(sum(found["attention"]), 1.0) and len(found["attention"]) == 9


def test_entities_that_were_set_before_are_not_explained(trained, reload):
    nlp = reload(trained)
    ruler = nlp.add_pipe("entity_ruler", before="birnn_ner")
    ruler.add_patterns([{"label": "SHIP", "pattern": "New York"}])
    predicted = explain(nlp, TEXT, pipes=["birnn_ner"])["components"]["birnn_ner"]["predicted"]
    assert [p["text"] for p in predicted] == ["Anna Berg", "Oslo"]


@Language.component("join_new_york")
def join_new_york(doc):
    if "New York" in doc.text:
        with doc.retokenize() as retokenizer:
            retokenizer.merge(doc[6:8])
    return doc


def test_what_cannot_be_explained(trained, reload, nlp):
    with pytest.raises(BirnnError, match="BIRNN-E090.*'tok2vec'.*birnn_ner, birnn_tagger"):
        explain(trained, TEXT, pipes=["tok2vec"])
    with pytest.raises(BirnnError, match="BIRNN-E090.*none"):
        explain(nlp, TEXT)
    for text in ("", "word " * 201):
        with pytest.raises(BirnnError, match="BIRNN-E091.*200"):
            explain(trained, text)
    with pytest.raises(BirnnError, match="BIRNN-E001.*'k'"):
        explain(trained, TEXT, k=0)
    merging = reload(trained)
    merging.add_pipe("join_new_york", first=True)
    with pytest.raises(BirnnError, match="BIRNN-E092"):
        explain(merging, TEXT)
