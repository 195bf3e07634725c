"""`birnn convert`: what ends up in the .spacy files, what is reported, and what is refused."""

import json
import re
import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_birnn.cli  # noqa: F401
from spacy_birnn.cli._app import app
from spacy_birnn.data.conll import spans_of_tags

VOCAB = spacy.blank("en").vocab


@pytest.fixture
def convert(tmp_path):
    """Convert a file with this name and content to one file. Returns its documents and the
    report."""

    def run(name, content, *options):
        path, out = tmp_path / name, tmp_path / "out.spacy"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
        arguments = ["convert", str(path), str(out), "--lang", "xx", "--json", "--force", *options]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        docs = list(DocBin().from_disk(out).get_docs(VOCAB))
        return docs, json.loads(result.stdout)

    return run


@pytest.fixture
def refuse(tmp_path):
    """What is said of a file that can't be converted. Nothing is written then."""

    def run(name, content, *options, out="out"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
        before = sorted(tmp_path.rglob("*"))
        result = CliRunner().invoke(
            app, ["convert", str(path), str(tmp_path / out), "--lang", "xx", *options]
        )
        assert result.exit_code == 1 and result.stdout == ""
        assert sorted(tmp_path.rglob("*")) == before
        return " ".join(result.stderr.split())

    return run


def lines(*records):
    return "\n".join(json.dumps(record) for record in records)


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


TEXT = "Anna Berg flew to Oslo."
SPANS = [("Anna Berg", "PER"), ("Oslo", "LOC")]


@pytest.mark.parametrize(
    "record",
    [
        {
            "text": TEXT,
            "tokens": [{"text": "Anna", "start": 0, "end": 4, "id": 0}],
            "spans": [
                {"start": 0, "end": 9, "label": "PER", "token_start": 0, "token_end": 1},
                {"start": 18, "end": 22, "label": "LOC"},
            ],
            "answer": "accept",
        },
        {"id": 1, "text": TEXT, "label": [[0, 9, "PER"], [18, 22, "LOC"]]},
        {"id": 1, "data": TEXT, "labels": [[0, 9, "PER"], [18, 22, "LOC"]]},
        {
            "text": TEXT,
            "entities": [
                {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 9},
                {"id": 2, "label": "LOC", "start_offset": 18, "end_offset": 22},
            ],
            "relations": [],
        },
        [TEXT, {"entities": [[0, 9, "PER"], [18, 22, "LOC"]]}],
        {
            "text": TEXT,
            "label": [
                {"start": 0, "end": 9, "text": "Anna Berg", "labels": ["PER"]},
                {"start": 18, "end": 22, "text": "Oslo", "labels": ["LOC"]},
            ],
        },
        {
            "data": {"body": TEXT},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {
                    "result": [
                        {"type": "labels", "value": {"start": 0, "end": 9, "labels": ["PER"]}},
                        {"type": "labels", "value": {"start": 18, "end": 22, "labels": ["LOC"]}},
                        {"type": "relation", "from_id": "a", "to_id": "b"},
                    ]
                },
            ],
        },
    ],
    ids=["prodigy", "doccano", "doccano-data", "doccano-entities", "spacy2", "ls-min", "ls"],
)
def test_entities_in_the_shapes_of_tools(convert, record):
    for name, content in (("a.jsonl", lines(record)), ("a.json", json.dumps([record]))):
        (doc,), report = convert(name, content)
        assert doc.text == TEXT and ents(doc) == SPANS and not doc.cats
        assert all(token.ent_iob_ for token in doc)
        assert report["format"] == name[2:]
        assert report["labels"] == {"entities": {"LOC": {"all": 1}, "PER": {"all": 1}}}


