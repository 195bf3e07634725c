import subprocess
import sys
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import DocBin

SCRIPT = Path(__file__).resolve().parents[2] / "project" / "scripts" / "texts_of.py"


def run(*paths):
    command = [sys.executable, SCRIPT, *paths]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def corpora(tmp_path):
    nlp = spacy.blank("en")
    paths = [tmp_path / "a.spacy", tmp_path / "b.spacy"]
    for path, texts in zip(paths, (["Anna flew.", "  "], ["Bread, and butter"])):
        DocBin(docs=[nlp(text) for text in texts]).to_disk(path)
    return paths


def test_the_texts_of_all_corpora_in_order(corpora, tmp_path):
    out = tmp_path / "new" / "texts.jsonl"
    assert run(*corpora, out).returncode == 0
    texts = [line["text"] for line in srsly.read_jsonl(out)]
    assert texts == ["Anna flew.", "Bread, and butter"]


def test_a_corpus_is_not_overwritten(corpora):
    """Where the output is forgotten the last corpus stands in its place."""
    before = corpora[1].read_bytes()
    result = run(*corpora)
    assert result.returncode and "must end in .jsonl" in result.stderr
    assert corpora[1].read_bytes() == before
