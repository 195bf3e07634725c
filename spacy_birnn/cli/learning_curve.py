"""`birnn learning-curve`: the score against the share of the training data, and what more of it
would bring."""

import json
import random
import time
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Annotated, Any, Callable, Iterable, Iterator, NamedTuple, Optional

import numpy as np
import typer

from ..files import replacing
from ._app import (
    Code,
    Json,
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

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example
    from thinc.api import Config

Reader = Callable[["Language"], Iterable["Example"]]
# The name under which this command registers the reader of a share of the data
READER = "spacy-birnn.share"
# A curve has three numbers, so it says something of more sizes than that only
MIN_SIZES = 4
# How far beyond the data the curve is drawn
TIMES = 2
STYLE = "h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; } svg { max-width: 36rem; }"


@command(
    "learning-curve",
    example="learning-curve config.cfg --paths.train train.spacy --paths.dev dev.spacy "
    "--html curve.html",
    overrides=True,
)
def learning_curve_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Config, as for `spacy train`")],
    shares: Annotated[
        str, typer.Option(help="Shares of the training data, above 0, with commas between them")
    ] = "0.1,0.2,0.4,0.7,1",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings for each share")] = 3,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File of the results: .jsonl")
    ] = Path("learning-curve.jsonl"),
    html: Annotated[
        Optional[Path], typer.Option(help="Write the curve and the table as one page, too")
    ] = None,
    code: Code = None,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Begin anew; earlier results are lost")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train on random shares of the training data, each of which is part of the next larger one,
    and show the score on the development data against the number of documents; with a curve that is
    fitted to it, and what twice as much data would bring by that curve.

    The same command goes on where it was stopped: the results are in the output file. More --seeds
    and other --shares are added to them. Settings can be overridden (--training.max_steps 500)."""
    overrides = overrides_of(context)
    import_code(code)
    wanted = _shares(shares)
    for path in filter(None, (output, html)):
        check_output(path)
    filled = complete_config(config, overrides)
    total = count_documents(filled)
    results = Results(output, filled, force=force)
    # Of few documents several shares may be as many
    sizes = {n: share for share in reversed(wanted) for n in [size_of(share, total)]}
    todo = [
        (n, share, seed)
        for seed in range(seeds)
        for n, share in sorted(sizes.items())
        if (share, seed) not in results.scores
    ]
    for i, (n, share, seed) in enumerate(todo, start=1):
        label = f"{i} of {len(todo)}: {n} documents, seed {seed}"
        start = time.monotonic()
        try:
            score = train(_with_share(filled, share, seed), label)
        except Exception as error:  # a share may be too small for a component
            warn(f"{label}: training failed\n{type(error).__name__}: {error}")
            continue
        results.add(share, seed, score, seconds=time.monotonic() - start)
        say(f"{label}: {score:.4f}")
    scores = {n: results.of(share) for n, share in sorted(sizes.items())}
    report = describe({n: found for n, found in scores.items() if found})
    if not report["points"]:
        fail("No training came to its end", "Their errors are above.")
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        with replacing(html) as new:
            new.write_text(page(report, f"Learning curve of {config.name}"), encoding="utf8")
        say(f"Wrote {html}")
    if as_json:
        print_json(report)
    else:
        print_table("Score by training data", *_table(report), note="\n".join(report["says"]))


def _shares(text: str) -> list[float]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < share <= 1 for share in found):
        expected = "numbers above 0 and up to 1, such as 0.1,0.3,1"
        raise typer.BadParameter(f"expected {expected}, but got {text!r}", param_hint="--shares")
    return found


def size_of(share: float, total: int) -> int:
    """How many of a number of documents a share of them is."""
    return max(1, round(share * total))


def count_documents(config: "Config") -> int:
    """How many documents a config trains on. The command ends if it can't train."""
    from spacy.util import resolve_dot_names

    nlp = initialized(config)
    resolved = nlp.config.interpolate()
    if resolved["training"]["max_epochs"] == -1:
        fail(
            "Shares of a stream can't be taken",
            "max_epochs = -1 reads the training data as it comes. Set it to 0, or to a number.",
        )
    (corpus,) = resolve_dot_names(resolved, [resolved["training"]["train_corpus"]])
    return sum(1 for _ in corpus(nlp))


