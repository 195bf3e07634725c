"""The benchmark of speed: what it is asked, what it hands on, and its tables. Nothing is timed."""

import sys
from importlib.util import find_spec
from itertools import islice
from xml.etree import ElementTree

import pytest
import spacy
from corpora import raw_texts
from peers import LSTMReader, build_lstm, vocabulary
from speed import Bench, find_pairs, finds_entities, main, parse_pair, take, tokens_of
from speed_one import WAYS, stream
from speed_report import picture, report
from typer import BadParameter, Typer
from typer.testing import CliRunner

RUN = {"command": "x", "date": "today", "python": "3", "versions": {"spacy": "3"}, "commit": "c"}
RUN |= {"cpu": "CPU", "cores": 2, "threads": 1, "load_at_start": 0.0}
# Words/s of two rounds; spacy-birnn is 2 and 4 times as fast as spaCy
SPEEDS = {"tokenizer": (900, 900), "spacy": (10, 10), "spacy numpy": (20, 10), "ours": (20, 40)}


@pytest.fixture
def pipeline(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler", name="ner").add_patterns([{"label": "ORG", "pattern": "Acme"}])
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, 1, sys.executable)


def measured(speed, **more):
    readings = {"first": speed, "again": 2 * speed, "first_cpu": 3 * speed, "again_cpu": speed}
    return {"start": 1.5, "loaded": 300, "read": 310, "peak": 400, **readings, **more}


def measurements(speeds):
    return {
        name: [dict.fromkeys(("nlp.pipe", "nlp(text)"), measured(speed)) for speed in rounds]
        for name, rounds in speeds.items()
    }


