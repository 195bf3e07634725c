"""`birnn learning-curve`: shares of the data, the fitted curve, what is said of it, going on."""

import json
import random

import pytest
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_config

from spacy_birnn.cli.learning_curve import Curve, describe, fit_curve, share_of

SIZES = (50, 100, 200, 400, 800)


@pytest.fixture
def curve(config_path, invoke, tmp_path):
    """Call the command with few steps, and results in a place of their own."""

    def call(*args):
        output = ("-o", tmp_path / "results.jsonl")
        return invoke("learning-curve", config_path, *output, "--training.max_steps", 4, *args)

    return call


def flat(text):
    return " ".join(text.split())


def scores_of(curve, noise=0.0, n_seeds=3):
    """Scores that follow a curve."""
    chance = random.Random(0)
    return {n: [curve(n) + chance.gauss(0, noise) for _ in range(n_seeds)] for n in SIZES}


def test_a_smaller_share_is_part_of_a_larger_one(nlp):
    docs = [Doc(nlp.vocab, words=[str(i)]) for i in range(20)]
    examples = [Example(doc, doc) for doc in docs]

    def texts(share, seed):
        return [eg.text for eg in share_of(lambda nlp: examples, share, seed)(nlp)]

    for seed in (0, 1):
        parts = [set(texts(share, seed)) for share in (0.01, 0.25, 0.5, 1.0)]
        assert [len(part) for part in parts] == [1, 5, 10, 20]
        assert parts[0] < parts[1] < parts[2] < parts[3]
        assert texts(0.5, seed) == texts(0.5, seed)
    assert set(texts(0.5, 0)) != set(texts(0.5, 1))


@pytest.mark.parametrize("true", [Curve(0.9, 2.0, 0.5), Curve(0.7, 1.0, 1.2), Curve(1.0, 0.8, 0.1)])
def test_the_curve_behind_scores_is_found(true):
    found = fit_curve(scores_of(true))
    assert all(found(n) == pytest.approx(true(n), abs=2e-3) for n in SIZES)
    assert found(1600) == pytest.approx(true(1600), abs=5e-3)


def test_a_curve_stays_among_scores():
    # A straight line would leave them, and falling scores do not rise with more data
    assert fit_curve({n: [n / 800] for n in SIZES}).a <= 1
    falling = fit_curve({n: [1 - n / 1000] for n in SIZES})
    assert falling.b == 0 and falling(50) == falling(5000)


def test_what_is_said_of_more_data():
    report = describe(scores_of(Curve(0.9, 2.0, 0.5)))
    gain = Curve(0.9, 2.0, 0.5)(1600) - Curve(0.9, 2.0, 0.5)(800)
    assert report["more"]["documents"] == 1600
    assert report["more"]["gain"] == pytest.approx(gain, abs=3e-3)
    assert report["curve"]["error"] < 1e-3
    assert report["check"]["predicted"] == pytest.approx(report["check"]["observed"], abs=5e-3)
    said = " ".join(report["says"])
    assert "This is an extrapolation" in said and "not known" not in said
    # The largest does not follow the others
    report = describe({**scores_of(Curve(0.9, 2.0, 0.5)), 800: [0.7]})
    assert "the gain is not known" in " ".join(report["says"])


def test_too_few_sizes_are_not_extrapolated():
    scores = scores_of(Curve(0.9, 2.0, 0.5))
    report = describe({n: scores[n] for n in SIZES[:3]})
    assert report["curve"] is report["more"] is None and len(report["points"]) == 3
    assert "No curve is fitted to 3" in " ".join(report["says"])
    report = describe({n: scores[n] for n in SIZES[:4]})
    assert report["more"] and report["check"] is None
    assert "too few shares to check" in " ".join(report["says"])
    assert describe({50: [0.5]})["points"][0]["deviation"] is None


def test_a_curve_that_goes_on(curve, tmp_path):
    html = tmp_path / "new" / "curve.html"
    result = curve("--shares", "0.2,0.5,1", "--seeds", 2, "--json", "--html", html)
    assert result.exit_code == 0, result.stderr
    points = json.loads(result.stdout)["points"]
    assert [(point["documents"], len(point["scores"])) for point in points] == [
        (2, 2),
        (6, 2),
        (12, 2),
    ]
    page = html.read_text(encoding="utf8")
    assert page.count("<svg") == 1 and "extrapolated" not in page
    # More shares, after a line that was cut by a kill; all else is there
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"share": 0.3')
    result = curve("--shares", "0.2,0.3,0.5,0.8,1", "--seeds", 2, "--html", html)
    assert result.exit_code == 0, result.stderr
    assert "Going on after 6 trainings" in result.stderr
    assert "1 of 4: 4 documents, seed 0" in result.stderr and "5 of" not in result.stderr
    assert "Score by training data" in result.stdout and "Check:" in result.stdout
    assert "extrapolated" in html.read_text(encoding="utf8")
    result = curve("--shares", "0.2,0.5,1", "--seeds", 2, "--json")
    assert json.loads(result.stdout)["points"] == points and "documents" not in result.stderr
    # Results of another config are no results of this one
    result = curve("--shares", "1", "--training.dropout", 0.5)
    assert result.exit_code == 1 and "of another config" in flat(result.stderr)


def test_shares_with_as_many_documents_are_trained_once(curve):
    result = curve("--shares", "0.01,0.02,1", "--seeds", 1, "--json")
    assert [point["documents"] for point in json.loads(result.stdout)["points"]] == [1, 12]
    assert "2 of 2" in result.stderr


def test_the_same_share_and_seed_give_the_same_score(curve):
    first, second = (
        curve("--shares", "0.5", "--seeds", 1, "--json", "--force").stdout for _ in range(2)
    )
    assert json.loads(first) == json.loads(second)


def test_bad_input(curve, invoke, config_path, tmp_path):
    for shares in ("0,1", "half", "0.5,1.5", ""):
        result = curve("--shares", shares)
        assert result.exit_code == 2 and "numbers above 0" in flat(result.stderr)
    results = tmp_path / "results.jsonl"
    assert not results.exists()
    result = curve("--corpora.train.path", tmp_path / "none.spacy")
    assert result.exit_code == 1 and "Training would fail" in result.stderr
    result = curve("--training.max_epochs", -1)
    assert result.exit_code == 1 and "Shares of a stream" in result.stderr
    assert not results.exists()
    for content in ("", "no json\n", "[]\n", '{"config": 1}\n{"share": 1}\n'):
        results.write_text(content)
        result = curve("--seeds", 1)
        assert result.exit_code == 1 and "holds no results" in flat(result.stderr)
    assert "dropout" not in load_config(config_path)["training"]
