"""Put what is taught about recurrent networks to the test on the sample corpus: train small models,
draw a figure for each claim, and say whether it held in this run."""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from claims_figures import COLOURS, Results, bars, legend, lines, save, verdict
from claims_training import EMBEDDED_WIDTH, WIDTH, Job, embedded_by, run
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from srsly import read_json, write_json

DISTANCES = range(1, 9)
AT_DISTANCE = [f"distance {n}" for n in DISTANCES]
FAR = AT_DISTANCE[5:]
CELLS = ("rnn", "gru", "lstm", "peephole_lstm", "grid_lstm")
LENGTHS = (500, 2000, 5000, 10000, 20000)
console = Console()


@dataclass(frozen=True)
class Claim:
    """One claim.

    name (str): Name of its figure.
    claim (str): What is taught.
    options (dict[str, dict[str, Any]]): For each setting what its job takes.
    kind (str): Kind of the jobs.
    draw (Callable): Draws the figure.
    judge (Callable): Says whether the claim held, and in which numbers that shows.
    panels (int): Number of panels of the figure.
    one_seed (bool): Whether there is nothing random in it.
    """

    name: str
    claim: str
    options: dict[str, dict[str, Any]]
    draw: Callable[[Any, Results], None]
    judge: Callable[[Results], tuple[str, str]]
    kind: str = "senses"
    panels: int = 1
    one_seed: bool = False

    def jobs(self, seeds: Sequence[int]) -> dict[str, list[Job]]:
        """The jobs of each setting."""
        seeds = seeds[:1] if self.one_seed else seeds
        return {
            setting: [Job(self.kind, options, seed) for seed in seeds]
            for setting, options in self.options.items()
        }


def changed(**changes: Any) -> dict[str, Any]:
    """The options of a tagger of senses whose tok2vec differs in something."""
    return {"changes": changes}


def parameters_of_lstm(width: int) -> int:
    """4 ((x + h) h + h) for each of two directions."""
    return 2 * 4 * ((EMBEDDED_WIDTH + width) * width + width)


def together(verdicts: dict[str, str]) -> str:
    """One verdict, if all parts of a claim have the same; otherwise each with its name."""
    found = set(verdicts.values())
    return found.pop() if len(found) == 1 else "; ".join(f"{k}: {v}" for k, v in verdicts.items())


# 1: what follows a word


def draw_distances(axes: Any, results: Results) -> None:
    lines(axes, results, DISTANCES, AT_DISTANCE)
    axes.set(xlabel="tokens from the word to its cue", ylabel="ambiguous words right, %")
    axes.set_ylim(20, 101)
    legend(axes)


def draw_directions(axes: Any, results: Results) -> None:
    draw_distances(axes, results)
    axes.axhline(50, color="grey", linestyle=":", linewidth=1)
    axes.annotate("most that the left context allows", (8, 51), ha="right", fontsize=8)


def judge_directions(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.show(s, 'ambiguous')} %" for s in results.settings)
    verdicts = {
        f"against {one}": results.compare("both", one, *AT_DISTANCE)
        for one in ("forward", "backward")
    }
    shown = f"Here the cue is always to the right. Ambiguous words right: {shown}."
    return together(verdicts), shown


# 2: the reach of a cell


def judge_cells(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.show(s, *FAR)} %" for s in results.settings)
    return results.compare(
        "lstm", "rnn", *FAR
    ), f"Right where the cue is 6 to 8 tokens on: {shown}."


def draw_gradients(axes: Any, results: Results) -> None:
    distances = range(0, 41, 2)
    lines(axes, results, distances, [str(d) for d in distances], scale=1)
    axes.set_yscale("log")
    axes.set(
        xlabel="tokens between the word and the state",
        ylabel="norm of the gradient\n(1 at distance 0)",
    )
    legend(axes)


def judge_gradients(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.mean(s, '20'):.1e}" for s in results.settings)
    return results.compare("lstm", "rnn", "20"), (
        f"Before training, with random peepholes, left of the gradient 20 tokens on: {shown}."
    )


# 3: unseen words


def draw_words(axes: Any, results: Results) -> None:
    bars(axes, results, {"all": "all words", "unseen": "words that training did not have"})
    axes.set(ylabel="senses right, %")
    legend(axes)


def judge_words(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.show(s, 'unseen')} %" for s in results.settings)
    held = results.compare("words and characters", "words only", "unseen")
    return held, f"Unseen words right: {shown}."


# 4: depth

LITTLE, MORE = 400, 2500


