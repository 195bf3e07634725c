"""One comparison of accuracy.py: all sides trained for each seed, each training in a process of
its own, so that memory, threads and random state are independent."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from accuracy_report import report
from common import ROOT, check_file, console, describe_run, thread_env, write_results
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from spacy.util import load_config, load_model_from_config
from spacy_configs import recommended
from thinc.api import Config

OURS = {"ours": "spacy-birnn"}
TRAIN_ONE = Path(__file__).resolve().parent / "train_one.py"
SpacySide = tuple[str, Callable[[str, tuple[str, ...]], Config]]


@dataclass(frozen=True)
class Task:
    """What is compared.

    name (str): Name of the results.
    command (str): The command that repeats it, with DIR for a local path.
    lang (str): Language code.
    pipes (tuple[str, ...]): spaCy's trainable pipes, as `spacy init config -p` takes them.
    measures (dict[str, str]): Scores on the test data, and the title of each one's column.
    dev_weights (dict[str, float]): The score on the development data, the same for all sides.
    spacy (dict[str, SpacySide]): spaCy's sides: of each the title, and what makes its config from
        the language and the pipes.
    gold_tokens (bool): Whether all sides train and are tested on the tokens of the annotation.
    """

    name: str
    command: str
    lang: str
    pipes: tuple[str, ...]
    measures: dict[str, str]
    dev_weights: dict[str, float]
    spacy: dict[str, SpacySide] = field(default_factory=lambda: {"spacy": ("spaCy", recommended)})
    gold_tokens: bool = False

    @property
    def sides(self) -> dict[str, str]:
        """The title of each side. Ours is the last."""
        return {**{side: title for side, (title, _) in self.spacy.items()}, **OURS}


@dataclass(frozen=True)
class Comparison:
    """A task with the settings of one run of this benchmark."""

    task: Task
    ours: Path
    work: Path
    results: Path
    threads: int
    max_steps: int
    resume: bool

    def compare(self, seeds: list[int], *, convert: Callable[[Path], dict[str, Path]]) -> None:
        """Train all sides for each seed. What is finished is written after each training.

        seeds (list[int]): The seeds; the side that goes first alternates.
        convert (Callable): Writes the corpus to a folder, and returns the files of its parts.
        """
        check_file(self.ours, expected="our training config; name another one with --ours")
        command = self.task.command + (f" --max-steps {self.max_steps}" if self.max_steps else "")
        data: dict[str, Any] = {"run": describe_run(threads=self.threads, command=command)}
        data |= {"task": self.task.name, "seeds": seeds, "max_steps": self.max_steps}
        data |= {"measures": self.task.measures, "dev_weights": self.task.dev_weights}
        data |= {"sides": self.task.sides}
        data |= {"runs": [], "failed": []}
        console.print(f"Work folder: {self.work}")
        corpus = convert(self.work / "corpus")
        name = self.task.name + ("-trial" if self.max_steps else "")
        for i, seed in enumerate(seeds):
            for side in list(self.task.sides)[:: 1 if i % 2 == 0 else -1]:
                result = self._train(side, seed, corpus)
                data["runs" if result else "failed"].append(
                    {"side": side, "seed": seed, **(result or {})}
                )
                write_results(self.results, name, data=data, markdown=report(data))
        console.print(f"Wrote {name}.json and {name}.md to {self.results}")
        print(report(data))
        if data["failed"]:
            raise typer.Exit(1)

    def _train(self, side: str, seed: int, corpus: dict[str, Path]) -> dict[str, Any] | None:
        """Train in a process of its own. RETURNS (dict | None): None if that failed."""
        out = self.work / f"{side}-seed{seed}"
        out.mkdir(parents=True, exist_ok=True)
        config = self._config(side, seed, corpus)
        fingerprint = self._fingerprint(side, config, corpus)
        result_file, print_file = out / "run.json", out / "fingerprint.txt"
        same = print_file.is_file() and print_file.read_text() == fingerprint
        if self.resume and same and result_file.is_file():
            console.print(f"{side}, seed {seed}: kept from before")
            return {**json.loads(result_file.read_text(encoding="utf8")), "resumed": True}
        result_file.unlink(missing_ok=True)
        config.to_disk(out / "config.cfg")
        command = [sys.executable, str(TRAIN_ONE), str(out / "config.cfg"), str(corpus["test"])]
        command += [str(out), "--threads", str(self.threads)]
        code = _run_logged(
            command, title=f"{side}, seed {seed}", log=out / "train.log", threads=self.threads
        )
        if code or not result_file.is_file():
            console.print(f"[red]{side}, seed {seed}: failed, see {out / 'train.log'}[/red]")
            return None
        print_file.write_text(fingerprint)
        return json.loads(result_file.read_text(encoding="utf8"))

    def _config(self, side: str, seed: int, corpus: dict[str, Path]) -> Config:
        """The recommended config of a side, with our paths and seed."""
        task = self.task
        if side in task.spacy:
            _, make_config = task.spacy[side]
            config = make_config(task.lang, task.pipes)
        else:
            partial = load_config(self.ours, interpolate=False)
            # As `spacy init fill-config`: training does not take a config with defaults left out
            config = load_model_from_config(partial, auto_fill=True).config
        config["nlp"]["lang"] = task.lang
        config.setdefault("paths", {}).update({s: str(corpus[s]) for s in ("train", "dev")})
        config["training"]["seed"] = seed
        for part in ("train", "dev"):
            config["corpora"][part]["gold_preproc"] = task.gold_tokens
        if self.max_steps:
            frequency = config["training"].get("eval_frequency", 200)
            config["training"]["max_steps"] = self.max_steps
            config["training"]["eval_frequency"] = max(1, min(frequency, self.max_steps // 3))
        if config.interpolate().get("initialize", {}).get("vectors"):
            raise typer.BadParameter(f"{side}: [initialize] vectors must be null in a comparison")
        return config

    def _fingerprint(self, side: str, config: Config, corpus: dict[str, Path]) -> str:
        """A digest of what the result of a training depends on."""
        files = sorted((ROOT / "spacy_birnn").rglob("*.py")) if side == "ours" else []
        digest = hashlib.sha256(config.to_str().encode())
        digest.update(str(describe_run(threads=self.threads, command="")["versions"]).encode())
        for path in [TRAIN_ONE, *corpus.values(), *files]:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _run_logged(command: list[str], *, title: str, log: Path, threads: int) -> int:
    """Run a command with its output in a file and the last line of it on the screen."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    env = {**os.environ, **thread_env(threads)}
    with log.open("w", encoding="utf8") as out, Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=None)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        for line in process.stdout or ():
            out.write(line)
            progress.update(bar, description=f"{title}: {line.strip()[:60]}")
        return process.wait()
