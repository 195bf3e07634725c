"""`birnn trace`: a picture that has the words. The numbers are tested in tests/test_tracing.py."""

import sys

import numpy as np
import pytest

from spacy_birnn.cli.trace import draw
from spacy_birnn.tracing import Trace


def test_a_picture_with_both_directions_side_by_side():
    words = ["$5", "and", "$6", "\n"]
    rows = np.linspace(-1, 1, 12).reshape(4, 3)
    figure = draw([Trace("forward", words, rows, {}), Trace("backward", words, rows / 2, {})])
    forward, backward, *lines = figure.axes[:4]
    assert forward.get_position().x1 < backward.get_position().x0
    assert np.allclose(forward.images[0].get_array(), rows.T)
    assert forward.images[0].get_clim() == backward.images[0].get_clim() == (-1.0, 1.0)
    for ax in lines:
        assert [label.get_text() for label in ax.get_xticklabels()] == ["$5", "and", "$6", "\\n"]
        assert not any(label.get_parse_math() for label in ax.get_xticklabels())
    assert all(ax.get_ylabel() for ax in figure.axes)


def test_a_picture_with_gates_below():
    rows, gate = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 12).reshape(4, 3)
    words = ["$5", "and", "$6", "."]
    figure = draw([Trace("forward", words, rows, {"forget": gate})], gates=True)
    heat, line, forget = figure.axes[:3]
    assert np.allclose(forget.images[0].get_array(), gate.T)
    assert forget.images[0].get_clim() == (0.0, 1.0) and "forget" in forget.get_ylabel()
    assert [label.get_text() for label in forget.get_xticklabels()] == words
    assert heat.get_position().y0 > line.get_position().y0 > forget.get_position().y0


def test_a_page_with_gates(invoke, trained_path, tmp_path):
    page = tmp_path / "a.html"
    result = invoke("trace", trained_path, "Anna <b>flew", "--gates", "-o", page)
    assert result.exit_code == 0
    text = page.read_text(encoding="utf8")
    assert "forget gate" in text and "Anna &lt;b&gt;flew" in text and "<b>" not in text
    assert "<?xml" not in text and "prefers-color-scheme: dark" in text


def test_a_cell_without_gates(invoke, nlp, tiny_tok2vec, make_examples, tmp_path):
    nlp.add_pipe("birnn_tagger", config={"model": {"tok2vec": {**tiny_tok2vec, "cell": "rnn"}}})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    result = invoke("trace", tmp_path / "model", "Oslo", "--gates", "-o", tmp_path / "a.png")
    assert result.exit_code == 1 and "no gates" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_png_and_svg(invoke, trained_path, tmp_path):
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    result = invoke("trace", trained_path, "Anna flew to 日本 for <b>$5 and $6", "-o", png)
    assert result.exit_code == 0 and png.read_bytes().startswith(b"\x89PNG")
    assert result.stderr.count("no sign") == 1
    result = invoke("trace", trained_path, "Anna flew to 日本 for <b>$5 and $6", "-o", svg)
    assert result.exit_code == 0 and "no sign" not in result.stderr
    text = svg.read_text(encoding="utf8")
    assert ">日本</text>" in text and ">$</text>" in text and "<b>" not in text
    svg.write_text("mine")
    assert invoke("trace", trained_path, "Oslo", "-o", svg).exit_code == 1
    assert svg.read_text() == "mine"


@pytest.mark.parametrize(
    "text, args, message",
    [
        ("", [], "0 words"),
        ("word " * 101, [], "101 words"),
        ("Oslo", ["--pipe", "tagger"], "'tagger' has no recurrent encoder"),
        ("Oslo", ["-o", "trace.jpg"], ".png, .svg, .html"),
    ],
)
def test_what_cannot_be_traced(invoke, trained_path, tmp_path, monkeypatch, text, args, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("trace", trained_path, text, *args)
    assert result.exit_code == 1 and message in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_how_to_get_it(invoke, trained_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("trace", trained_path, "Oslo")
    assert result.exit_code == 1 and "spacy-birnn[plots]" in result.stderr
