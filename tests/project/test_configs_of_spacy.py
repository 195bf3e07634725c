"""spaCy's own components with our token vectors, trained from the configs of the demonstrations."""

import io
from pathlib import Path

import numpy as np
import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

DEMOS = Path(__file__).parent.parent.parent / "project" / "demos"
TINY = {
    "dropout": 0.0,
    "locked_dropout": 0.0,
    "width": 16,
    "embed_width": 16,
    "embed_rows": 100,
    "char_width": 8,
    "word_dropout": 0.0,
}
# With each component how to read what it sets
READ = {
    "parser": lambda doc: [(token.dep_, token.head.i, token.is_sent_start) for token in doc],
    "senter": lambda doc: [token.is_sent_start for token in doc],
    "spancat": lambda doc: sorted((span.text, span.label_) for span in doc.spans["sc"]),
}


@pytest.fixture
def gold(nlp):
    words = ["Anna", "Berg", "sells", "bread", "They", "buy", "Acme"]
    doc = Doc(
        nlp.vocab,
        words=words,
        heads=[1, 2, 2, 2, 5, 5, 5],
        deps=["compound", "nsubj", "ROOT", "obj", "nsubj", "ROOT", "obj"],
    )
    doc.spans["sc"] = [Span(doc, 0, 2, label="PERSON"), Span(doc, 6, 7, label="ORG")]
    return doc


@pytest.mark.parametrize("name", READ)
def test_a_component_of_spacy_learns_from_its_config(name, gold, tmp_path):
    corpus = tmp_path / "corpus.spacy"
    DocBin(docs=[gold]).to_disk(corpus)
    settings = {
        "nlp.lang": "xx",
        "paths.train": str(corpus),
        "paths.dev": str(corpus),
        "training.max_steps": 200,
        "training.eval_frequency": 200,
        "training.dropout": 0.0,
        "training.optimizer.learn_rate": 0.007,
    }
    settings |= {f"components.{name}.model.tok2vec.{key}": value for key, value in TINY.items()}
    if name == "parser":
        settings["components.parser.min_action_freq"] = 1  # few examples, yet all labels count
    nlp = init_nlp(load_config(DEMOS / f"{name}.cfg", overrides=settings))
    tok2vec = nlp.get_pipe(name).model.get_ref("tok2vec")
    blank = nlp.make_doc(gold.text)
    before = tok2vec.predict([blank])[0]
    nlp, _ = train(nlp, tmp_path, stdout=io.StringIO(), stderr=io.StringIO())
    assert np.abs(tok2vec.predict([blank])[0] - before).max() > 0.01
    found = nlp(Doc(nlp.vocab, words=[token.text for token in gold]))
    assert READ[name](found) == READ[name](gold)