def _with_share(config: "Config", share: float, seed: int) -> "Config":
    """The config with a reader that gives a share of the training data, and a seed for training."""
    from spacy.util import registry

    registry.readers.register(READER, func=share_of)
    name = config.interpolate()["training"]["train_corpus"]
    reader = dict(settings_of(config))[name]
    part = {"@readers": READER, "reader": reader, "share": share, "seed": seed}
    return with_settings(config, {name: part, "training.seed": seed})


def share_of(reader: Callable, share: float, seed: int) -> Callable:
    """A reader of a random share of what another one reads. With the same seed a smaller share is
    part of a larger one."""

    def read(nlp: "Language") -> Iterator["Example"]:
        examples = list(reader(nlp))
        random.Random(seed).shuffle(examples)
        yield from examples[: size_of(share, len(examples))]

    return read


class Results:
    """The scores by share and seed, kept in a file: a line of JSON with the config, and one for
    each training.

    path (Path): The file, which is there already or is made.
    config (Config): The config, complete.
    force (bool): Whether to begin anew.
    """

    def __init__(self, path: Path, config: "Config", *, force: bool):
        self.path = path
        self.scores: dict[tuple[float, int], float] = {}
        text = config.to_str(interpolate=False)
        if force or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"config": text}) + "\n", encoding="utf8")
            return
        # What was being written when the run was stopped is no line
        lines = path.read_bytes().split(b"\n")[:-1]
        try:
            first, *others = map(json.loads, lines)
            known = first["config"]
            self.scores = {(line["share"], line["seed"]): line["score"] for line in others}
        except (ValueError, KeyError, TypeError) as error:
            fail(
                f"'{path}' holds no results",
                f"{error!r}. Name another file, or overwrite it with --force.",
            )
        if known != text:
            fail(
                f"'{path}' has the results of another config, or other overrides",
                "Name another file with --output, or begin anew with --force.",
            )
        with path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines))
        if self.scores:
            say(f"Going on after {len(self.scores)} trainings")

    def of(self, share: float) -> list[float]:
        """The scores of a share."""
        return [score for (found, _), score in self.scores.items() if found == share]

    def add(self, share: float, seed: int, score: float, *, seconds: float) -> None:
        """Keep a result."""
        line = {"share": share, "seed": seed, "score": score, "seconds": round(seconds, 1)}
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")
        self.scores[share, seed] = score


class Curve(NamedTuple):
    """A score that rises with the number n of documents, ever more slowly: a - b * n ** -c.

    a (float): What it comes close to, at most 1.
    b, c (float): At least 0. With b = 0 it does not rise.
    """

    a: float
    b: float
    c: float

    def __call__(self, n: float) -> float:
        return float(self.a - self.b * float(n) ** -self.c)


def fit_curve(scores: dict[int, list[float]]) -> Curve:
    """The inverse power law that is closest to scores, by weighted least squares (Figueroa et al.
    2012, https://doi.org/10.1186/1472-6947-12-8). A score of more documents weighs more, as there.

    scores (dict[int, list[float]]): The scores by the number of documents.
    """
    n, y = np.array([(n, score) for n, found in scores.items() for score in found]).T
    # Given c, a and b are those of a straight line, so c is all that has to be searched
    return min((_line(n, y, c) for c in np.geomspace(0.01, 3, 300)), key=lambda f: f[0])[1]


def _line(n: np.ndarray, y: np.ndarray, c: float) -> tuple[float, Curve]:
    """The curve with an exponent, and its weighted squared error."""
    largest, weights = n.max(), n / n.sum()
    z = (n / largest) ** -c
    centre = weights @ z
    b = max(0.0, -float(weights @ ((z - centre) * y) / (weights @ (z - centre) ** 2)))
    a = float(weights @ y + b * centre)
    if a > 1:
        a, b = 1.0, float(weights @ (z * (1 - y)) / (weights @ z**2))
    error = float(weights @ (a - b * z - y) ** 2)
    return error, Curve(a, float(b * largest**c), float(c))


