"""What each default is worth: train variants of one of our components and compare their scores on
the development data. The test data is not read. See README.md beside this file."""

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import srsly
import typer
from accuracy_report import dev_score
from common import (
    RESULTS,
    console,
    describe_markdown,
    describe_run,
    markdown_table,
    mean_range,
    write_results,
)
from corpora import convert, convert_vectors, task_folder
from sides import recommended
from tasks import check_task
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

VARIANTS = Path(__file__).resolve().parent / "ablation.yml"
LANG = "en"

Overrides = dict[str, Any]


def read_variants(path: Path, factory: str, names: list[str]) -> dict[str, Overrides]:
    """The variants of a component.

    path (Path): The table of variants.
    factory (str): The component.
    names (list[str]): The names of the variants; none: all.
    RAISES (typer.BadParameter): If there is no such variant.
    """
    known = srsly.read_yaml(path).get(factory, {})
    for name in names:
        if name not in known:
            raise typer.BadParameter(
                f"--variant {name!r}; expected one of {', '.join(known)} (in '{path}')"
            )
    return {name: known[name] for name in names or known}


def override(config: Config, overrides: Overrides) -> Config:
    """A copy of a config with other values of some settings, in spaCy's dotted form. A setting may
    be a whole section.

    RAISES (typer.BadParameter): If the config does not have a setting.
    """
    config = config.copy()
    for setting, value in overrides.items():
        *path, key = setting.split(".")
        section: Any = config
        for part in path:
            section = section.get(part, {}) if isinstance(section, dict) else {}
        if key not in section:
            raise typer.BadParameter(f"no setting '{setting}' in the config to override")
        section[key] = value
    return config


def report(data: dict[str, Any]) -> str:
    """A row for each variant and a column for each corpus."""
    rows = []
    for variant in data["variants"]:
        cells = []
        for title in data["columns"]:
            scores = [
                run["score"]
                for run in data["runs"]
                if (run["variant"], run["column"]) == (variant, title)
            ]
            cells.append(mean_range(scores, scale=100) if scores else "-")
        rows.append([variant, *cells])
    parts = ["# What the defaults are worth"]
    if data["max_steps"]:
        parts.append(f"**A trial of {data['max_steps']} steps: the numbers mean nothing.**")
    if data["failed"]:
        parts.append(f"**Failed: {', '.join(data['failed'])}.**")
    parts.append(
        f"{data['factory']} as `spacy init config` writes it, and with one thing changed: best "
        f"{data['measure']} on the development data, in percent, by corpus and number of training "
        "sentences. Mean over the seeds (lowest to highest)."
    )
    parts.append(markdown_table(["", *data["columns"]], rows))
    seeds = ", ".join(str(seed) for seed in data["seeds"])
    return "\n\n".join([*parts, describe_markdown(data["run"], seeds=seeds)])


def main(
    data: Annotated[Path, typer.Option(help="Folder with a folder of raw files for each task")],
    tasks: Annotated[str, typer.Option(help="Tasks, with commas between them")] = "wnut17",
    train_size: Annotated[
        str, typer.Option(help="Numbers of training sentences, with commas; 0: all")
    ] = "0",
    variant: Annotated[
        list[str] | None, typer.Option(help="A variant; may be repeated [default: all]")
    ] = None,
    variants: Annotated[Path, typer.Option(help="The table of variants")] = VARIANTS,
    seeds: Seeds = "0,1,2",
    vectors: WordVectors = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
) -> None:
    """Train each variant on the training data of each task, for each seed. What is finished is
    written after each training."""
    chosen = {name: check_task(name) for name in tasks.split(",")}
    corpora = {name: task.corpus for name, task in chosen.items() if task.corpus is not None}
    factory = next(iter(chosen.values())).factory
    if len(corpora) < len(chosen) or any(task.factory != factory for task in chosen.values()):
        raise typer.BadParameter(
            f"--tasks {tasks!r}; expected tasks of one component, and none on a treebank"
        )
    sizes = parse_numbers(train_size, option="--train-size")
    numbers = parse_numbers(seeds, option="--seeds")
    base = recommended(LANG, (factory,))
    configs = {
        name: override(base, overrides)
        for name, overrides in read_variants(variants, factory, variant or []).items()
    }
    command = f"python benchmarks/ablation.py --data DIR --tasks {tasks} --train-size {train_size}"
    command += f" --seeds {seeds}" + "".join(f' --variant "{name}"' for name in variant or [])
    command += f" --vectors {vectors.name}" if vectors else ""
    command += f" --max-steps {max_steps}" if max_steps else ""
    folder = work_folder(work)
    read = vectors and convert_vectors(vectors, folder / "vectors", lang=LANG)
    task = next(iter(chosen.values()))
    measure = task.measures[next(iter(task.dev_weights))]
    found: dict[str, Any] = {"run": describe_run(threads=threads, command=command)}
    found |= {"factory": factory, "measure": measure, "seeds": numbers, "max_steps": max_steps}
    found |= {"variants": [*configs], "columns": [], "runs": [], "failed": []}
    file_name = "-".join(["ablation", *chosen, *(["trial"] if max_steps else [])])
    for name, size in [(name, size) for name in chosen for size in sizes]:
        title = f"{name}, {size or 'all'}"
        found["columns"].append(title)
        place = folder / f"ablation-{name}-{size or 'all'}"
        source = task_folder(data, name)
        parts = convert(corpora[name], source, place / "corpus", train_size=size)
        parts.pop("test")
        trainer = Trainer(
            work=place,
            corpus=parts,
            vectors=read,
            threads=threads,
            max_steps=max_steps,
            resume=resume,
        )
        for seed, (changed, config) in product(numbers, configs.items()):
            label = changed.replace(" ", "_")
            result = trainer.pipeline(label, config, seed=seed, gold_tokens=False)
            if result is None:
                found["failed"].append(f"{changed} on {title} with seed {seed}")
            else:
                best = max(dev_score(point, task.dev_weights) for point in result["curve"])
                run = {"variant": changed, "column": title, "seed": seed, "score": best}
                found["runs"].append({**run, **result})
            write_results(results, file_name, data=found, markdown=report(found))
    console.print(f"Wrote {file_name}.json and {file_name}.md to {results}")
    print(report(found))
    if found["failed"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