@pytest.mark.parametrize(
    "first, second",
    [
        ({"text": "Good.", "label": "pos"}, {"text": "Bad.", "label": "neg"}),
        ({"sentence": "Good.", "label": ["pos"]}, {"sentence": "Bad.", "label": ["neg"]}),
        (
            {"text": "Good.", "cats": {"pos": 1, "neg": 0}},
            {"text": "Bad.", "cats": {"neg": True, "pos": False}},
        ),
        (
            {"text": "Good.", "options": [{"id": "pos"}, {"id": "neg"}], "accept": ["pos"]},
            {"text": "Bad.", "options": [{"id": "pos"}, {"id": "neg"}], "accept": ["neg"]},
        ),
        (
            {
                "data": {"text": "Good."},
                "annotations": [{"result": [{"value": {"choices": ["pos"]}}]}],
            },
            {
                "data": {"text": "Bad."},
                "annotations": [{"result": [{"value": {"choices": ["neg"]}}]}],
            },
        ),
    ],
)
def test_categories_in_the_shapes_of_tools(convert, first, second):
    (good, bad), report = convert("a.jsonl", lines(first, second))
    assert (good.text, bad.text) == ("Good.", "Bad.")
    assert good.cats == {"neg": 0, "pos": 1} and bad.cats == {"neg": 1, "pos": 0}
    assert not good.has_annotation("ENT_IOB")
    assert report["labels"] == {"categories": {"neg": {"all": 1}, "pos": {"all": 1}}}


def test_a_text_without_label_has_none_where_others_have_some(convert):
    docs, _ = convert("a.jsonl", lines({"text": "a", "label": []}, {"text": "b", "label": ["X"]}))
    assert [doc.cats for doc in docs] == [{"X": 0}, {"X": 1}]
    docs, _ = convert(
        "a.jsonl", lines({"text": "a", "label": []}, {"text": "b", "label": [[0, 1, "X"]]})
    )
    assert [ents(doc) for doc in docs] == [[], [("b", "X")]]
    assert [doc[0].ent_iob_ for doc in docs] == ["O", "B"]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", '\ufeffid,text,label\r\n1,"Say ""hi"", now\nplease",A\r\n\r\n2,Bye,B\r\n'),
        ("a.csv", 'id;text;label\n1;"Say ""hi"", now\nplease";A\n2;Bye;B'),
        ("a.tsv", 'id\ttext\tlabel\n1\t"Say ""hi"", now\nplease"\tA\n2\tBye\tB\n'),
    ],
)
def test_tables(convert, name, content):
    docs, report = convert(name, content)
    assert [doc.text for doc in docs] == ['Say "hi", now\nplease', "Bye"]
    assert [doc.cats for doc in docs] == [{"A": 1, "B": 0}, {"A": 0, "B": 1}]
    assert report["format"] == name[2:]


def test_columns_and_numbers_get_their_names(convert):
    options = ("--text", "Review", "--label", "Stars", "--names", "bad, good")
    docs, _ = convert("a.csv", "Review,Stars\nFine,1\nUgh,0\nHm,\n", *options)
    assert [doc.cats for doc in docs] == [{"bad": 0, "good": 1}, {"bad": 1, "good": 0}]


def test_a_text_of_a_megabyte_fits_a_field(convert):
    text = "word " * 190_000
    (doc,), _ = convert("a.csv", f"text,label\n{text},A\n")
    assert len(doc) == 190_000


BY_SCHEME = {
    "IOB": "I-LOC B-LOC O I-PER I-PER O",
    "IOB2": "B-LOC B-LOC O B-PER I-PER O",
    "BIOES": "S-LOC S-LOC O B-PER E-PER O",
    "BILUO": "U-LOC U-LOC O B-PER L-PER O",
}


@pytest.mark.parametrize("scheme", BY_SCHEME)
@pytest.mark.parametrize("form", ["conll", "tabs", "hf"])
def test_tagging_schemes(convert, scheme, form):
    words, tags = "Oslo Bergen and Anna Berg !".split(), BY_SCHEME[scheme].split()
    if form == "hf":
        content = lines({"id": "0", "tokens": words, "ner_tags": tags})
    elif form == "tabs":
        content = "".join(f"{word}\t{tag}\r\n" for word, tag in zip(words, tags))
    else:
        rows = [f"{word} NN {tag}\n" for word, tag in zip(words, tags)]
        content = "-DOCSTART- -X- O\n\n# a comment\n" + "".join(rows) + "\n\nYes UH O\n"
    docs, report = convert("a.txt", content)
    assert ents(docs[0]) == [("Oslo", "LOC"), ("Bergen", "LOC"), ("Anna Berg", "PER")]
    assert [token.text for token in docs[0]] == words and docs[0].has_unknown_spaces
    assert len(docs) == 1 + (form == "conll")
    assert report["notes"] == {}
    assert report["format"] == ("jsonl" if form == "hf" else f"conll ({scheme})")


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("E-A", [(0, 1, "A")]),
        ("B-A O E-A", [(0, 1, "A"), (2, 3, "A")]),
        ("B-A I-B L-B", [(0, 1, "A"), (1, 3, "B")]),
        ("B-A E-A E-A", [(0, 2, "A"), (2, 3, "A")]),
        ("S-A I-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A M-A E-A", [(0, 3, "A")]),
        ("B-x-y I-x-y", [(0, 2, "x-y")]),
    ],
)
def test_tags_that_break_their_scheme_lose_no_entity(tags, expected):
    assert spans_of_tags(tags.split()) == expected


