from dataclasses import replace

import claims
import claims_training as training
import pytest


@pytest.fixture
def results():
    return claims.Results(
        {
            "high": [{"a": 0.8, "b": 1.0}, {"a": 0.7, "b": 0.9}],
            "middle": [{"a": 0.75, "b": 0.8}, {"a": 0.6, "b": 0.4}],
            "low": [{"a": 0.2, "b": 0.4}, {"a": 0.3, "b": 0.2}],
        }
    )


def test_a_claim_holds_if_every_seed_says_so(results):
    assert results.compare("high", "low", "a") == "held"
    assert results.compare("high", "middle", "a") == "held on average, but the seeds overlap"
    assert results.compare("low", "high", "a") == "did not hold"
    assert results.compare("high", "high", "a") == "did not hold"
    one_seed = type(results)({name: runs[:1] for name, runs in results.by_setting.items()})
    assert one_seed.compare("high", "low", "a") == "held, with one seed"


def test_numbers_are_shown_with_their_range(results):
    assert results.mean("high", "a", "b") == pytest.approx(0.85)
    assert results.show("high", "a") == "75.0 (70.0 to 80.0)"


# For each kind of job what makes it short
SHORT = {
    "senses": {"steps": 2, "n_train": 40},
    "gradients": {},
    "sentiments": {"steps": 2},
    "lemmas": {"steps": 2},
    "agreement": {"steps": 2},
    "lengths": {},
}


@pytest.fixture(scope="module")
def measured():
    """One short job of each kind: the numbers that the figures and verdicts are made of."""
    found = {}
    for claim in claims.CLAIMS:
        if claim.kind not in found:
            options = next(iter(claim.options.values()))
            found[claim.kind] = training.run(
                training.Job(claim.kind, {**options, **SHORT[claim.kind]}, 0)
            )
    return found


def test_a_claim_of_several_parts():
    """One direction that suffices is no proof that both are needed."""
    directions = next(claim for claim in claims.CLAIMS if claim.name == "directions")
    runs = {"forward": 0.4, "backward": 0.8, "both": 0.7}
    found = {
        name: [dict.fromkeys(["ambiguous", *claims.AT_DISTANCE], value)]
        for name, value in runs.items()
    }
    verdict, shown = directions.judge(claims.Results(found))
    assert verdict == "against forward: held, with one seed; against backward: did not hold"
    assert "backward 80.0 %" in shown
    found["both"] = found["backward"]
    found["backward"] = found["forward"]
    assert directions.judge(claims.Results(found))[0] == "held, with one seed"


def test_each_claim_is_drawn_and_judged(measured, tmp_path):
    assert set(SHORT) == {claim.kind for claim in claims.CLAIMS}
    results = {}
    for claim in claims.CLAIMS:
        runs = {setting: [measured[claim.kind]] * 2 for setting in claim.options}
        results[claim.name] = claims.Results(runs)
        path = tmp_path / claim.name
        claims.save(path, claim.draw, results[claim.name], panels=claim.panels)
        assert path.with_suffix(".png").stat().st_size > 5000
        drawn = path.with_suffix(".svg").read_text(encoding="utf8")
        claims.save(path, claim.draw, results[claim.name], panels=claim.panels)
        assert "<svg" in drawn and drawn == path.with_suffix(".svg").read_text(encoding="utf8")
    # All settings of a claim measured the same: none is better
    assert claims.CLAIMS[0].judge(results["directions"])[0] == "did not hold"
    text = claims.report(claims.CLAIMS, results, seeds=[0, 1])
    assert text.count("In this run: **") == text.count("](claims/") == len(claims.CLAIMS)


def test_the_formula_is_that_of_the_parameters_that_are_there(measured):
    counted = measured["senses"]["parameters"]
    # The first claim has one direction first
    assert 2 * counted == claims.parameters_of_lstm(training.WIDTH)


def test_what_is_done_is_not_done_again(tmp_path):
    claim = next(claim for claim in claims.CLAIMS if claim.kind == "gradients")
    (job,) = replace(claim, options={"rnn": {"cell": "rnn"}}).jobs([0])["rnn"]
    done = {job.key: {"20": 0.5}}
    saved = tmp_path / "claims.json"
    assert claims.run_all([job], workers=1, done=done, save_as=saved) == {job.key: {"20": 0.5}}
    assert not saved.exists()