def draw_depth(axes: Any, results: Results) -> None:
    for i, (n, title) in enumerate(((LITTLE, "little data"), (MORE, "more data"))):
        runs = {str(d): results.by_setting[f"depth {d}, {n} texts"] for d in (1, 2, 3)}
        part = Results(
            {
                f"{title} ({n} texts)": [
                    {d: runs[d][seed]["ambiguous"] for d in runs} for seed in range(len(runs["1"]))
                ]
            }
        )
        axis = axes[i]
        lines(axis, part, (1, 2, 3), list(runs))
        axis.set(xlabel="layers", title=part.settings[0], xticks=(1, 2, 3))
        axis.set_ylim(20, 101)
    axes[0].set_ylabel("ambiguous words right, %")


def judge_depth(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.show(s, 'ambiguous')} %" for s in results.settings)
    verdicts = {
        name: results.compare(f"depth 3, {n} texts", f"depth 1, {n} texts", "ambiguous")
        for name, n in (("with more data", MORE), ("with little", LITTLE))
    }
    return together(verdicts), f"Ambiguous words right: {shown}."


# 5: pooling


def draw_pooling(axes: Any, results: Results) -> None:
    kinds = {"degree": '"terribly good"', "negated": '"not bad"', "turned": "turned at\nthe end"}
    bars(axes, results, {**kinds, "unforeseen": "constructions\nnot in training"})
    axes.set(ylabel="sentiment right, %")
    legend(axes)


def judge_pooling(results: Results) -> tuple[str, str]:
    shown = ", ".join(f"{s} {results.show(s, 'turned')} %" for s in results.settings)
    held = results.compare("last", "mean", "turned")
    return held, f"Sentences that turn at the end right: {shown}."


# 6: the bottleneck

WORD_LENGTHS = {"4 to 5": "4-5", "6 to 7": "6-7", "8 to 9": "8-9", "10 and more": "10-"}


def draw_bottleneck(axes: Any, results: Results) -> None:
    lines(axes, results, range(len(WORD_LENGTHS)), list(WORD_LENGTHS.values()))
    axes.set_xticks(range(len(WORD_LENGTHS)), list(WORD_LENGTHS))
    axes.set(xlabel="characters of the word", ylabel="lemmas of unseen words right, %")
    axes.set_ylim(-2, 102)
    legend(axes)


def judge_bottleneck(results: Results) -> tuple[str, str]:
    shown = "; ".join(
        f"{s}: " + ", ".join(f"{results.show(s, key)} % at {k}" for k, key in WORD_LENGTHS.items())
        for s in results.settings
    )
    short, long = (results.values("without attention", key) for key in ("4-5", "10-"))
    verdicts = {
        "long words are better with attention": results.compare(
            "with attention", "without attention", "10-"
        ),
        "without, they are worse than short ones": verdict(short, long),
    }
    return together(verdicts), (
        "Without attention there is no copying either. Lemmas right by length in characters: "
        f"{shown}."
    )


# 7: agreement

BETWEEN = ("1", "2", "3", "4")


def draw_agreement(axes: Any, results: Results) -> None:
    lines(axes, results, [int(n) for n in BETWEEN], BETWEEN)
    axes.axhline(50, color="grey", linestyle=":", linewidth=1)
    axes.axvspan(2.5, 4.1, color="grey", alpha=0.08, linewidth=0)
    axes.annotate("more than in training", (2.55, 3), fontsize=8)
    axes.set(xlabel="nouns of the other number between subject and verb", xticks=range(1, 5))
    axes.set(ylabel="right number of the verb preferred, %")
    axes.set_ylim(-2, 102)
    legend(axes)


def judge_agreement(results: Results) -> tuple[str, str]:
    shown = "; ".join(
        f"{s} " + ", ".join(results.show(s, n, digits=0) for n in BETWEEN) + " %"
        for s in results.settings
    )
    held = results.compare("lstm", "rnn", *BETWEEN)
    return held, f"Right with 1, 2, 3 and 4 nouns between: {shown}."


# 8: width

WIDTHS = (1, 2, 8, 64)


def draw_width(axes: Any, results: Results) -> None:
    counted = [results.mean(str(w), "parameters") for w in WIDTHS]
    axes[0].plot(WIDTHS, counted, "o", color=COLOURS[0], label="counted")
    axes[0].plot(WIDTHS, [parameters_of_lstm(w) for w in WIDTHS], color=COLOURS[1], label="formula")
    axes[0].set(xlabel="width of a direction's state", ylabel="parameters of the layer")
    axes[0].set(xscale="log", yscale="log")
    legend(axes[0])
    runs = len(results.by_setting["1"])
    part = Results(
        {
            "": [
                {str(w): results.by_setting[str(w)][seed]["ambiguous"] for w in WIDTHS}
                for seed in range(runs)
            ]
        }
    )
    lines(axes[1], part, WIDTHS, [str(w) for w in WIDTHS])
    axes[1].set(
        xlabel="width of a direction's state", ylabel="ambiguous words right, %", xscale="log"
    )
    for axis in axes:
        axis.set_xticks(WIDTHS, [str(w) for w in WIDTHS])
        axis.minorticks_off()


