"""`spacy-birnn.PlotLogger.v1`: spaCy's table of training, and a page that shows it as it goes."""

import sys
import time
from functools import partial
from html import escape
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

from spacy.language import Language
from spacy.training import loggers
from spacy.util import registry

from .errors import ReportOnce, Warnings
from .files import replacing

NAME = "training.html"
# Seconds after which a browser reads the page again
REFRESH = 5
STYLE = """
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
table { font-variant-numeric: tabular-nums; margin-bottom: 1rem; }
"""

LogStep = Callable[[Optional[Dict[str, Any]]], None]
SetupLogger = Callable[[Language, IO, IO], Tuple[LogStep, Callable[[], None]]]


def create_plot_logger(
    path: Optional[Union[str, Path]] = None, progress_bar: Optional[str] = None
) -> SetupLogger:
    """Build `spacy-birnn.PlotLogger.v1`: the table of `spacy.ConsoleLogger.v3`, with the names of
    components in full, and a page with the losses and scores of each component, the learning rate,
    the speed and the time that is left. A browser reads the page again while training runs. A page
    that can't be written does not end training (W015). It may be one of the loggers of
    `spacy.ChainLogger.v1`.

    path (Optional[Union[str, Path]]): The page. None: training.html in the output directory of
        `spacy train`; without one there is no page.
    progress_bar (Optional[str]): None, or as in `spacy.ConsoleLogger.v3`: "train" counts all steps,
        "eval" those to the next evaluation.
    RETURNS (SetupLogger): What spaCy's training loop calls.
    RAISES (ValueError): E1048 of spaCy, when training starts, for another progress_bar.
    """

    def setup_logger(
        nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr
    ) -> Tuple[LogStep, Callable[[], None]]:
        log_console, finalize_console = _console(progress_bar)(nlp, stdout, stderr)
        page = TrainingPage(nlp)
        target = None if path is None else Path(path)
        report = ReportOnce(Warnings.W015)
        handled = sys.exc_info()[1]

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            nonlocal target
            log_console(info)
            page.step(info)
            if info is not None:
                if target is None and "output_path" in info:
                    target = Path(info["output_path"]).parent / NAME
                write("")

        def finalize() -> None:
            finalize_console()
            error = sys.exc_info()[1]
            stopped = error is not None and error is not handled
            write(f"Stopped by {type(error).__name__}" if stopped else "Finished")

        def write(end: str) -> None:
            if target is None:
                return
            try:
                with replacing(target) as new:
                    new.write_text(page.html(end), encoding="utf8")
            except OSError as error:
                report(path=target, reason=error.strerror or error)

        return log_step, finalize

    return setup_logger


def _console(progress_bar: Optional[str]) -> SetupLogger:
    """spaCy's logger, whose columns are as wide as their names."""

    def setup(nlp: Language, stdout: IO, stderr: IO) -> Tuple[LogStep, Callable[[], None]]:
        # It has no setting for this: names are cut to 13 characters, and of those "Loss birnn_" is
        # the same for all
        original = loggers.setup_table
        loggers.setup_table = partial(original, max_width=sys.maxsize)
        try:
            return loggers.console_logger_v3(progress_bar)(nlp, stdout, stderr)
        finally:
            loggers.setup_table = original

    return setup


