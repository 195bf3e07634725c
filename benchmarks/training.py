"""Trainings, each in a process of its own, so that memory, threads and random state are
independent."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from common import ROOT, console, describe_run, thread_env
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from thinc.api import Config

HERE = Path(__file__).resolve().parent
TRAIN_ONE, PLAIN = HERE / "train_one.py", HERE / "plain_bilstm_crf.py"
SOURCES = sorted((ROOT / "spacy_birnn").rglob("*.py"))
SHARED = [HERE / "recorder.py", HERE / "calibration.py"]

# Options of the commands that train
Seeds = Annotated[str, typer.Option(help="Seeds, with commas between them")]
WordVectors = Annotated[
    Path | None, typer.Option(help="Word vectors for all sides, word2vec's text format")
]
Work = Annotated[Path | None, typer.Option(help="Work folder [default: temporary]")]
Results = Annotated[Path, typer.Option(help="Folder for the results")]
Threads = Annotated[int, typer.Option(help="Threads of each training", min=1)]
MaxSteps = Annotated[int, typer.Option(help="Stop early, for a trial; 0: as configured", min=0)]
Resume = Annotated[bool, typer.Option("--resume", help="Keep finished trainings of --work")]


@dataclass(frozen=True)
class Trainer:
    """How the trainings of one run of a benchmark are done.

    work (Path): Folder for what they make.
    corpus (dict[str, Path]): The .spacy files of train and dev, and of test if it is to be read.
    vectors (Path | None): Pretrained vectors, as [initialize] vectors takes them.
    threads (int): Threads of each training.
    max_steps (int): Stop early, for a trial; 0: as configured.
    resume (bool): Whether to keep the finished trainings of the work folder, if nothing that they
        depend on has changed.
    """

    work: Path
    corpus: dict[str, Path]
    vectors: Path | None
    threads: int
    max_steps: int
    resume: bool

    def pipeline(
        self, name: str, config: Config, *, seed: int, gold_tokens: bool
    ) -> dict[str, Any] | None:
        """Train a pipeline.

        name (str): What to call the training.
        config (Config): The whole training config. Paths, vectors and the seed are set here.
        seed (int): The seed.
        gold_tokens (bool): Whether to keep to the tokens of the annotation.
        RETURNS (dict | None): What train_one.py found out. None if it failed.
        """
        config = config.copy()
        config.setdefault("paths", {}).update({s: str(self.corpus[s]) for s in ("train", "dev")})
        config["initialize"]["vectors"] = str(self.vectors) if self.vectors else None
        config["training"]["seed"] = seed
        for part in ("train", "dev"):
            config["corpora"][part]["gold_preproc"] = gold_tokens
        if self.max_steps:
            frequency = config["training"].get("eval_frequency", 200)
            config["training"]["max_steps"] = self.max_steps
            config["training"]["eval_frequency"] = max(1, min(frequency, self.max_steps // 3))
        out = self.work / f"{name}-seed{seed}"
        out.mkdir(parents=True, exist_ok=True)
        config.to_disk(out / "config.cfg")
        arguments = [str(out / "config.cfg"), str(out)]
        arguments += ["--test", str(self.corpus["test"])] if "test" in self.corpus else []
        ours = "birnn_" in config.to_str()
        files = [TRAIN_ONE, out / "config.cfg", *(SOURCES if ours else [])]
        return self._run(out, [str(TRAIN_ONE), *arguments], title=f"{name}, seed {seed}", on=files)

    def plain(self, name: str, *, seed: int) -> dict[str, Any] | None:
        """Train the plain BiLSTM-CRF. See `pipeline`."""
        out = self.work / f"{name}-seed{seed}"
        out.mkdir(parents=True, exist_ok=True)
        arguments = [str(self.corpus[part]) for part in ("train", "dev", "test")]
        arguments += [str(out), "--seed", str(seed), "--max-steps", str(self.max_steps)]
        arguments += ["--vectors", str(self.vectors)] if self.vectors else []
        files = [PLAIN, *SOURCES]
        return self._run(out, [str(PLAIN), *arguments], title=f"{name}, seed {seed}", on=files)

    def _run(
        self, out: Path, arguments: list[str], *, title: str, on: list[Path]
    ) -> dict[str, Any] | None:
        arguments = [*arguments, "--threads", str(self.threads)]
        fingerprint = self._fingerprint(arguments, on)
        result_file, print_file = out / "run.json", out / "fingerprint.txt"
        same = print_file.is_file() and print_file.read_text() == fingerprint
        if self.resume and same and result_file.is_file():
            console.print(f"{title}: kept from before")
            return {**json.loads(result_file.read_text(encoding="utf8")), "resumed": True}
        result_file.unlink(missing_ok=True)
        code = run_logged(
            [sys.executable, *arguments], title=title, log=out / "train.log", threads=self.threads
        )
        if code or not result_file.is_file():
            console.print(f"[red]{title}: failed, see {out / 'train.log'}[/red]")
            return None
        print_file.write_text(fingerprint)
        return json.loads(result_file.read_text(encoding="utf8"))

    def _fingerprint(self, arguments: list[str], files: list[Path]) -> str:
        """A digest of what the result of a training depends on."""
        versions = describe_run(threads=self.threads, command="")["versions"]
        digest = hashlib.sha256(str([arguments, versions]).encode())
        vectors = [self.vectors / "vocab" / "vectors"] if self.vectors else []
        for path in [*files, *SHARED, *self.corpus.values(), *vectors]:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def work_folder(work: Path | None) -> Path:
    """The folder that the command names, or a temporary one."""
    folder = Path(tempfile.mkdtemp(prefix="birnn-benchmark-")) if work is None else work.resolve()
    console.print(f"Work folder: {folder}")
    return folder


def parse_numbers(value: str, *, option: str) -> list[int]:
    """RAISES (typer.BadParameter): Unless the value is numbers with commas between them."""
    try:
        return [int(number) for number in value.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{option} {value!r}; expected numbers such as 0,1,2") from None


def run_logged(command: list[str], *, title: str, log: Path, threads: int) -> int:
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
