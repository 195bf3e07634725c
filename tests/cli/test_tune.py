"""`birnn tune`: ranges, the best config, trials that fail or are cut short, going on."""

import json
import os
import signal
import subprocess
import sys
from math import nan
from pathlib import Path

import pytest
from spacy import registry
from spacy.training.initialize import init_nlp
from spacy.util import load_config, load_model_from_config
from thinc.api import Config

from spacy_birnn.cli._training import train

RATE = {"setting": "training.optimizer.learn_rate", "low": 0.001, "high": 0.1, "log": True}
TOK2VEC = "components.birnn_tagger.model.tok2vec"
WIDTH = {"setting": f"{TOK2VEC}.width", "choices": [8, 16]}


@pytest.fixture
def tune(config_path, invoke, tmp_path):
    """Call the command with ranges in the config."""

    def call(ranges, *args):
        config = load_config(config_path)
        config["tune"] = ranges
        config.to_disk(config_path)
        return invoke("tune", config_path, "-o", tmp_path / "out", *args)

    return call


def flat(text):
    return " ".join(text.split())


def test_the_best_config_trains_without_edits_to_the_same_score(tune, config_path, tmp_path):
    result = tune({"rate": RATE, "width": WIDTH}, "--trials", 4, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert len(report["trials"]) == 4
    # The first is the config as it is
    first = next(trial for trial in report["trials"] if trial["number"] == 0)
    assert first["settings"] == report["own"] == {RATE["setting"]: 0.01, WIDTH["setting"]: 16}
    best = report["best"]
    assert best["score"] == max(t["score"] for t in report["trials"]) >= first["score"]
    config = load_config(tmp_path / "out" / "best.cfg", interpolate=False)
    assert "tune" not in config
    assert config["training"]["optimizer"]["learn_rate"] == best["settings"][RATE["setting"]]
    assert init_nlp(config).pipe_names == ["birnn_tagger"]
    assert train(config, "again") == pytest.approx(best["score"])
    for trial in report["trials"]:
        assert 0.001 <= trial["settings"][RATE["setting"]] <= 0.1
        assert trial["settings"][WIDTH["setting"]] in (8, 16)
    page = (tmp_path / "out" / "tuning.html").read_text(encoding="utf8")
    assert "Best: " in page and 'http-equiv="refresh"' not in page
    # By trial, by rate, by width, and while training
    assert page.count("<svg") == 4 and RATE["setting"] in page


def test_spacy_takes_the_config_with_its_ranges(tune, config_path, tmp_path):
    tune({"rate": RATE}, "--trials", 1)
    config = load_config(config_path, interpolate=False)
    nlp = init_nlp(load_model_from_config(config, auto_fill=True).config)
    nlp.to_disk(tmp_path / "model")
    assert load_config(tmp_path / "model" / "config.cfg")["tune"]["rate"] == RATE


def test_a_later_call_goes_on(tune, invoke, tmp_path):
    ranges = {"rate": RATE}
    tune(ranges, "--trials", 2)
    result = tune(ranges, "--trials", 4, "--json")
    assert "Going on after 2 of 4" in result.stderr
    trials = json.loads(result.stdout)["trials"]
    # No setting is tried twice
    assert len({trial["settings"][RATE["setting"]] for trial in trials}) == 4
    # Nothing is left to do
    assert len(json.loads(tune(ranges, "--trials", 4, "--json").stdout)["trials"]) == 4
    # Trials of another config are no trials of this one
    result = tune(ranges, "--trials", 4, "--training.max_steps", 4)
    assert result.exit_code == 1 and "of another config" in flat(result.stderr)
    result = tune(ranges, "--trials", 1, "--training.max_steps", 4, "--force", "--json")
    assert len(json.loads(result.stdout)["trials"]) == 1


def test_the_time_may_be_over(tune):
    result = tune({"rate": RATE}, "--timeout", 0)
    assert "Stopped after 0 seconds" in result.stderr and result.exit_code == 1
    assert "No training came to its end" in result.stderr


def test_a_combination_that_fails_is_reported_and_the_others_go_on(tune):
    """Each alone is right, but one direction has nothing to be summed with."""
    ranges = {
        "direction": {"setting": f"{TOK2VEC}.direction", "choices": ["both", "forward"]},
        "merge": {"setting": f"{TOK2VEC}.merge", "choices": ["concat", "sum"]},
    }
    result = tune(ranges, "--trials", 8, "--json")
    assert result.exit_code == 0
    states = {}
    for trial in json.loads(result.stdout)["trials"]:
        states.setdefault(tuple(trial["settings"].values()), set()).add(trial["state"])
        assert ("E002" in (trial["error"] or "")) == (trial["state"] == "failed")
    assert states.pop(("forward", "sum")) == {"failed"}
    assert not any("failed" in found for found in states.values())
    assert "failed, with direction = forward, merge = sum" in flat(result.stderr)


def test_a_score_that_is_no_number_is_a_failure(tune, config_path):
    registry.scorers.register("tests.nan.v1", func=lambda: lambda examples, **_: {"tag_acc": nan})
    config = load_config(config_path)
    config["components"]["birnn_tagger"]["scorer"] = {"@scorers": "tests.nan.v1"}
    config.to_disk(config_path)
    result = tune({"rate": RATE}, "--trials", 2)
    assert result.exit_code == 1 and flat(result.stderr).count("The score is nan") == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_the_directory_may_have_any_name(tune, tmp_path):
    output = tmp_path / "50% {a}? #1;b"
    for n in (1, 2):
        result = tune({"rate": RATE}, "--trials", n, "-o", output)
        assert result.exit_code == 0, result.stderr
    assert "Going on after 1 of 2" in result.stderr
    assert sorted(path.name for path in output.iterdir()) == ["best.cfg", "study.db", "tuning.html"]


def test_those_that_fall_behind_are_cut_short(tune):
    rates = {"setting": RATE["setting"], "choices": [1e-6, 0.03, 0.05]}
    result = tune({"rate": rates}, "--trials", 10, "--training.eval_frequency", 1, "--json")
    trials = json.loads(result.stdout)["trials"]
    # The config's own rate is not among the choices
    assert all(trial["settings"][RATE["setting"]] in rates["choices"] for trial in trials)
    cut = [trial for trial in trials if trial["state"] == "cut short"]
    assert cut and trials[0]["state"] == "complete"
    assert all(trial["score"] < trials[0]["score"] for trial in cut)


KILL = """
import os, signal
from spacy import registry

@registry.callbacks("tests.kill.v1")
def create():
    n = 0
    def before_update(nlp, args):
        # In the second step of the second trial
        if args["step"] == 2 and os.path.exists("out/best.cfg") and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return before_update
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on(tune, config_path, tmp_path, monkeypatch):
    (tmp_path / "kill.py").write_text(KILL)
    config = load_config(config_path)
    config["tune"] = {"rate": RATE}
    config["training"]["before_update"] = {"@callbacks": "tests.kill.v1"}
    config.to_disk(config_path)
    call = [sys.executable, "-m", "spacy", "birnn", "tune", config_path, "--code", "kill.py"]
    call += ["-o", "out", "--trials", "3"]
    done = subprocess.run(call, cwd=tmp_path, env=os.environ, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert 'http-equiv="refresh"' in (tmp_path / "out" / "tuning.html").read_text()
    monkeypatch.chdir(tmp_path)
    result = tune({"rate": RATE}, "--code", "kill.py", "--trials", 3, "--json")
    assert result.exit_code == 0, result.stderr
    assert "Trial 1 was stopped. It is done again" in result.stderr
    assert "Going on after 1 of 3" in result.stderr
    report = json.loads(result.stdout)
    assert sorted(trial["number"] for trial in report["trials"]) == [0, 2, 3]


@pytest.mark.parametrize(
    "ranges, message",
    [
        ({}, "no section [tune] with ranges"),
        (
            {"rate": {**RATE, "setting": "training.optimizer.learn_rat"}},
            f"mean '{RATE['setting']}'",
        ),
        ({"rate": {**RATE, "setting": "training.optimizer"}}, "is no setting of the config"),
        ({"rate": {"low": 1, "high": 2}}, "setting = 'None' is no setting"),
        ({"rate": {**RATE, "low": 0.1, "high": 0.1}}, "low must be a number less than high"),
        ({"rate": {"setting": RATE["setting"], "low": 0.1}}, "they are 0.1 and None"),
        ({"rate": {**RATE, "low": 0}}, "true only if low is above 0"),
        ({"rate": {**RATE, "step": 1}}, "There is no 'step'"),
        ({"rate": {**RATE, "choices": [1, 2]}}, "without low, high and log"),
        ({"width": {**WIDTH, "choices": [8]}}, "choices must be a list"),
        ({"width": {**WIDTH, "choices": [8, -8]}}, "can't be -8"),
        ({"rate": RATE, "same": RATE}, "has another range"),
        ({"rate": 7}, "[tune] has the value rate = 7"),
    ],
)
def test_ranges_that_cannot_be_used(tune, tmp_path, ranges, message):
    result = tune(ranges)
    assert result.exit_code == 1 and message in flat(result.stderr)
    assert "Initializing" not in result.stderr and not (tmp_path / "out").exists()


def test_what_training_would_not_take(tune, invoke, config_path, tmp_path):
    result = tune({"rate": RATE}, "--corpora.train.path", tmp_path / "none.spacy")
    assert result.exit_code == 1 and "Training would fail" in result.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.db").write_text("no database" * 1000)
    result = tune({"rate": RATE})
    assert result.exit_code == 1 and "Can't read" in result.stderr
    result = invoke("tune", tmp_path / "none.cfg")
    assert result.exit_code == 1 and "There is no" in result.stderr
    Config({"nlp": {"lang": "xx"}}).to_disk(tmp_path / "short.cfg")
    result = invoke("tune", tmp_path / "short.cfg")
    assert result.exit_code == 1 and "no section [training]" in flat(result.stderr)
    assert invoke("tune", config_path, "--unknown", "1").exit_code == 2
    assert Path(config_path).exists()