def test_broken_tags_are_counted(convert):
    _, report = convert("a.conll", "a B-A\nb O\nc E-A\nd S-A\n")
    assert report["notes"] == {"tags that do not fit their scheme": 2}
    _, report = convert("a.conll", "a B-A\nb O\nc I-A\n")
    assert report["notes"] == {"tags that do not fit their scheme": 1}


def test_tokens_with_white_space_and_signs_of_comments(convert):
    (doc,), report = convert("a.conll", "#\tO\nNew York\tB-LOC\n\u00a0\tO\n\u2028x\tO\n")
    assert [token.text for token in doc] == ["#", "New York", "\u2028x"]
    assert report["notes"] == {"rows without a token": 1}


def test_numbers_as_tags(convert):
    record = {"tokens": ["In", "Oslo"], "ner_tags": [0, 1]}
    (doc,), _ = convert("a.jsonl", lines(record), "--names", "O,B-LOC")
    assert ents(doc) == [("Oslo", "LOC")]


@pytest.fixture
def to_parquet(tmp_path):
    """The bytes of a Parquet file with these rows, and the names of labels as Hugging Face has
    them."""
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    def write(rows, **names):
        features = {
            key: {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}
            if isinstance(rows[0][key], list)
            else {"names": names, "_type": "ClassLabel"}
            for key, names in names.items()
        }
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = Table.from_pylist(rows).replace_schema_metadata(metadata)
        parquet.write_table(table, tmp_path / "rows")
        return (tmp_path / "rows").read_bytes()

    return write


def test_parquet(convert, to_parquet):
    rows = [{"id": "0", "tokens": ["In", "Oslo"], "ner_tags": [0, 1]}]
    (doc,), report = convert("a.parquet", to_parquet(rows, ner_tags=["O", "B-LOC"]))
    assert ents(doc) == [("Oslo", "LOC")] and report["format"] == "parquet"
    rows = [{"text": "Fine", "label": 1}, {"text": "Ugh", "label": 0}]
    docs, _ = convert("a.bin", to_parquet(rows, label=["bad", "good"]))
    assert [doc.cats for doc in docs] == [{"bad": 0, "good": 1}, {"bad": 1, "good": 0}]
    docs, _ = convert("a.parquet", to_parquet(rows), "--names", "no,yes")
    assert [doc.cats for doc in docs] == [{"no": 0, "yes": 1}, {"no": 1, "yes": 0}]


def test_a_damaged_parquet_file(refuse, to_parquet):
    content = to_parquet([{"text": "Fine", "label": "A"}])
    assert "BIRNN-E074" in refuse("a.parquet", content[:40])
    assert "BIRNN-E074" in refuse("b.txt", "Fine", "--format", "parquet")