def judge_width(results: Results) -> tuple[str, str]:
    formula = all(results.mean(str(w), "parameters") == parameters_of_lstm(w) for w in WIDTHS)
    shown = ", ".join(
        f"{w}: {results.mean(w, 'parameters'):,.0f} parameters, {results.show(w, 'ambiguous')} %"
        for w in map(str, WIDTHS)
    )
    held = results.compare("64", "1", "ambiguous") if formula else "did not hold"
    return held, f"Formula and count are {'the same' if formula else 'NOT the same'}. {shown}."


# 9: GRU against LSTM


def draw_gru(axes: Any, results: Results) -> None:
    chosen = {"parameters": "parameters", "seconds": "training, s", "ambiguous": "right, %"}
    for axis, (key, title) in zip(axes, chosen.items(), strict=True):
        for i, setting in enumerate(results.settings):
            scale = 100 if key == "ambiguous" else 1
            found = [scale * value for value in results.values(setting, key)]
            axis.bar(setting, sum(found) / len(found), color=COLOURS[i])
            axis.plot([setting] * len(found), found, ".", color="black", markersize=4)
        axis.set(title=title)


def judge_gru(results: Results) -> tuple[str, str]:
    share = results.mean("gru", "parameters") / results.mean("lstm", "parameters")
    time = results.mean("gru", "seconds") / results.mean("lstm", "seconds")
    shown = (
        f"A GRU has {share:.2f} times the parameters of an LSTM and took {time:.2f} times its time "
        f"(of the CPU) in training; ambiguous words right: gru {results.show('gru', 'ambiguous')} "
        f"%, lstm {results.show('lstm', 'ambiguous')} %."
    )
    gap = 100 * abs(results.mean("gru", "ambiguous") - results.mean("lstm", "ambiguous"))
    if share < 1 and time < 1:
        held = "held on average" if gap < 3 else "smaller and faster, but not equally good"
        return f"{held} ({gap:.1f} points apart)", shown
    return "did not hold", shown


# 10: long documents


def draw_lengths(axes: Any, results: Results) -> None:
    for axis, key, title in zip(
        axes, ("seconds", "megabytes"), ("seconds", "MB more than before"), strict=True
    ):
        axis.plot(LENGTHS, [results.mean(str(n), key) for n in LENGTHS], "o-", color=COLOURS[0])
        axis.set(xlabel="tokens of the document", ylabel=title)
        axis.set_ylim(bottom=0)


def judge_lengths(results: Results) -> tuple[str, str]:
    shown = ", ".join(
        f"{n:,} tokens {results.mean(str(n), 'seconds'):.2f} s and "
        f"{results.mean(str(n), 'megabytes'):.0f} MB"
        for n in LENGTHS
    )
    ratio = results.mean("20000", "seconds") / results.mean("5000", "seconds")
    held = "held, with one seed" if ratio > 2 else "did not hold"
    return held, f"{shown}. Four times the tokens took {ratio:.1f} times the time."


CLAIMS = (
    Claim(
        "directions",
        "A word whose meaning is decided by what follows needs a model that reads both ways.",
        {d: changed(direction=d) for d in ("forward", "backward")} | {"both": changed()},
        draw_directions,
        judge_directions,
    ),
    Claim(
        "cells",
        "Cells with gates carry information further than a plain RNN.",
        {cell: changed(cell=cell) if cell != "lstm" else changed() for cell in CELLS},
        draw_distances,
        judge_cells,
    ),
    Claim(
        "gradients",
        "In a plain RNN the gradient vanishes with distance; an LSTM keeps more of it.",
        {cell: {"cell": cell} for cell in CELLS},
        draw_gradients,
        judge_gradients,
        kind="gradients",
    ),
    Claim(
        "words",
        "Characters let a model deal with words that it has never seen.",
        {
            "words only": {"model": embedded_by(chars=False, words=True)},
            "characters only": {"model": embedded_by(chars=True, words=False)},
            "words and characters": {"model": embedded_by(chars=True, words=True)},
        },
        draw_words,
        judge_words,
    ),
    Claim(
        "depth",
        "Stacked layers build better representations, if there is data enough.",
        {
            f"depth {d}, {n} texts": (changed(depth=d) if d > 1 else changed())
            | ({"n_train": n} if n != MORE else {})
            for n in (LITTLE, MORE)
            for d in (1, 2, 3)
        },
        draw_depth,
        judge_depth,
        panels=2,
    ),
    Claim(
        "pooling",
        "The last states sum up a sentence; they see the words that turn its sentiment in the end.",
        {kind: {"pooling": kind} for kind in ("last", "mean", "max", "attention")},
        draw_pooling,
        judge_pooling,
        kind="sentiments",
    ),
    Claim(
        "bottleneck",
        "One vector for the whole word is a bottleneck: without attention, long words suffer.",
        {"with attention": {"attention": True}, "without attention": {"attention": False}},
        draw_bottleneck,
        judge_bottleneck,
        kind="lemmas",
    ),
    Claim(
        "agreement",
        "An LSTM carries the number of the subject past other nouns to the verb, an RNN loses it.",
        {cell: {"cell": cell} for cell in ("rnn", "lstm")},
        draw_agreement,
        judge_agreement,
        kind="agreement",
    ),
    Claim(
        "width",
        "Each direction has 4 ((x + h) h + h) parameters, and a wider state holds more.",
        {str(w): changed(width=2 * w) for w in WIDTHS},
        draw_width,
        judge_width,
        panels=2,
    ),
    Claim(
        "gru",
        "A GRU does as well as an LSTM with three quarters of the parameters and in less time.",
        {"gru": changed(cell="gru"), "lstm": changed()},
        draw_gru,
        judge_gru,
        panels=3,
    ),
    Claim(
        "lengths",
        "A recurrent network reads word by word: its time grows with the length of the document.",
        {str(n): {"n_tokens": n} for n in LENGTHS},
        draw_lengths,
        judge_lengths,
        kind="lengths",
        panels=2,
        one_seed=True,
    ),
)