class TrainingPage:
    """What a training has been like so far, as a page.

    nlp (Language): The pipeline, in which frozen components are disabled.
    """

    def __init__(self, nlp: Language):
        config = nlp.config.interpolate()["training"]
        limits = ("max_steps", "patience", "max_epochs")
        self.limits = {name: config[name] or 0 for name in limits}
        self.pipes = [name for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)]
        weighted = [name for name, weight in config["score_weights"].items() if weight is not None]
        self.scores: Dict[str, List[str]] = {}
        for pipe in self.pipes:
            known = nlp.get_pipe_meta(pipe).default_score_weights or {}
            self.scores[pipe] = [name for name in weighted if name in known]
        shown = {name for names in self.scores.values() for name in names}
        self.others = [name for name in weighted if name not in shown]
        # The training loop has an optimizer of its own, whose schedule this one follows
        resolved = registry.resolve({"optimizer": config["optimizer"]})
        self.optimizer: Any = resolved["optimizer"]
        self.start = time.monotonic()
        self.history: List[Dict[str, Any]] = []

    def step(self, info: Optional[Dict[str, Any]]) -> None:
        """Take in a step of training, of which there is information only if it was evaluated."""
        if info is not None:
            last = self.history[-1]["step"] if self.history else -1
            entry = {name: info[name] for name in ("step", "epoch", "words", "score")}
            n_steps = info["step"] - last
            self.history.append(
                {
                    **entry,
                    "rate": float(self.optimizer.learn_rate),
                    "seconds": time.monotonic() - self.start,
                    "losses": {p: float(info["losses"][p]) / n_steps for p in self.pipes},
                    "scores": {
                        name: float(value) * (1 if name == "speed" else 100)
                        for name, value in info["other_scores"].items()
                        if isinstance(value, (int, float))
                    },
                }
            )
        self.optimizer.step_schedules()

    def html(self, end: str) -> str:
        """The page.

        end (str): How training ended. Nothing: it goes on.
        """
        from .pages import chart, html

        def line(of: Callable[[Dict[str, Any]], Any], name: str = "", color: int = 0) -> Any:
            points = [(e["step"], v) for e in self.history if (v := of(e)) is not None]
            return chart.Line(points, name, color)

        def scores(title: str, names: List[str]) -> str:
            lines = [
                line(lambda e, n=name: e["scores"].get(n), name, i % 4)  # type: ignore[misc]
                for i, name in enumerate(names)
            ]
            return chart.chart(title, lines, x_label="step") if names else ""

        overall = [
            chart.chart("Score", [line(lambda e: e["score"] * 100)], x_label="step"),
            chart.chart("Learning rate", [line(lambda e: e["rate"])], x_label="step"),
            scores("Other scores", self.others),
        ]
        parts = [
            html.table(("State", end or "Running"), self._facts(end)),
            chart.charts(*overall),
        ]
        for pipe in self.pipes:
            loss = line(lambda e, p=pipe: e["losses"][p])  # type: ignore[misc]
            parts.append(f"<h2>{escape(pipe)}</h2>")
            parts.append(
                chart.charts(
                    chart.chart("Loss per step", [loss], x_label="step"),
                    scores("Scores", self.scores[pipe]),
                )
            )
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        parts.append(f'<p class="soft">Written {now}, after each evaluation.</p>')
        title = f"Training: {', '.join(self.pipes)}"
        return html.page(title, *parts, style=STYLE + chart.STYLE, refresh=0 if end else REFRESH)

    def _facts(self, end: str) -> Iterator[Tuple[str, str]]:
        from .pages.chart import duration, number

        if not self.history:
            return
        now = self.history[-1]
        best = max(self.history, key=lambda e: (e["score"], -e["step"]))
        max_steps = self.limits["max_steps"]
        yield "Step", f"{now['step']}" + (f" of at most {max_steps}" if max_steps else "")
        yield "Epoch", str(now["epoch"])
        yield "Best score", f"{best['score'] * 100:.2f}, at step {best['step']}"
        yield "Learning rate", number(now["rate"])
        yield (
            "Words per second, with evaluations",
            number(round(now["words"] / max(now["seconds"], 1e-3))),
        )
        yield "Time so far", duration(now["seconds"])
        per_step = now["seconds"] / (now["step"] + 1)
        for reason, last in [] if end else self._ends(now, best):
            left = duration(max(0, last - now["step"]) * per_step)
            yield "Time left, about", f"{left}, {reason}"

    def _ends(self, now: Dict[str, Any], best: Dict[str, Any]) -> Iterator[Tuple[str, float]]:
        """What will end training, and at which step."""
        limits = self.limits
        if limits["max_steps"]:
            yield "until max_steps", limits["max_steps"]
        # An epoch is known to have ended only when an evaluation is in a later one
        begun = next(e for e in self.history if e["epoch"] == now["epoch"])
        if limits["max_epochs"] > 0 and now["epoch"]:
            yield "until max_epochs", limits["max_epochs"] * begun["step"] / now["epoch"]
        if limits["patience"]:
            yield "if the score does not rise (patience)", best["step"] + limits["patience"]
