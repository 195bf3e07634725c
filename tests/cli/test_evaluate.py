"""What `birnn evaluate` reports of a pipeline, in tables, in JSON and on a page."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

import spacy_birnn.cli  # noqa: F401
from spacy_birnn.cli._app import app

WORDS = ["Anna", "Berg", "met", "Acme", "<b>Oslo</b>", "&", "Co", "."]


def run(*args):
    result = CliRunner().invoke(app, ["evaluate", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def run_json(*args):
    code, out, err = run(*args, "--json")
    assert code == 0, err
    return json.loads(out)


def lines_of(out):
    return [" ".join(line.split()) for line in out.splitlines()]


def save_docs(path, docs):
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture
def rules(tmp_path):
    """A pipeline without a model, whose entities are known, and documents with others."""
    nlp = spacy.blank("xx")
    patterns = [("PER", "Anna"), ("LOC", "Acme"), ("ORG", "Co"), ("LOC", "<b>Oslo</b>")]
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": [{"ORTH": word}]} for label, word in patterns])
    nlp.to_disk(tmp_path / "model")
    doc = Doc(nlp.vocab, words=WORDS)
    doc.set_ents([Span(doc, 0, 2, "PER"), Span(doc, 3, 4, "ORG"), Span(doc, 4, 5, "LOC")])
    missed = Doc(nlp.vocab, words=["Bergen", "is", "far"])
    missed.set_ents([Span(missed, 0, 1, "LOC")])
    return tmp_path / "model", save_docs(tmp_path / "data.spacy", [doc, missed])


@pytest.fixture
def trained(nlp, tiny_tok2vec, make_examples, fit, tmp_path):
    """Two pipelines of which the first knows more, and what they were trained on, several times."""
    for name in ("birnn_tagger", "birnn_ner", "birnn_textcat"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    examples = make_examples(nlp)
    fit(nlp, examples, steps=1)
    nlp.to_disk(tmp_path / "worse")
    fit(nlp, examples, steps=10, resume=True)
    nlp.to_disk(tmp_path / "better")
    data = save_docs(tmp_path / "train.spacy", [eg.reference for eg in examples] * 6)
    return tmp_path / "better", tmp_path / "worse", data


def test_entities_by_label_and_by_kind_of_error(rules):
    report = run_json(*rules)
    entities = report["entities"]
    assert (report["documents"], report["tokens"]) == (2, 11)
    assert entities["all"] == {
        **{"p": 1 / 4, "r": 1 / 4, "f": 1 / 4},
        **{"right": 1, "predicted": 4, "annotated": 4},
    }
    assert entities["labels"]["LOC"] == {
        **{"p": 1 / 2, "r": 1 / 2, "f": 1 / 2},
        **{"right": 1, "predicted": 2, "annotated": 2},
    }
    scores = report["scores"]["entity_ruler"]
    assert [scores[f"ents_{x}"] for x in "prf"] == pytest.approx([1 / 4] * 3)
    assert [(e["document"], e["kind"]) for e in entities["errors"]] == [
        *[(0, "boundary"), (0, "label"), (0, "invented")],
        (1, "missed"),
    ]
    boundary, label, invented, missed = entities["errors"]
    assert boundary["annotated"] == {"text": "Anna Berg", "label": "PER", "start": 0, "end": 9}
    assert boundary["predicted"] == {"text": "Anna", "label": "PER", "start": 0, "end": 4}
    assert (label["annotated"]["label"], label["predicted"]["label"]) == ("ORG", "LOC")
    assert (invented["annotated"], invented["predicted"]["text"]) == (None, "Co")
    assert (missed["predicted"], missed["sentence"]) == (None, "Bergen is far")
    assert all(error["confidence"] is None for error in entities["errors"])
    assert {"annotated": "ORG", "predicted": "LOC", "count": 1} in entities["confusion"]


def test_the_tables(rules):
    code, out, err = run(*rules, "--train", rules[1])
    assert code == 0, err
    lines = lines_of(out)
    assert "all 25.00 25.00 25.00 1 4 4" in lines
    assert "LOC 50.00 50.00 50.00 1 2 2" in lines
    # Oslo, Acme; "Anna" alone and "Co" are no entities of the training data
    assert "seen 50.00 25.00 33.33 1 2 4" in lines
    assert "unseen 0.00 0.00 0.00 0 2 0" in lines
    assert {"Boundary: 1", "Label: 1", "Missed: 1", "Invented: 1"} <= set(lines)
    at = lines.index("Anna Berg PER -> Anna PER")
    assert lines[at + 1] == " ".join(WORDS)
    assert "Bergen LOC -> nothing" in lines and "nothing -> Co ORG" in lines
    code, out, _ = run(*rules, "--errors", 0)
    assert "Missed: 1" in lines_of(out) and "Bergen" not in out


def test_an_error_has_the_sentence_that_it_is_in(rules, tmp_path):
    vocab = spacy.blank("xx").vocab
    words = ["It", "rains", ".", "Bergen", "is", "far", ".", "Go", "."]
    doc = Doc(vocab, words=words, sent_starts=[i in (0, 3, 7) for i in range(9)])
    doc.set_ents([Span(doc, 3, 4, "LOC")])
    long = Doc(vocab, words=["a"] * 50 + ["Bergen"] + ["b"] * 50)
    long.set_ents([Span(long, 50, 51, "LOC")])
    data = save_docs(tmp_path / "sentences.spacy", [doc, long])
    first, second = run_json(rules[0], data)["entities"]["errors"]
    assert first["sentence"] == "Bergen is far ."
    # Without sentences the words around it
    assert second["sentence"].split() == ["a"] * 15 + ["Bergen"] + ["b"] * 15
    place = second["annotated"]
    assert second["sentence"][place["start"] : place["end"]] == "Bergen"


@pytest.mark.filterwarnings("default")  # W008: the tag that is not known
def test_confused_tags_and_categories(trained, nlp, make_examples, tmp_path):
    examples = make_examples(nlp)
    for eg in examples:
        eg.reference[0].tag_ = "NEW"
        eg.reference.cats = {"TRAVEL": 0.0, "TRADE": 1.0, "SLOGAN": 0.0}
    data = save_docs(tmp_path / "other.spacy", [eg.reference for eg in examples])
    report = run_json(trained[0], data)
    predicted = [
        (token.tag_, max(doc.cats, key=doc.cats.get))
        for doc in spacy.load(trained[0]).pipe([eg.x.copy() for eg in examples])
        for token in doc[:1]
    ]
    found = {(p["annotated"], p["predicted"]): p["count"] for p in report["confusion"]["tag"]}
    tags = [tag for tag, _ in predicted]
    assert {key: n for key, n in found.items() if key[0] == "NEW"} == {
        ("NEW", tag): tags.count(tag) for tag in tags
    }
    assert sum(found.values()) == report["tokens"]
    cats = [label for _, label in predicted]
    assert {(p["predicted"], p["count"]) for p in report["confusion"]["birnn_textcat"]} == {
        (label, cats.count(label)) for label in cats
    }
    _, out, _ = run(trained[0], data)
    assert "Most confused: tag" in out and "Most confused: birnn_textcat" in out


def test_reliability_and_thresholds(trained):
    model, _, data = trained
    report = run_json(model, data)
    assert list(report["reliability"]) == ["birnn_tagger", "birnn_ner", "birnn_textcat"]
    bins = report["reliability"]["birnn_tagger"]["bins"]
    assert sum(b["count"] for b in bins) == report["tokens"]
    found = report["thresholds"]["birnn_ner"]
    assert found["threshold"] is None
    assert [point["threshold"] for point in found["curve"]] == [
        round(0.05 * i, 2) for i in range(1, 20)
    ]
    numbers = [point["predicted"] for point in found["curve"]]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] > 0
    nlp = spacy.load(model)
    nlp.get_pipe("birnn_ner").threshold = 0.5
    nlp.to_disk(model)
    again = run_json(model, data)
    middle = again["thresholds"]["birnn_ner"]
    assert middle["threshold"] == 0.5
    at = {point["threshold"]: point for point in middle["curve"]}[0.5]
    assert {"threshold": 0.5, **again["entities"]["all"]} == at
    _, out, _ = run(model, data)
    assert "Now: 0.5" in lines_of(out)


def test_several_pipelines(trained):
    better, worse, data = trained
    comparison = run_json(better, data, "--other", worse)["comparison"]
    assert set(comparison["scores"]) == {"ents_f", "tag_acc", "cats_micro_f"}
    alone = [run_json(path, data)["scores"]["birnn_tagger"]["tag_acc"] for path in (better, worse)]
    found = comparison["scores"]["tag_acc"]
    assert found["models"] == {str(better): pytest.approx(alone[0]), str(worse): alone[1]}
    assert found["mean"] == pytest.approx(np.mean(alone))
    assert found["deviation"] == pytest.approx(np.std(alone, ddof=1))
    tests = {test["score"]: test for test in comparison["tests"]}
    assert tests["tag_acc"]["difference"] == pytest.approx(alone[0] - alone[1])
    assert tests["tag_acc"]["other"] == str(worse) and tests["tag_acc"]["p"] < 0.05
    code, out, _ = run(better, data, "--other", worse)
    assert code == 0 and f"{tests['tag_acc']['p']:.4f}" in out
    code, _, err = run(better, data, "--other", better)
    assert code == 2 and "--other" in err


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_escaped(rules, trained, tmp_path):
    path = tmp_path / "report.html"
    code, out, err = run(*rules, "--html", path)
    assert code == 0 and "report.html" in err and "Boundary: 1" in out
    page = Page(path.read_text(encoding="utf8"))
    text = " ".join("".join(page.texts).split())
    assert " ".join(WORDS) in text
    assert "Anna Berg PER -> Anna PER (document 0)" in text
    assert "b" not in page.tags and "script" not in page.tags
    assert page.tags.count("details") == 4
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    assert ("name", "viewport") in page.attributes
    # What is annotated and predicted is marked in the sentence
    assert '<mark class="annotated predicted">Anna</mark><mark class="annotated"> Berg' in (
        path.read_text(encoding="utf8")
    )
    model, other, data = trained
    code, _, err = run(model, data, "--html", path, "--other", other)
    assert code == 1 and "--force" in err
    code, _, _ = run(model, data, "--html", path, "--other", other, "--force")
    page = Page(path.read_text(encoding="utf8"))
    assert code == 0 and page.tags.count("svg") == 4
    assert "Reliability of birnn_textcat" in page.texts and "Pipelines" in page.texts
    assert [p.name for p in tmp_path.glob("report*")] == ["report.html"]


def test_a_page_that_cannot_be_written(rules, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = run(*rules, "--html", tmp_path / "file" / "report.html")
    assert (code, out) == (1, "") and "Not a directory" in " ".join(err.split())


def test_the_count_by_tags_is_shown_where_it_differs(rules, tmp_path):
    model, data = rules
    entities = run_json(model, data)["entities"]
    assert entities["by_tags"] == entities["all"]
    assert "conlleval" not in run(model, data)[1]
    # Nothing is said of what is found in the first four words
    doc = Doc(spacy.blank("xx").vocab, words=WORDS)
    doc.set_ents([Span(doc, 4, 5, "LOC")], missing=[doc[:4]], default="outside")
    partly = save_docs(tmp_path / "partly.spacy", [doc])
    lines = lines_of(run(model, partly)[1])
    assert "all 50.00 100.00 66.67 1 2 1" in lines
    assert "all, as conlleval and seqeval (strict) count 25.00 100.00 40.00 1 4 1" in lines


def test_documents_without_annotation(trained, tmp_path):
    data = save_docs(tmp_path / "plain.spacy", [Doc(spacy.blank("xx").vocab, words=WORDS)])
    report = run_json(trained[0], data)
    assert report["reliability"] == {} and "entities" not in report
    assert run(trained[0], data)[0] == 0


def test_bad_input(rules, tmp_path):
    model, data = rules
    for args in (("nothing", data), (model, "nothing.spacy"), (model, data, "--train", "nothing")):
        code, out, err = run(*args)
        assert (code, out) == (1, "") and "nothing" in err
    (tmp_path / "broken.spacy").write_text("no data")
    code, out, err = run(model, tmp_path / "broken.spacy")
    assert (code, out) == (1, "") and "broken.spacy" in err


def test_nothing_to_compare_with_is_said(rules, tmp_path):
    model, _ = rules
    nlp = spacy.blank("xx")
    path = save_docs(tmp_path / "plain.spacy", [nlp("Anna Berg"), nlp("Oslo")])
    code, _, err = run(model, path)
    assert code == 0 and "has annotation to compare with" in " ".join(err.split())
    none = Doc(nlp.vocab, words=["far"], ents=["O"])
    code, _, err = run(model, save_docs(tmp_path / "none.spacy", [none]))
    assert code == 0 and not err
