"""Train spaCy's pipes, a plain BiLSTM-CRF and ours on the same data; compare their accuracy and
calibration on the test data and the time that training takes. See README.md beside this file."""

from pathlib import Path
from typing import Annotated, Any

import typer
from accuracy_report import report
from common import RESULTS, ROOT, check_file, console, describe_run, write_results
from corpora import convert, convert_vectors, task_folder
from sides import from_file, read_vectors, recommended
from tasks import TASKS, Task, check_task
from thinc.api import Config
from training import (
    MaxSteps,
    Results,
    Resume,
    Seeds,
    Threads,
    Trainer,
    WordVectors,
    Work,
    parse_numbers,
    work_folder,
)


def choose_sides(task: Task, names: str) -> list[str]:
    """The sides that an option names; `spacy` stands for all of spaCy's, nothing for all.

    RAISES (typer.BadParameter): If a name is not that of a side.
    """
    wanted = names.split(",") if names else [side.partition("-")[0] for side in task.sides]
    chosen = [side for side in task.sides if {side, side.partition("-")[0]} & {*wanted}]
    known = {*task.sides, *(side.partition("-")[0] for side in task.sides)}
    if not {*wanted} <= known:
        raise typer.BadParameter(f"--sides {names!r}; expected some of {', '.join(sorted(known))}")
    return chosen


def config_of(task: Task, side: str, *, lang: str, ours: Path) -> Config:
    """The config of a side that is a pipeline."""
    if side == "ours":
        return from_file(ours, lang)
    if side == "defaults":
        return recommended(lang, (task.factory,))
    make_config = task.sides[side].config
    if make_config is None:
        raise ValueError(f"'{side}' is no pipeline")
    return make_config(lang, task.pipes)


def main(
    task_name: Annotated[str, typer.Argument(metavar="TASK", help=", ".join(TASKS))],
    data: Annotated[Path, typer.Option(help="Folder with the raw files, or with a folder TASK")],
    treebank: Annotated[
        str, typer.Option(help="For ud and lemma: what the files' names begin with")
    ] = "en_partut",
    lang: Annotated[
        str, typer.Option(help="Language code [default: en, or as a treebank's name begins]")
    ] = "",
    seeds: Seeds = "0,1,2",
    sides: Annotated[
        str, typer.Option(help="Sides, with commas between them [default: all of the task]")
    ] = "",
    train_size: Annotated[
        int, typer.Option(help="Train on so many sentences, always the same; 0: on all", min=0)
    ] = 0,
    vectors: WordVectors = None,
    ours: Annotated[
        Path | None, typer.Option(help="Our config [default: that of project/configs/]")
    ] = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
) -> None:
    """Train all sides of TASK for each seed. What is finished is written after each training."""
    task = check_task(task_name)
    ours = check_file(ours or ROOT / "project" / "configs" / task.ours, expected="our config")
    chosen, numbers = choose_sides(task, sides), parse_numbers(seeds, option="--seeds")
    parts, options = [task_name], f"--seeds {seeds}"
    if task.corpus is None:
        parts.append(treebank)
        lang = lang or treebank.partition("_")[0]
        options = f"--treebank {treebank} {options}"
    lang = lang or "en"
    if vectors is not None:
        parts.append("vectors")
        options += f" --vectors {vectors.name}"
    for option, value in {"sides": sides, "train-size": train_size, "max-steps": max_steps}.items():
        options += f" --{option} {value}" if value else ""
    name = "-".join([*parts, str(train_size)] if train_size else parts)
    folder = work_folder(work)
    trainer = Trainer(
        work=folder / name,
        corpus=convert(
            task.corpus or treebank,
            task_folder(data, task_name),
            folder / name / "corpus",
            train_size=train_size,
        ),
        vectors=vectors and convert_vectors(vectors, folder / "vectors", lang=lang),
        threads=threads,
        max_steps=max_steps,
        resume=resume,
    )
    configs = {s: config_of(task, s, lang=lang, ours=ours) for s in chosen if s != "plain"}
    for side in [side for side in configs if side.startswith("spacy") and vectors is not None]:
        if not read_vectors(configs[side]):
            console.print(f"{side} is left out: it cannot read vectors")
            chosen.remove(side)

    command = f"python benchmarks/accuracy.py {task_name} --data DIR {options}"
    found: dict[str, Any] = {"run": describe_run(threads=threads, command=command)}
    found |= {"task": f"accuracy-{name}", "seeds": numbers, "max_steps": max_steps}
    found |= {"measures": task.measures, "dev_weights": task.dev_weights}
    found |= {"sides": {side: task.sides[side].title for side in chosen}}
    found |= {"runs": [], "failed": []}
    file_name = f"accuracy-{name}" + ("-trial" if max_steps else "")
    for i, seed in enumerate(numbers):
        # The side that goes first alternates
        for side in chosen if i % 2 == 0 else chosen[::-1]:
            if side == "plain":
                result = trainer.plain(side, seed=seed)
            else:
                result = trainer.pipeline(
                    side, configs[side], seed=seed, gold_tokens=task.gold_tokens
                )
            found["runs" if result else "failed"].append(
                {"side": side, "seed": seed, **(result or {})}
            )
            write_results(results, file_name, data=found, markdown=report(found))
    console.print(f"Wrote {file_name}.json and {file_name}.md to {results}")
    print(report(found))
    if found["failed"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