def run_all(
    jobs: Iterable[Job], *, workers: int, done: dict[str, Any], save_as: Path
) -> dict[str, Any]:
    """Run the jobs that are not done yet, each once. What is done is saved after each.

    RETURNS (dict): What each job, by its key, has measured.
    """
    todo = {job.key: job for job in jobs if job.key not in done}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # New processes rather than forks: each starts with its own threads and memory, and one job a
    # process, so that the peak of memory is that of its own
    context = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        bar = progress.add_task("Training", total=len(todo))
        futures = {pool.submit(run, job): key for key, job in todo.items()}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            save_as.parent.mkdir(parents=True, exist_ok=True)
            write_json(save_as, done)
            progress.advance(bar)
    return done


def report(claims: Sequence[Claim], results: dict[str, Results], *, seeds: Sequence[int]) -> str:
    """The report in Markdown."""
    parts = [
        "# Claims",
        "What is taught about recurrent networks, put to the test on the sample corpus with small "
        f"models (width {WIDTH}). Seeds: {', '.join(map(str, seeds))}. Numbers are means over the "
        "seeds, with the lowest and the highest in brackets; bands and dots show the seeds. *Held* "
        "means that each seed of one side was above each of the other. The corpus is made up for "
        "the purpose: this shows how the parts behave, not how good they are on your texts.",
    ]
    for claim in claims:
        verdict, shown = claim.judge(results[claim.name])
        parts += [f"## {claim.claim}", f"In this run: **{verdict}**. {shown}"]
        parts.append(f"![{claim.name}](claims/{claim.name}.png)")
    return "\n\n".join(parts) + "\n"


def main(
    out_dir: Annotated[Path, typer.Argument(help="Folder for the report", file_okay=False)],
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them")] = "0,1,2",
    only: Annotated[str, typer.Option(help="Names of claims, with commas; all if empty")] = "",
    workers: Annotated[int, typer.Option(help="Trainings at a time", min=1)] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is in claims.json")] = False,
) -> None:
    """Train, measure, draw, and write claims.md, claims.json and a figure for each claim."""
    names = [name for name in only.split(",") if name] or [claim.name for claim in CLAIMS]
    unknown = set(names) - {claim.name for claim in CLAIMS}
    if unknown:
        known = ", ".join(claim.name for claim in CLAIMS)
        raise typer.BadParameter(f"--only {', '.join(sorted(unknown))}; expected some of {known}")
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--seeds {seeds}; expected numbers such as 0,1,2") from None
    claims = [claim for claim in CLAIMS if claim.name in names]
    results_file = out_dir / "claims.json"
    done = read_json(results_file) if resume and results_file.exists() else {}
    jobs = [job for claim in claims for found in claim.jobs(numbers).values() for job in found]
    done = run_all(jobs, workers=workers, done=done, save_as=results_file)
    results = {}
    for claim in claims:
        by_setting = {s: [done[job.key] for job in js] for s, js in claim.jobs(numbers).items()}
        results[claim.name] = Results(by_setting)
        figure = out_dir / "claims" / claim.name
        save(figure, claim.draw, results[claim.name], panels=claim.panels)
    (out_dir / "claims.md").write_text(report(claims, results, seeds=numbers), encoding="utf8")
    console.print(f"Wrote {out_dir / 'claims.md'}")
    for claim in claims:
        console.print(f"{claim.name}: {claim.judge(results[claim.name])[0]}")


if __name__ == "__main__":
    typer.run(main)