def describe(scores: dict[int, list[float]]) -> dict[str, Any]:
    """The learning curve.

    scores (dict[int, list[float]]): The scores by the number of documents, in rising order.
    RETURNS (dict[str, Any]): "points", each with the number of documents, the scores, their mean
        and standard deviation (null for a single one); "curve" with a, b, c and the root mean
        square "error" of the means; "check": what the curve without the largest number predicts
        there, and what is observed; "more": the score of twice the documents by the curve, and the
        gain. Null where there are too few sizes. "says": all this in words.
    """
    points: list[dict[str, Any]] = [
        {
            "documents": n,
            "scores": found,
            "mean": mean(found),
            "deviation": stdev(found) if len(found) > 1 else None,
        }
        for n, found in scores.items()
    ]
    report: dict[str, Any] = {"points": points, "curve": None, "check": None, "more": None}
    if len(scores) >= MIN_SIZES:
        curve = fit_curve(scores)
        squares = [(curve(p["documents"]) - p["mean"]) ** 2 for p in points]
        report["curve"] = {**curve._asdict(), "error": mean(squares) ** 0.5}
        last = points[-1]
        n = TIMES * last["documents"]
        more = {"documents": n, "score": curve(n), "gain": curve(n) - curve(last["documents"])}
        report["more"] = more
        if len(scores) > MIN_SIZES:
            earlier = {size: found for size, found in scores.items() if size != last["documents"]}
            predicted = fit_curve(earlier)(last["documents"])
            report["check"] = {"predicted": predicted, "observed": last["mean"]}
    report["says"] = list(_says(report))
    return report


def _says(report: dict[str, Any]) -> Iterator[str]:
    curve, check, more = report["curve"], report["check"], report["more"]
    if curve is None:
        yield (
            f"No curve is fitted to {len(report['points'])} different numbers of documents: it "
            f"takes {MIN_SIZES}. Name more --shares."
        )
        return
    yield (
        f"Fitted curve: score = {curve['a']:.3f} - {curve['b']:.3g} * documents^-{curve['c']:.3g}. "
        f"The means are off it by {curve['error']:.4f} (root mean square)."
    )
    yield (
        f"By the curve, {more['documents']} documents, {TIMES} times as many, would bring "
        f"{more['gain']:+.4f}, to {more['score']:.4f}. This is an extrapolation: nothing was "
        "trained on so many, and it holds for more data of the same kind only."
    )
    if check is None:
        yield "There are too few shares to check the curve on the largest. Name more --shares."
        return
    off = check["predicted"] - check["observed"]
    yield (
        f"Check: fitted without the largest number, the curve predicts {check['predicted']:.4f} "
        f"there, where {check['observed']:.4f} was observed ({off:+.4f})."
    )
    if abs(off) >= more["gain"]:
        yield "That is no less than the gain, so the gain is not known."


def _table(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["Documents", "Trainings", "Mean", "Deviation"]
    if report["curve"] is not None:
        header.append("Curve")
    rows = []
    for point in report["points"]:
        spread = "" if point["deviation"] is None else f"{point['deviation']:.4f}"
        number = str(len(point["scores"]))
        rows.append([str(point["documents"]), number, f"{point['mean']:.4f}", spread])
        if (curve := _curve(report)) is not None:
            rows[-1].append(f"{curve(point['documents']):.4f}")
    return header, rows


def _curve(report: dict[str, Any]) -> Optional[Curve]:
    found = report["curve"]
    return None if found is None else Curve(found["a"], found["b"], found["c"])


def page(report: dict[str, Any], title: str) -> str:
    """The learning curve as a page.

    report (dict[str, Any]): As of `describe`.
    """
    from ..pages import chart, html

    points = report["points"]
    each = [(p["documents"], score) for p in points for score in p["scores"]]
    means = [(p["documents"], p["mean"]) for p in points]
    lines = [
        chart.Line(each, "each training", 4, "dots"),
        chart.Line(means, "mean", 0, "dots"),
    ]
    if (curve := _curve(report)) is not None:
        first, last = points[0]["documents"], points[-1]["documents"]
        for start, end, name, kind in (
            (first, last, "curve", "curve"),
            (last, TIMES * last, "extrapolated (dashed)", "dashed"),
        ):
            at = np.linspace(start, end, 60)
            lines.append(chart.Line([(float(n), curve(n)) for n in at], name, 1, kind))
    return html.page(
        title,
        chart.chart("Score", lines, x_label="documents"),
        *(f"<p>{escape(sentence)}</p>" for sentence in report["says"]),
        html.table(*_table(report)),
        style=chart.STYLE + STYLE,
    )
