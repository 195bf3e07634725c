import subprocess
import sys
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import DocBin

SCRIPT = Path(__file__).resolve().parents[2] / "project" / "scripts" / "texts_of.py"
FIRST = [f"first {i}" for i in range(20)]
SECOND = [f"second {i}" for i in range(20)]


def run(*paths):
    command = [sys.executable, SCRIPT, *paths]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def corpora(tmp_path):
    nlp = spacy.blank("en")
    paths = [tmp_path / "a.spacy", tmp_path / "b.spacy"]
    for path, texts in zip(paths, (["Anna flew.", "  ", *FIRST], SECOND)):
        DocBin(docs=[nlp(text) for text in texts]).to_disk(path)
    return paths


def test_the_texts_of_all_corpora_mixed_and_the_same_each_time(corpora, tmp_path):
    written = []
    for out in (tmp_path / "new" / "texts.jsonl", tmp_path / "again.jsonl"):
        assert run(*corpora, out).returncode == 0
        written.append([line["text"] for line in srsly.read_jsonl(out)])
    texts = written[0]
    assert written[1] == texts
    assert sorted(texts) == sorted(["Anna flew.", *FIRST, *SECOND])
    # Neither corpus is read as a whole before the other
    assert {text in SECOND for text in texts[:20]} == {True, False}


def test_a_corpus_is_not_overwritten(corpora):
    """Where the output is forgotten the last corpus stands in its place."""
    before = corpora[1].read_bytes()
    result = run(*corpora)
    assert result.returncode and "must end in .jsonl" in result.stderr
    assert corpora[1].read_bytes() == before
