"""`birnn tune`: try settings of a config in the ranges that it declares, and write the best."""

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Iterator, Optional

import typer

from ..files import replacing
from . import tune_page
from ._app import (
    Code,
    Json,
    check_installed,
    check_output,
    command,
    fail,
    import_code,
    overrides_of,
    print_json,
    print_table,
    say,
    warn,
)
from ._training import complete_config, initialized, settings_of, train, with_settings
from .tune_ranges import EXAMPLE, Range, read_ranges

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from thinc.api import Config

HELP = f"""Train again and again with other settings, and write the config that has the best score
on the development data. The config says what to try, in sections that `spacy train` ignores:

\b
{EXAMPLE}

The names after "tune." are yours. Bounds that are whole numbers give whole numbers. The first
training is that of the config as it is, if it is in the ranges. Those that fall behind the median
of the others are cut short.

The output directory gets best.cfg, tuning.html and study.db, a database of Optuna. The same command
goes on where it was stopped, so only one at a time may use the directory. Other settings can be
overridden (--training.max_steps 500)."""
# A trial is not cut short by its first evaluations, nor before there are some to compare with
MIN_EVALUATIONS, MIN_TRIALS = 3, 5


@command(
    "tune",
    help=HELP,
    example="tune config.cfg --paths.train train.spacy --paths.dev dev.spacy --trials 30",
    overrides=True,
)
def tune_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Config with a section [tune]")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for what is found")
    ] = Path("tuning"),
    trials: Annotated[
        int, typer.Option(min=1, help="Trainings in all, with those of earlier calls")
    ] = 20,
    timeout: Annotated[
        Optional[float], typer.Option(min=0, help="Seconds after which no further one begins")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of settings")] = 0,
    code: Code = None,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Begin anew; what was found before is lost")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the best settings of a config in the ranges that it declares."""
    overrides = overrides_of(context)
    import_code(code)
    check_installed("optuna", extra="tune")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check_output(output, is_dir=True)
    filled = complete_config(config, overrides)
    ranges = read_ranges(filled)
    initialized(filled)
    output.mkdir(parents=True, exist_ok=True)
    tuning = Tuning(filled, ranges, output, f"Tuning of {config.name}")
    with tuning.study(seed=seed, force=force) as study:
        tuning.run(study, trials, timeout)
        report = tuning.report(study)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report["best"] is None:
        fail("No training came to its end", "Their errors are above.")
    say(f"Wrote {report['config']} and {report['page']}")


class Tuning:
    """The trials of a config.

    config (Config): The config, complete.
    ranges (list[Range]): What is tried.
    output (Path): The directory of the results.
    title (str): The title of their page.
    """

    def __init__(self, config: "Config", ranges: list[Range], output: Path, title: str):
        self.config, self.ranges, self.output, self.title = config, ranges, output, title
        known = dict(settings_of(config.interpolate()))
        self.own = {one.name: known[one.setting] for one in ranges}

    @contextmanager
    def study(self, *, seed: int, force: bool) -> Iterator["Study"]:
        """The study in the output directory, new or as it was left. A trial that was stopped is
        done again."""
        import optuna

        path = self.output / "study.db"
        if force:
            path.unlink(missing_ok=True)
        try:
            storage = optuna.storages.RDBStorage(url_of(path))
        except Exception as error:  # those of SQLAlchemy and SQLite
            fail(f"Can't read '{path}'", f"{error}\nBegin anew with --force.")
        try:
            study = optuna.create_study(
                storage=storage, study_name="tune", direction="maximize", load_if_exists=True
            )
            trials = study.get_trials(deepcopy=False)
            text = self.config.to_str(interpolate=False)
            if study.user_attrs.get("config", text) != text:
                fail(
                    f"'{path}' has the trials of another config, or other overrides",
                    "Name another directory with --output, or begin anew with --force.",
                )
            if not trials:
                study.set_user_attr("config", text)
                if all(self.own[one.name] in one for one in self.ranges):
                    study.enqueue_trial(self.own)
            # With the same seed the sampler would begin with the same settings again
            study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials))
            frequency = self.config.interpolate()["training"]["eval_frequency"]
            study.pruner = optuna.pruners.MedianPruner(
                n_startup_trials=MIN_TRIALS, n_warmup_steps=frequency * (MIN_EVALUATIONS - 1)
            )
            for trial in trials:
                if trial.state == optuna.trial.TrialState.RUNNING:
                    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                    study.enqueue_trial(trial.params)
                    say(f"Trial {trial.number} was stopped. It is done again.")
            yield study
        except optuna.exceptions.StorageInternalError as error:
            fail(f"Can't read or write '{path}'", str(error.__cause__ or error))
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def run(self, study: "Study", n: int, timeout: Optional[float]) -> None:
        """Train until there are n trials, or the time is over."""
        start = time.monotonic()
        if done := len(finished(study)):
            say(f"Going on after {done} of {n} trials")
        try:
            while (done := len(finished(study))) < n:
                if timeout is not None and time.monotonic() - start > timeout:
                    say(f"Stopped after {timeout:g} seconds")
                    break
                self._run_one(study, f"{done + 1} of {n}")
                self.write(study, running=True)
        finally:
            self.write(study, running=False)

    def _run_one(self, study: "Study", which: str) -> None:
        import optuna

        trial = study.ask({one.name: one.distribution for one in self.ranges})
        label = f"Trial {trial.number} ({which})"
        values = ", ".join(f"{k} = {tune_page.shown(v)}" for k, v in trial.params.items())

        def evaluated(step: int, score: float) -> None:
            trial.report(score, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            score = train(self.with_values(trial.params), label, evaluated)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            say(f"{label}: cut short, with {values}")
        except Exception as error:  # whatever a combination of settings leads to
            reason = f"{type(error).__name__}: {error}"
            trial.set_user_attr("error", reason)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            warn(f"{label} failed, with {values}\n{reason}")
        else:
            study.tell(trial, score)
            say(f"{label}: {score:.4f}, with {values}")

    def with_values(self, values: dict[str, Any]) -> "Config":
        """The config with values by the names of the ranges, ready to train."""
        found = with_settings(self.config, {r.setting: values[r.name] for r in self.ranges})
        del found["tune"]
        return found

    def write(self, study: "Study", *, running: bool) -> None:
        """Write the best config and the page."""
        if (best := best_of(study)) is not None:
            with replacing(self.output / "best.cfg") as new:
                self.with_values(best.params).to_disk(new, interpolate=False)
        paths = {trial.number: trial.intermediate_values for trial in finished(study)}
        page = tune_page.page(self.title, self.report(study), self.ranges, paths, running=running)
        with replacing(self.output / "tuning.html") as new:
            new.write_text(page, encoding="utf8")

    def report(self, study: "Study") -> dict[str, Any]:
        """What was found: "best" (null if there is none) and all "trials", best first, each with
        its number, state, score (of one that was cut short the last, null if there is none),
        settings by their dotted names, seconds, and error; "ranges", the dotted names by those of
        the sections; "own", the settings of the config; the paths of "config" and "page"."""
        trials = [self._described(trial) for trial in finished(study)]
        trials.sort(key=lambda t: (t["state"] == "complete", t["score"] or 0), reverse=True)
        complete = trials and trials[0]["state"] == "complete"
        return {
            "best": trials[0] if complete else None,
            "ranges": {one.name: one.setting for one in self.ranges},
            "own": {one.setting: self.own[one.name] for one in self.ranges},
            "trials": trials,
            "config": str(self.output / "best.cfg") if complete else None,
            "page": str(self.output / "tuning.html"),
        }

    def _described(self, trial: "FrozenTrial") -> dict[str, Any]:
        state = {"COMPLETE": "complete", "PRUNED": "cut short"}.get(trial.state.name, "failed")
        return {
            "number": trial.number,
            "state": state,
            "score": trial.value,
            "settings": {one.setting: trial.params[one.name] for one in self.ranges},
            "seconds": trial.duration.total_seconds() if trial.duration else 0.0,
            "error": trial.user_attrs.get("error"),
        }


def url_of(path: Path) -> str:
    """The address of a SQLite file for Optuna, which fills in what is in braces."""
    from sqlalchemy import URL

    return str(URL.create("sqlite", database=str(path))).replace("{", "{{").replace("}", "}}")


def finished(study: "Study") -> list["FrozenTrial"]:
    """The trials of a study that came to an end by themselves, in their order."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or "error" in trial.user_attrs
    ]


def best_of(study: "Study") -> Optional["FrozenTrial"]:
    """The trial with the best score, if one is complete."""
    complete = [trial for trial in finished(study) if trial.state.name == "COMPLETE"]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def _print_report(report: dict[str, Any]) -> None:
    header, rows = tune_page.rows(report)
    print_table(f"Trials: {len(rows)}, the best first", header, rows)
    if report["best"] is not None:
        best = tune_page.best_rows(report)
        print_table(tune_page.best_title(report), ("Setting", "In the config", "Best"), best)
