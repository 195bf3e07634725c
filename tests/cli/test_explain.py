"""`birnn explain`: tables, JSON and a page. The numbers are tested in tests/pipeline."""

import json
import re

TEXT = "Anna Berg flew from <i>Oslo</i> & home"


def test_tables(invoke, trained_path):
    result = invoke("explain", trained_path, "Anna Berg flew from Oslo to New York .", "-k", 2)
    assert result.exit_code == 0, result.stderr
    ner, tagger, _, textcat = re.split(r"^birnn_\w+$", result.stdout, flags=re.MULTILINE)[1:]
    row = next(line for line in ner.splitlines() if line.startswith("Anna Berg PERSON"))
    assert re.match(r"Anna Berg PERSON +[01]\.\d{3} +- +[01]\.\d{3} ", row)
    assert "B-PERSON" in ner and "New York GPE" in ner
    assert re.search(r"^flew VBD +[01]\.\d{3}", tagger, flags=re.MULTILINE)
    assert re.search(r"^TRAVEL +[01]\.\d{3}", textcat, flags=re.MULTILINE)
    assert "Attention" in textcat


def test_json(invoke, trained, trained_path):
    result = invoke("explain", trained_path, TEXT, "--pipes", "birnn_textcat", "--json")
    found = json.loads(result.stdout)
    assert list(found["components"]) == ["birnn_textcat"]
    assert found["tokens"] == [token.text for token in trained.make_doc(TEXT)]


def test_a_page_without_anything_from_elsewhere(invoke, trained_path, tmp_path):
    page = tmp_path / "why.html"
    result = invoke("explain", trained_path, TEXT, "--html", page)
    assert result.exit_code == 0 and result.stdout == ""
    html = page.read_text(encoding="utf8")
    assert "<i>" not in html and "&lt;i&gt;Oslo&lt;/i&gt; &amp; home" in html
    assert not re.search(r"<script|<link|https?:|@import", html)
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html
    page.write_text("mine")
    assert invoke("explain", trained_path, TEXT, "--html", page).exit_code == 1
    assert page.read_text() == "mine"


def test_what_it_cannot_explain(invoke, trained_path, tmp_path):
    result = invoke("explain", trained_path, "word " * 201, "--html", tmp_path / "why.html")
    assert result.exit_code == 1 and "BIRNN-E091" in result.stderr
    assert invoke("explain", trained_path, "Oslo", "--pipes", "tagger").exit_code == 1
    assert invoke("explain", trained_path, "Oslo", "-k", 0).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_words_from_right_to_left_do_not_move_the_numbers_beside_them(invoke, trained_path):
    result = invoke("explain", trained_path, "Anna \u05e9\u05dc\u05d5\u05dd Oslo")
    assert result.exit_code == 0
    assert "\u2068\u05e9\u05dc\u05d5\u05dd\u2069" in result.stdout
    assert "\u2068Oslo" not in result.stdout