def test_without_pyarrow_parquet_says_what_to_install(refuse, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert 'pip install "spacy-birnn[parquet]"' in refuse("a.parquet", b"PAR1 and so on")


CONLLU = """\
# text = Du chat, don't!
1-2\tDu\t_\t_\t_\t_\t_\t_\t_\t_
1\tDe\tde\tADP\t_\t_\t3\tcase\t_\t_
2\tle\tle\tDET\t_\tDefinite=Def\t3\tdet\t_\t_
3\tchat\tchat\tNOUN\t_\tNumber=Sing\t0\troot\t_\tSpaceAfter=No|name=U-ANIMAL
4\t,\t_\tPUNCT\t,\t_\t3\tpunct\t_\t_
5-6\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
5\tdo\tdo\tAUX\t_\t_\t3\tdep\t_\t_
6\tn't\tnot\tPART\t_\t_\t5\tadvmod\t_\tname=U-NO
6.1\tgone\tgo\t_\t_\t_\t_\t_\t_\t_
7\t!\t!\tPUNCT\t.\t_\t3\tpunct\t_\t_
"""


def test_treebanks(convert):
    (doc,), report = convert("a.conllu", CONLLU)
    assert doc.text.strip() == "Du chat, don't!"
    assert [token.text for token in doc] == ["Du", "chat", ",", "do", "n't", "!"]
    assert [token.lemma_ for token in doc] == ["de le", "chat", "", "do", "not", "!"]
    assert [token.tag_ for token in doc] == ["ADP_DET", "NOUN", ",", "AUX", "PART", "."]
    assert str(doc[1].morph) == "Number=Sing" and doc[3].pos_ == "AUX"
    assert [token.head.i for token in doc] == [1, 1, 1, 1, 3, 1]
    assert ents(doc) == [("chat", "ANIMAL"), ("n't", "NO")]
    assert report["labels"]["tags"]["NOUN"] == {"all": 1}
    assert sum(report["notes"].values()) == 1


def test_a_treebank_without_trees_has_one_sentence_a_document(convert):
    content = "".join(f"{i}\tword\t_\tNOUN\t_\t_\t_\t_\t_\t_\n" for i in (1, 2))
    (doc,), _ = convert("a.txt", content)
    assert not doc.has_annotation("DEP") and not doc.has_annotation("LEMMA")
    assert [token.is_sent_start for token in doc] != [True, True]


def test_spans_that_do_not_align_are_missing_and_reported(convert):
    spans = [[0, 9, "PER"], [18, 21, "LOC"], [9, 10, "GAP"], [14, 18, "TO"]]
    (doc,), report = convert("a.jsonl", lines({"text": TEXT, "spans": spans}))
    assert ents(doc) == [("Anna Berg", "PER"), ("to", "TO")]
    assert [token.ent_iob_ for token in doc] == ["B", "I", "O", "B", "", "O"]
    lost = [(one["text"], one["label"]) for one in report["misaligned"]]
    assert lost == [("Osl", "LOC"), (" ", "GAP")]
    assert report["misaligned"][0]["where"].endswith("a.jsonl', line 1")
    assert report["trimmed"] == 1


def test_of_overlapping_spans_the_longest_stays(convert):
    spans = [[0, 4, "A"], [0, 9, "PER"], [5, 14, "B"], [18, 22, "X"], [18, 22, "Y"], [18, 22, "X"]]
    (doc,), report = convert("a.jsonl", lines({"text": TEXT, "spans": spans}))
    assert ents(doc) == [("Anna Berg", "PER"), ("Oslo", "X")]
    dropped = [(one["text"], one["label"]) for one in report["overlaps"]]
    assert sorted(dropped) == [("Anna", "A"), ("Berg flew", "B"), ("Oslo", "Y")]


def test_records_that_teach_nothing_are_left_out_and_counted(convert):
    accepted = {"text": "b", "spans": [[0, 1, "X"]]}
    docs, report = convert(
        "a.jsonl",
        lines(
            accepted, {**accepted, "answer": "reject"}, {"text": "c"}, {"text": " ", "spans": []}
        ),
    )
    assert len(docs) == 1
    assert report["notes"] == {
        "annotations without a text": 1,
        "answers other than 'accept'": 1,
        "texts without annotation": 1,
    }


def test_of_several_annotators_the_first_counts(convert):
    first = {"result": [{"value": {"start": 0, "end": 4, "labels": ["PER"]}}]}
    second = {"result": [{"value": {"start": 18, "end": 22, "labels": ["LOC"]}}]}
    cancelled = {"was_cancelled": True, "result": []}
    task = {"data": {"text": TEXT}, "annotations": [cancelled, first, second]}
    (doc,), report = convert("a.json", json.dumps([task, {"data": {"text": "b"}}]))
    assert ents(doc) == [("Anna", "PER")]
    assert report["notes"] == {
        "further annotations of the same text": 1,
        "texts without annotation": 1,
    }


def test_a_text_of_another_task_is_left_out(convert):
    docs, report = convert(
        "a.jsonl", lines({"text": "a", "cats": {"A": 1}}, {"text": "b", "spans": []})
    )
    assert [doc.text for doc in docs] == ["a"]
    assert report["notes"] == {"texts without annotation": 1}


def texts_by_part(directory):
    return {
        path.stem: [doc.text for doc in DocBin().from_disk(path).get_docs(VOCAB)]
        for path in sorted(directory.iterdir())
    }


def split(tmp_path, content, *options):
    path = tmp_path / "a.csv"
    path.write_text(content)
    result = CliRunner().invoke(
        app, ["convert", str(path), str(tmp_path / "out"), "--lang", "xx", *options]
    )
    assert result.exit_code == 0, result.stderr
    return texts_by_part(tmp_path / "out"), result.stdout


def test_duplicates_are_dropped_and_stay_together(tmp_path):
    rows = [f"text {i},{label}" for i in range(50) for label in ("A", "A", "B")]
    parts, report = split(tmp_path, "\n".join(["text,label", *rows, "text  7,A"]))
    assert {name: len(texts) for name, texts in parts.items()} == pytest.approx(
        {"train": 80, "dev": 10, "test": 10}, abs=2
    )
    groups = [{" ".join(text.split()) for text in texts} for texts in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 50
    assert sum(map(len, parts.values())) == 101
    assert "duplicates, dropped" in report and "texts with several annotations" in report
    kept, _ = split(tmp_path, (tmp_path / "a.csv").read_text(), "--keep-duplicates", "--force")
    assert sum(map(len, kept.values())) == 151


def test_the_split_follows_its_shares_and_seed(tmp_path):
    content = "\n".join(["text,label", *[f"text {i},A" for i in range(40)]])
    first, _ = split(tmp_path, content, "--split", "2/1/1")
    assert [len(first[name]) for name in ("train", "dev", "test")] == [20, 10, 10]
    assert split(tmp_path, content, "--split", "2/1/1", "--force")[0] == first
    assert split(tmp_path, content, "--split", "2/1/1", "--seed", "1", "--force")[0] != first
    # A test part of before would have texts of the new ones
    two, _ = split(tmp_path, content, "--split", "75/25", "--force")
    assert {name: len(texts) for name, texts in two.items()} == {"train": 30, "dev": 10}


@pytest.mark.parametrize("value", ["80", "80/20/0", "a/b", "60-20-20", "1/2/3/4", "inf/1"])
def test_an_impossible_split_is_a_usage_error(tmp_path, value):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,A\n")
    result = CliRunner().invoke(app, ["convert", str(path), str(tmp_path), "--split", value])
    assert result.exit_code == 2 and value in result.stderr


def test_what_is_there_is_overwritten_only_by_force(refuse, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dev.spacy").write_text("precious")
    assert "dev.spacy' is there already" in refuse("a.csv", "text,label\na,A\n")
    assert (tmp_path / "out" / "dev.spacy").read_text() == "precious"


GOOD = {"text": "In Oslo", "spans": [[3, 7, "LOC"]]}


def good_and(record):
    return lines(GOOD) + "\n\n" + (record if isinstance(record, str) else lines(record))


@pytest.mark.parametrize(
    "name, content, code, expected",
    [
        ("a.jsonl", " \n\n", "E070", "is empty"),
        ("a.csv", b"", "E070", "is empty"),
        (
            "a.csv",
            "text,label\n\nM\u00fcller,A".encode("latin-1"),
            "E071",
            "line 3 .* 0xfc.* WIN",
        ),
        ("a.csv", "text,label\n".encode("utf-16"), "E071", "line 1 .* UTF-16"),
        ("a.xyz", "Nothing that is known.", "E072", "--format"),
        ("a.jsonl", good_and('{"text": "b", '), "E074", "line 3 .* at character"),
        ("a.json", '[{"text": "b"\n"label"}]', "E074", "character 1 of line 2"),
        ("a.jsonl", "[" * 100_000, "E074", "line 1"),
        ("a.json", "5", "E073", "an array"),
        ("a.jsonl", good_and("5"), "E073", "line 3.*found 5"),
        ("a.jsonl", good_and({"text": 5, "spans": []}), "E073", "line 3.*found 5"),
        (
            "a.jsonl",
            good_and({"text": "abc", "spans": [[1, 4, "X"]]}),
            "E075",
            "line 3.* 1 to 4 .* 3 char",
        ),
        ("a.jsonl", good_and({"text": "abc", "spans": [[-1, 2, "X"]]}), "E075", "line 3.* -1 to 2"),
        (
            "a.jsonl",
            good_and({"text": "abc", "spans": [[2, 2, "X"]]}),
            "E075",
            "line 3.* 2 to 2.*no characters",
        ),
        (
            "a.jsonl",
            good_and(
                {
                    "text": "\U0001f600 ab",
                    "label": [{"start": 3, "end": 4, "text": "a", "labels": ["X"]}],
                }
            ),
            "E075",
            "'b' there, not 'a'",
        ),
        ("a.jsonl", good_and({"text": "abc", "spans": [{"start": 1, "end": 2}]}), "E073", "line 3"),
        ("a.jsonl", good_and({"text": "abc", "spans": [[0, "1", "X"]]}), "E073", "line 3"),
        (
            "a.jsonl",
            good_and({"body": "abc", "spans": []}),
            "E076",
            "line 3 .*'text'.*'body', 'spans'.*--text",
        ),
        ("a.jsonl", good_and({"data": {"text": "b"}, "annotations": [5]}), "E073", "line 3"),
        (
            "a.jsonl",
            good_and({"data": {"text": "b"}, "annotations": [{"result": [{"value": 5}]}]}),
            "E073",
            "line 3",
        ),
        ("a.jsonl", lines({"text": "abc"}), "E078", "None of the 0"),
        ("a.jsonl", lines({"text": "abc", "spans": []}), "E078", "None of the 1"),
        ("a.jsonl", good_and({"text": "b \ud83d", "spans": []}), "E074", "line 3"),
        ("a.jsonl", good_and({"text": "b" * 1_000_001, "spans": []}), "E074", "line 3.*1000001"),
        ("a.csv", "text,class\na,A\n", "E076", "'label'.*'text', 'class'.*--label"),
        ("a.csv", "text,label\na,A\nb\n", "E073", "line 3.*2 columns"),
        ("a.tsv", 'text\tlabel\n"a" b\tA\n', "E079", "line 2"),
        ("a.conll", "a O\n\nb B-X\nc Z-X\n", "E073", "line 4.*'Z-X'"),
        ("a.conll", "a O\n\nb B-X\nc\n", "E073", "line 4.*'c'"),
        ("a.jsonl", lines({"tokens": ["a"], "ner_tags": ["O", "O"]}), "E073", "each of the 1"),
        ("a.jsonl", lines({"tokens": ["a"], "ner_tags": [1]}), "E077", "--names"),
        ("a.conllu", CONLLU + "8\tx\n", "E073", "line 12.*10 columns"),
        ("a.conllu", CONLLU.replace("\t3\tcase", "\t33\tcase"), "E073", "line 11.*'33'.*0 to 7"),
        ("a.conllu", CONLLU.replace("ADP", "ADPOSITION"), "E074", "ADPOSITION"),
        ("a.csv", "text,label\na,A\nb,B\n", "E081", "test: 2 documents"),
    ],
)
def test_what_cannot_be_converted_is_named(refuse, name, content, code, expected):
    said = refuse(name, content)
    assert f"BIRNN-{code}" in said and re.search(expected, said), said


def test_a_column_that_there_is_not_is_named(refuse):
    said = refuse("a.csv", "text,label\na,A\n", "--label", "class")
    assert "E076" in said and "'class'" in said and "'text', 'label'" in said


def test_a_number_without_a_name_is_named(refuse):
    assert "label '2'" in refuse("a.csv", "text,label\na,1\nb,2\n", "--names", "bad,good")


def test_an_unknown_language_and_a_missing_file(refuse, tmp_path):
    assert "--lang qq" in refuse("a.csv", "text,label\na,A\n", "--lang", "qq")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "no.csv"), str(tmp_path / "out")])
    assert result.exit_code == 1 and "no.csv" in result.stderr


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch):
    content = "\n".join(["text,label", *[f"text {i},A" for i in range(40)]])
    before, _ = split(tmp_path, content)

    def full(path, data):
        path.touch()
        if "test" in path.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    arguments = ["convert", str(tmp_path / "a.csv"), str(tmp_path / "out"), "-F", "--seed", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert texts_by_part(tmp_path / "out") == before
