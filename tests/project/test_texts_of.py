import importlib.util
from pathlib import Path

import pytest
import spacy
import srsly
import typer
from spacy.tokens import DocBin

SCRIPT = Path(__file__).resolve().parents[2] / "project" / "scripts" / "texts_of.py"


def load_script():
    spec = importlib.util.spec_from_file_location("texts_of", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpora(tmp_path):
    nlp = spacy.blank("en")
    paths = [tmp_path / "a.spacy", tmp_path / "b.spacy"]
    for path, texts in zip(paths, (["Anna flew.", "  "], ["Bread, and butter"])):
        DocBin(docs=[nlp(text) for text in texts]).to_disk(path)
    return paths


def test_the_texts_of_all_corpora_in_order(corpora, tmp_path):
    out = tmp_path / "new" / "texts.jsonl"
    load_script().main(corpora, out)
    texts = [line["text"] for line in srsly.read_jsonl(out)]
    assert texts == ["Anna flew.", "Bread, and butter"]


def test_a_corpus_is_not_overwritten(corpora):
    """Where the output is forgotten the last corpus stands in its place."""
    before = corpora[1].read_bytes()
    with pytest.raises(typer.BadParameter, match="must end in .jsonl.*b.spacy"):
        load_script().main(corpora[:1], corpora[1])
    assert corpora[1].read_bytes() == before
