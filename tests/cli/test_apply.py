"""`birnn apply`: formats, what stands beside a text, lines that can't be used, going on."""

import csv
import datetime
import json
import math
import os
import signal
import subprocess
import sys

import pytest
from spacy.tokens import Doc, DocBin

from spacy_birnn.cli.apply import read_lines
from spacy_birnn.pipeline.confidence import get_confidence

TEXTS = ["Anna Berg flew from Oslo to New York .", "", " Bread  !", "They sell bread to Acme Foods"]


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def read_all(path, text_key="text", max_length=100):
    return list(read_lines(path, text_key, max_length=max_length))


@pytest.fixture
def txt(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf8")
    return path


def test_a_line_of_json_for_each_line_of_text(invoke, trained, trained_path, txt, tmp_path):
    out = tmp_path / "out.jsonl"
    result = invoke("apply", trained_path, txt, out)
    assert result.exit_code == 0 and result.stdout == ""
    found = json_lines(out)
    assert [line["text"] for line in found] == TEXTS
    for line, doc in zip(found, trained.pipe(TEXTS)):
        assert line["cats"] == pytest.approx(doc.cats, abs=1e-6)
        assert [token.get("tag") for token in line["tokens"]] == [token.tag_ for token in doc]
        assert [token.get("morph") for token in line["tokens"]] == [str(t.morph) for t in doc]
        assert [(e["text"], e["label"]) for e in line["ents"]] == [
            (ent.text, ent.label_) for ent in doc.ents
        ]
        assert [e["confidence"] for e in line["ents"]] == pytest.approx(
            [get_confidence(ent) for ent in doc.ents], abs=1e-6
        )
    assert found[0]["ents"][0]["text"] == "Anna Berg"
    # spaCy reads them
    doc = Doc(trained.vocab).from_json(found[0])
    assert [(ent.text, ent.label_) for ent in doc.ents][:1] == [("Anna Berg", "PERSON")]
    assert not (tmp_path / "out.jsonl.part").exists()


def test_what_stands_beside_a_text_is_kept(invoke, trained_path, tmp_path):
    data, out = tmp_path / "texts.jsonl", tmp_path / "out.csv"
    data.write_text(
        '{"id": 7, "body": "Anna flew from Oslo", "meta": {"a": [1]}}\n\n'
        '{"body": "Bread, \\"!\\""}\n'
    )
    assert invoke("apply", trained_path, data, out, "--text-key", "body").exit_code == 0
    with out.open(encoding="utf8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["id"] == "7" and json.loads(first["meta"]) == {"a": [1]}
    assert (first["text"], second["text"], second["id"]) == (
        "Anna flew from Oslo",
        'Bread, "!"',
        "",
    )
    assert [ent["text"] for ent in json.loads(first["ents"])]
    assert set(json.loads(second["cats"])) == {"TRAVEL", "TRADE", "SLOGAN"}


def test_parquet(invoke, trained_path, tmp_path, monkeypatch):
    """Columns whose cells have other keys, or none, in other rows."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr("spacy_birnn.cli.apply.ROWS", 2)
    data, out, lines = (tmp_path / name for name in ("in.parquet", "out.parquet", "out.jsonl"))
    notes = [None, {"a": 1}, {"b": [2.5]}, None]
    dates = [datetime.date(2020, 1, i) for i in range(1, 5)]
    columns = {"body": TEXTS, "note": notes, "date": dates, "x": [0.5, math.nan, math.inf, None]}
    parquet.write_table(pyarrow.table(columns), data)
    for path in (out, lines):
        result = invoke("apply", trained_path, data, path, "--text-key", "body")
        assert result.exit_code == 0, result.stderr
    found = parquet.read_table(out).to_pylist()
    assert [row["text"] for row in found] == TEXTS
    assert [row["date"] for row in found] == [
        "2020-01-01",
        "2020-01-02",
        "2020-01-03",
        "2020-01-04",
    ]
    assert [line["x"] for line in json_lines(lines)] == [0.5, None, None, None]
    for row, line in zip(found, json_lines(lines), strict=True):
        for key, value in line.items():
            assert without_nulls(row[key]) == without_nulls(value), key
    assert found[0]["ents"][0]["text"] == "Anna Berg"
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.new"))
    # What is written is read again
    assert [line.fields["text"] for line in read_all(out)] == TEXTS


def without_nulls(value):
    """A structure of Parquet has all keys that one of its column has."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def test_parquet_goes_on_where_it_stopped(invoke, trained_path, txt, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.parquet"
    assert invoke("apply", trained_path, txt, whole).exit_code == 0
    first, *_ = whole.read_text(encoding="utf8").splitlines(keepends=True)
    (tmp_path / "out.parquet.part").write_text(first.replace("PERSON", "KEPT"), encoding="utf8")
    result = invoke("apply", trained_path, txt, out, "--resume")
    assert result.exit_code == 0, result.stderr
    found = parquet.read_table(out).to_pylist()
    assert [row["text"] for row in found] == TEXTS
    assert found[0]["ents"][0]["label"] == "KEPT"


def test_what_parquet_cannot_hold_or_is_none(invoke, trained_path, tmp_path):
    pytest.importorskip("pyarrow")
    data, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    data.write_text('{"text": "a", "x": {"y": 1}}\n{"text": "b", "x": "z"}\n')
    result = invoke("apply", trained_path, data, out)
    assert result.exit_code == 1 and "Parquet can't hold" in result.stderr
    assert not out.exists() and len(json_lines(tmp_path / "out.parquet.part")) == 2
    broken = tmp_path / "broken.parquet"
    broken.write_text("no table")
    result = invoke("apply", trained_path, broken, tmp_path / "out.csv")
    assert result.exit_code == 1 and "broken.parquet" in result.stderr


def test_without_pyarrow_parquet_says_what_to_install(
    invoke, trained_path, txt, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = invoke("apply", trained_path, txt, tmp_path / "out.parquet")
    assert result.exit_code == 1 and 'pip install "spacy-birnn[parquet]"' in result.stderr


def test_tab_separated_values(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text('id\ttext\n1\tBread, fresh\n2\t"two\nlines"\n', encoding="utf8")
    assert [line.fields for line in read_all(path)] == [
        {"id": "1", "text": "Bread, fresh"},
        {"id": "2", "text": "two\nlines"},
    ]


def test_documents_of_spacy(invoke, trained, trained_path, txt, tmp_path):
    out = tmp_path / "out.spacy"
    assert invoke("apply", trained_path, txt, out, "--n-process", 2).exit_code == 0
    docs = list(DocBin().from_disk(out).get_docs(trained.vocab))
    for doc, expected in zip(docs, trained.pipe(TEXTS), strict=True):
        assert doc.to_json() == {**expected.to_json(), "cats": doc.cats} or not len(doc)
        assert [get_confidence(ent) for ent in doc.ents] == pytest.approx(
            [get_confidence(ent) for ent in expected.ents], abs=1e-6
        )
    assert docs[0].ents


def test_rows_with_line_breaks_and_large_cells(tmp_path):
    path = tmp_path / "texts.csv"
    big = "x" * 200_000
    path.write_bytes(
        b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n\r\n2\r\n3,"' + big.encode() + b'"\n4,last\n'
    )
    found = read_all(path, max_length=10**6)
    assert [line.number for line in found] == [2, 5, 6, 7]
    assert [line.fields.get("text") for line in found] == ["two\r\nlines", None, big, "last"]
    assert "1 cells, but the header has 2" in found[1].fault
    # A quote that is not closed takes what follows with it
    path.write_text('text\nright\n"open\nlast\n')
    assert [(line.number, bool(line.fault)) for line in read_all(path)] == [(2, False), (3, True)]


BROKEN = b"""{"text": "right"}
{"text": "cut
["text"]
{"body": "no text"}
{"text": 7}
{"text": "\xe9"}
{"text": "\\ud800"}
{"text": "%s"}
{"text": "right too"}
""" % (b"x" * 101)


def test_each_fault_is_named_with_its_line(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(BROKEN)
    found = read_all(path)
    assert [line.number for line in found if not line.fault] == [1, 9]
    expected = ["no JSON:", "no JSON object", "'text', but body", "7", "UTF-8", "UTF-8", "101 char"]
    for line, (number, words) in zip(found[1:-1], enumerate(expected, start=2), strict=True):
        assert line.number == number and words in line.fault


def test_lines_that_cannot_be_used_end_the_run_or_are_skipped(invoke, trained_path, tmp_path):
    data, out = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"text": "Bread !"}\n{"text": "cut\n{"text": "Oslo"}\n')
    result = invoke("apply", trained_path, data, out)
    assert result.exit_code == 1 and "line 2: it is no JSON" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts.jsonl"]
    result = invoke("apply", trained_path, data, out, "--skip")
    assert result.exit_code == 0 and "line 2: it is no JSON" in _flat(result.stderr)
    assert [line["text"] for line in json_lines(out)] == ["Bread !", "Oslo"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("texts.txt", b"", "no texts"),
        ("texts.txt", "\u00fc\n".encode("latin-1"), "line 1: it is not valid UTF-8"),
        ("texts.txt", "x\n".encode("utf-16"), "texts.txt' is UTF-16: save it as UTF-8"),
        ("texts.csv", "text\n".encode("utf-16"), "texts.csv' is UTF-16: save it as UTF-8"),
        ("texts.jsonl", b'{"text": 1\n', "no JSON: Expecting ',' delimiter at character 12"),
        ("texts.csv", b"a,b\n1,2\n", "no column 'text'. It has: a, b"),
        ("texts.xlsx", b"x", "must end in one of: .txt, .jsonl, .csv"),
        ("texts.txt", b"x" * 1_000_001, "1000001 characters, but the pipeline takes 1000000"),
    ],
)
def test_input_that_cannot_be_used(invoke, trained_path, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    result = invoke("apply", trained_path, tmp_path / name, tmp_path / "out.jsonl")
    assert result.exit_code == 1 and message in _flat(result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_nothing_is_overwritten_unasked(invoke, trained_path, txt, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    result = invoke("apply", trained_path, txt, out)
    assert result.exit_code == 1 and out.read_text() == "mine"
    assert invoke("apply", trained_path, txt, out, "--force").exit_code == 0
    assert len(json_lines(out)) == len(TEXTS)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "Oslo"}\n')
    result = invoke("apply", trained_path, lines, lines, "--force")
    assert result.exit_code == 1 and json_lines(lines) == [{"text": "Oslo"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".spacy"])
def test_a_run_goes_on_where_it_was_stopped(invoke, trained_path, txt, tmp_path, suffix):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    part = tmp_path / f"out{suffix}.part"
    lines = tmp_path / ("whole.jsonl" if suffix != ".spacy" else "whole.b64")
    assert invoke("apply", trained_path, txt, whole, "-b", 1).exit_code == 0
    if suffix == ".csv":
        invoke("apply", trained_path, txt, lines, "-b", 1)
    if suffix == ".spacy":
        # A disk that is full at the end leaves all of OUT.part
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DocBin, "to_disk", _full_disk)
            result = invoke("apply", trained_path, txt, out, "-b", 1)
        assert result.exit_code == 1 and "No space left" in result.stderr
        part.rename(lines)
    content = lines.read_bytes()
    second = content.index(b"\n", content.index(b"\n") + 1) + 1
    part.write_bytes(content[: second + 5])

    result = invoke("apply", trained_path, txt, out)
    assert result.exit_code == 1 and "--resume" in result.stderr
    assert part.stat().st_size == second + 5 and not out.exists()
    result = invoke("apply", trained_path, txt, out, "--resume", "-b", 1)
    assert result.exit_code == 0 and not part.exists()
    assert out.read_bytes() == whole.read_bytes()


def _flat(text):
    """Messages without their line breaks."""
    return " ".join(text.split())


def _full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_it_goes_on_with_its_own_input_only(invoke, trained_path, txt, tmp_path):
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    part.write_text('{"text": "another"}\n')
    for content in ('{"text": "another"}\n', '{"text": "another"}\n' * 9):
        part.write_text(content)
        result = invoke("apply", trained_path, txt, out, "--resume")
        assert result.exit_code == 1 and "not of this input" in result.stderr
        assert part.read_text() == content
    assert invoke("apply", trained_path, txt, out, "--force").exit_code == 0
    assert len(json_lines(out)) == len(TEXTS)


KILLED = """
import os, signal, sys
import spacy_birnn.cli.apply as apply
from spacy_birnn.cli import main
line_of = apply.JsonLines.line_of

def killed(self, doc, fields):
    if doc.text.startswith("They"):
        os.kill(os.getpid(), signal.SIGKILL)
    return line_of(self, doc, fields)

apply.JsonLines.line_of = killed
main()
"""


def test_a_run_that_is_killed_leaves_what_it_had(invoke, trained_path, txt, tmp_path):
    out = tmp_path / "out.jsonl"
    args = [sys.executable, "-c", KILLED, "apply", trained_path, str(txt), str(out)]
    killed = subprocess.run(args, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists() and len(json_lines(tmp_path / "out.jsonl.part")) == len(TEXTS) - 1
    assert invoke("apply", trained_path, txt, out, "--resume").exit_code == 0
    assert [line["text"] for line in json_lines(out)] == TEXTS


def test_ctrl_c_says_how_to_go_on(invoke, trained_path, txt, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spacy_birnn.cli.apply.JsonLines.line_of", interrupted)
        result = invoke("apply", trained_path, txt, tmp_path / "out.jsonl")
    assert result.exit_code == 130
    assert "out.jsonl.part" in result.stderr and "--resume" in result.stderr
    assert "apply was stopped" in result.stderr
    result = invoke("apply", trained_path, txt, tmp_path / "out.jsonl", "--resume")
    assert result.exit_code == 0 and len(json_lines(tmp_path / "out.jsonl")) == len(TEXTS)


def test_a_long_header_is_not_printed_whole(invoke, trained_path, tmp_path):
    (tmp_path / "texts.csv").write_text(",".join(["word"] * 10_000))
    result = invoke("apply", trained_path, tmp_path / "texts.csv", tmp_path / "out.jsonl")
    assert result.exit_code == 1 and len(result.stderr) < 1000
