"""Words a second that trained pipelines annotate in raw text, ours against spaCy's, in turn and
with the same texts. See README.md beside this file."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from common import (
    RESULTS,
    check_dir,
    console,
    describe_markdown,
    describe_run,
    markdown_table,
    median_range,
    pin_threads,
    write_results,
)
from corpora import raw_texts
from rich.progress import track
from spacy.language import Language
from thinc.api import NumpyOps

WARM_UP_TEXTS = 200
PAIR = "NAME=SPACY_DIR,OUR_DIR"
# What is timed, and the side whose pipeline it takes
VARIANTS = {
    "tokenizer": "spacy",
    "spacy": "spacy",
    "spacy numpy": "spacy",
    "ours": "ours",
    "no confidence": "ours",
}
TITLES = {
    "tokenizer": "tokenizer only",
    "spacy": "spaCy",
    "spacy numpy": "spaCy, products by NumPy",
    "ours": "spacy-birnn",
    "no confidence": "spacy-birnn, no confidence",
}

# How the texts come: all of them at once, or one at a time, as behind a web request
WAYS = ("nlp.pipe", "nlp(text)")

Pair = dict[str, Path]


def find_pairs(work: Path) -> dict[str, Pair]:
    """The pipelines that accuracy.py left in its work folder, of the first seed of each task."""
    check_dir(work, expected="a folder that accuracy.py had as --work")
    pairs: dict[str, Pair] = {}
    for best in sorted(work.glob("*/spacy-seed*/model-best")):
        run = best.parent
        ours = run.with_name(run.name.replace("spacy-", "ours-", 1)) / "model-best"
        if ours.is_dir():
            pairs.setdefault(run.parent.name, {"spacy": best, "ours": ours})
    if not pairs:
        expected = "TASK/spacy-seedN/model-best and TASK/ours-seedN/model-best"
        raise typer.BadParameter(f"no trained pipelines in '{work}'; expected {expected}")
    return pairs


def split_option(value: str, *, option: str, form: str) -> tuple[str, str]:
    """RAISES (typer.BadParameter): Unless the value has the form NAME=REST."""
    name, equals, rest = value.partition("=")
    if not (name and equals and rest):
        raise typer.BadParameter(f"{option} {value!r}; expected {form}")
    return name, rest


def parse_pair(value: str) -> tuple[str, Pair]:
    """RAISES (typer.BadParameter): Unless the value names two folders with pipelines."""
    name, rest = split_option(value, option="--pair", form=PAIR)
    paths = [Path(path) for path in rest.split(",")]
    if len(paths) != 2:
        raise typer.BadParameter(f"--pair {value!r}; expected {PAIR}")
    for path in paths:
        check_dir(path, expected="a trained pipeline")
    return name, {"spacy": paths[0], "ours": paths[1]}


def take(nlp: Language, texts: list[str], *, words: int) -> list[str]:
    """As many texts from the beginning as have a number of words, repeated if they are too few."""
    chosen: list[str] = []
    n_words = 0
    while n_words < words:
        for text in texts:
            chosen.append(text)
            n_words += len(nlp.make_doc(text))
            if n_words >= words:
                break
    return chosen


def measure(
    variant: str, path: Path, *, way: str, warm_up: list[str], texts: list[str]
) -> dict[str, float]:
    """Load a pipeline and read the texts with it twice: for the first time, and once more.

    variant (str): One of VARIANTS.
    path (Path): The trained pipeline.
    way (str): One of WAYS.
    warm_up (list[str]): Texts to read before that.
    texts (list[str]): The texts.
    RETURNS (dict[str, float]): For each reading the words a second ("first", "again"), and the
        words a second of CPU time ("first_cpu", "again_cpu").
    """
    nlp = spacy.load(path)
    if variant == "no confidence":
        ner: Any = nlp.get_pipe("birnn_ner")
        ner.cfg["confidence"] = False
    if variant == "spacy numpy":
        for _, pipe in nlp.pipeline:
            for node in pipe.model.walk() if hasattr(pipe, "model") else ():
                node.ops = NumpyOps(use_blis=False)
    reader: Any = nlp.tokenizer if variant == "tokenizer" else nlp
    read: Callable[[list[str]], Iterator] = reader.pipe
    if way == "nlp(text)":
        read = partial(map, reader)
    for _ in read(warm_up):
        pass
    speeds = {}
    for name in ("first", "again"):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        words = sum(len(doc) for doc in read(texts))
        speeds[name] = words / (time.perf_counter() - wall)
        speeds[f"{name}_cpu"] = words / (time.process_time() - cpu)
    return speeds


def compare(
    pair: Pair, *, way: str, texts: list[str], words: int, rounds: int, title: str
) -> dict[str, list[dict[str, float]]]:
    """Measure all variants in turn, in each round in the opposite order of the one before.

    RETURNS (dict[str, list[dict[str, float]]]): For each variant what each round gave.
    """
    nlp = spacy.load(pair["spacy"])
    warm_up, rest = texts[-WARM_UP_TEXTS:], texts[:-WARM_UP_TEXTS] or texts
    chosen = take(nlp, rest, words=words)
    has_ner = "birnn_ner" in spacy.load(pair["ours"]).pipe_names
    variants = [name for name in VARIANTS if has_ner or name != "no confidence"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for i in track(range(rounds), description=title, console=console):
        for name in variants if i % 2 == 0 else variants[::-1]:
            path = pair[VARIANTS[name]]
            speeds = measure(name, path, way=way, warm_up=warm_up, texts=chosen)
            found[name].append(speeds)
    return found


def report(data: dict[str, Any]) -> str:
    """A table for each corpus, pair of pipelines and way."""
    parts = ["# Speed of prediction"]
    for result in data["results"]:
        rounds = result["rounds"]
        rows = []
        for name, found in rounds.items():
            cells = []
            for reading in ("first", "again"):
                speeds = [speeds[reading] for speeds in found]
                base = [speeds[reading] for speeds in rounds["spacy"]]
                ratios = [own / other for own, other in zip(speeds, base, strict=True)]
                cells += [median_range(speeds, digits=0), median_range(ratios, digits=2)]
            cpu = statistics.median(speeds["first_cpu"] for speeds in found)
            rows.append([TITLES[name], *cells, f"{cpu:,.0f}"])
        header = ["", "words/s", "times spaCy", "words/s, again", "times spaCy", "words/CPU s"]
        parts.append(f"## {result['pair']} on {result['corpus']}, {result['way']}")
        parts.append(markdown_table(header, rows))
    note = (
        f"Median of {data['n_rounds']} rounds (lowest to highest), {data['words']:,} words a round."
    )
    return "\n\n".join([*parts, note, describe_markdown(data["run"])])


def main(
    data: Annotated[list[str], typer.Option(help="Raw text, NAME=DIR; may be repeated")],
    work: Annotated[Path | None, typer.Option(help="Work folder that accuracy.py left")] = None,
    pair: Annotated[list[str] | None, typer.Option(help=f"{PAIR}; may be repeated")] = None,
    words: Annotated[int, typer.Option(help="Words of each round, at least", min=1)] = 40000,
    rounds: Annotated[int, typer.Option(help="Rounds", min=1)] = 7,
    threads: Annotated[int, typer.Option(help="Threads", min=1)] = 1,
    results: Annotated[Path, typer.Option(help="Folder for the results")] = RESULTS,
) -> None:
    """Every pair of pipelines on every corpus; the results are written after each."""
    pin_threads(threads)
    pairs = dict(parse_pair(value) for value in pair or [])
    pairs |= find_pairs(work) if work is not None else {}
    if not pairs:
        raise typer.BadParameter("no pipelines to compare; expected --work or --pair")
    named = [split_option(value, option="--data", form="NAME=DIR") for value in data]
    corpora = {name: raw_texts(Path(folder)) for name, folder in named}
    options = [f"--data {name}=DIR" for name in corpora] + (["--work DIR"] if work else [])
    options += [f"--pair {value.partition('=')[0]}=DIR,DIR" for value in pair or []]
    options += [f"--words {words} --rounds {rounds} --threads {threads}"]
    command = f"python benchmarks/speed.py {' '.join(options)}"
    out: dict[str, Any] = {"run": describe_run(threads=threads, command=command)}
    out |= {"words": words, "n_rounds": rounds, "results": []}
    for corpus, texts in corpora.items():
        for name, paths in pairs.items():
            for way in WAYS:
                title = f"{name} on {corpus}, {way}"
                found = compare(
                    paths, way=way, texts=texts, words=words, rounds=rounds, title=title
                )
                result = {"corpus": corpus, "pair": name, "way": way, "rounds": found}
                out["results"].append(result)
                write_results(results, "speed", data=out, markdown=report(out))
    console.print(f"Wrote speed.json and speed.md to {results}")
    print(report(out))


if __name__ == "__main__":
    typer.run(main)