def tables(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tables_of_speed():
    data = {"run": RUN, "words": 100, "n_rounds": 2, "documents": [], "soak": None}
    found = measurements({**SPEEDS, "flair": (5, 5)})
    data["results"] = [{"pair": "entities", "corpus": "news", "found": found}]
    text = report(data)
    rows = {row[0]: row[1:] for row in tables(text)}
    # 2 and 4 times spaCy, 1 and 4 times its variant
    assert rows["entities on news"] == ["3.00 / 2.50"] * 4
    # The last table with that row is the one of start and memory
    assert rows["spacy-birnn"] == ["1.50 (1.50 to 1.50)", "300", "310", "400"]
    speed = next(row for row in tables(text) if row[0] == "spacy-birnn")
    assert speed[1:5] == ["30", "3.00 (2.00 to 4.00)", "60", "3.00 (2.00 to 4.00)"]
    assert "are not trained" in text and "One document" not in text
    del found["flair"]
    assert "are not trained" not in report(data)


def test_tables_of_the_document_and_the_stream():
    def points(start):
        return {"points": [(i * 1000, i * 0.5, start + i) for i in range(1, 102)]}

    soak = {"pair": "entities", "words": 100_000}
    soak["found"] = {"spacy": points(300), "ours": points(200)}
    document = {"spacy": [measured(1, seconds=4.0)], "ours": [measured(1, seconds=1.25)]}
    documents = [{"pair": "entities", "words": 50_000, "found": document}]
    data = {"run": RUN, "words": 100, "n_rounds": 1, "results": [], "documents": documents}
    rows = tables(report({**data, "soak": soak}))
    assert ["spacy-birnn", "1.25", "400"] in rows
    stream_rows = [row for row in rows if len(row) == 5 and row[0][:1].isdigit()]
    assert len(stream_rows) == 11
    assert stream_rows[-1] == ["0.10", "401", "50", "301", "50"]
    svg = ElementTree.fromstring(picture(soak))
    assert {"spaCy, MB", "spacy-birnn, MB"} <= {text.strip() for text in svg.itertext()}


def test_a_measurement_in_a_process_of_its_own(bench, pipeline):
    pair = {"spacy": pipeline, "ours": pipeline}
    inputs = bench.inputs("text", ["Acme grows."], ["Acme buys it.", "It is new."])
    found = bench.measure("spacy numpy", pair, way="nlp.pipe", **inputs)
    assert found["start"] > 0 and found["first"] > 0 and found["again_cpu"] > 0
    assert found["peak"] >= found["loaded"] > 10
    with pytest.raises(RuntimeError, match=r"speed_one\.py .* failed:\n(.|\n)*KeyError"):
        bench.measure("spacy", pair, way="nlp.pipe", first="Acme")


def test_a_library_that_is_not_there_is_left_out(bench, capsys):
    bench.build_peer("stanza", bench.file("vocabulary", vocabulary([["Acme"]])))
    installed = find_spec("stanza") is not None
    assert ("stanza" in bench.peers) == installed
    assert installed or "stanza is left out: ModuleNotFoundError" in capsys.readouterr().out


def test_a_stream_has_new_words(pipeline, bench):
    assert list(islice(stream(["a", "b"]), 3)) == ["a w1", "b w2", "a w3"]

    class Reader:
        nlp = spacy.load(pipeline)

        def many(self, texts):
            return sum(len(doc) for doc in self.nlp.pipe(texts))

    job = {"texts": bench.file("texts", ["Acme"]), "words": 9000}
    points = WAYS["soak"](Reader(), job)["points"]
    assert [words for words, _, _ in points] == [4000, 8000, 12000]


def test_the_lstm_reads_every_word(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    build_lstm(tmp_path, [], [])
    reader = LSTMReader(tmp_path)
    assert reader.one(["a", "b"]) == 2
    texts = [["a"] * n for n in range(1, 20)]
    assert reader.many(texts) == 190


def test_texts_and_tokens(tmp_path):
    (tmp_path / "test.tsv").write_text("Aspirin\tB-Chemical\nhelps\tO\n\nIt\tO\n", encoding="utf8")
    nlp = spacy.blank("en")
    texts = raw_texts(tmp_path)
    assert texts == ["Aspirin helps", "It"]
    assert take(nlp, texts, words=5) == ["Aspirin helps", "It", "Aspirin helps"]
    assert tokens_of(nlp, ["It  helps.", " "]) == [["It", "helps", "."], ["-"]]
    known = vocabulary([["b", "a"], ["b"]])
    assert known == {"words": ["b", "a"], "characters": ["a", "b"]}
    (tmp_path / "test.tsv").unlink()
    with pytest.raises(BadParameter, match=r"no corpus in .*; expected \*-test\.conllu"):
        raw_texts(tmp_path)


def test_pairs(tmp_path, pipeline):
    name, pair = parse_pair(f"entities={pipeline},{pipeline}")
    assert name == "entities" and finds_entities(pair)
    for value, message in {
        "entities": "expected NAME=SPACY_DIR,OUR_DIR",
        f"entities={pipeline}": "expected NAME=SPACY_DIR,OUR_DIR",
        f"entities={pipeline},{tmp_path}": "no file .*meta.json.*a trained pipeline",
    }.items():
        with pytest.raises(BadParameter, match=message):
            parse_pair(value)
    with pytest.raises(BadParameter, match="no trained pipelines in"):
        find_pairs(tmp_path)
    for run in ("spacy-seed1", "ours-seed1", "spacy-seed2"):
        (tmp_path / "ud" / run / "model-best").mkdir(parents=True)
    assert find_pairs(tmp_path)["ud"]["ours"].parent.name == "ours-seed1"


@pytest.mark.parametrize(
    "options,message",
    [
        ([], "no pipelines to compare"),
        (["--pair", "x=PATH,PATH", "--peers", "none"], "no file 'none'"),
    ],
)
def test_options_that_are_refused(tmp_path, pipeline, options, message):
    app = Typer()
    app.command()(main)
    options = [option.replace("PATH", str(pipeline)) for option in options]
    result = CliRunner().invoke(app, ["--data", f"x={tmp_path}", *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
