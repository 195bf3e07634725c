"""What the benchmarks share: threads, a description of the machine, and files of results."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("spacy-birnn", "spacy", "thinc", "torch", "onnxruntime", "numpy")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

console = Console()


def thread_env(threads: int) -> dict[str, str]:
    """The environment variables that numerical libraries read when they are imported."""
    return {name: str(threads) for name in THREAD_VARIABLES}


def pin_threads(threads: int) -> None:
    """Hold this process to a number of threads. It starts over if libraries that read their limit
    when they are imported were started without one."""
    wanted = thread_env(threads)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    import torch

    torch.set_num_threads(threads)


def check_dir(path: Path, *, expected: str) -> Path:
    """RAISES (typer.BadParameter): If there is no such folder, saying what it should hold."""
    if not path.is_dir():
        raise typer.BadParameter(f"no folder '{path}'; expected {expected}")
    return path


def check_file(path: Path, *, expected: str) -> Path:
    """RAISES (typer.BadParameter): If there is no such file, saying what it should be."""
    if not path.is_file():
        raise typer.BadParameter(f"no file '{path}'; expected {expected}")
    return path


def describe_run(*, threads: int, command: str) -> dict[str, Any]:
    """Where and with what a benchmark runs.

    threads (int): Threads it is held to.
    command (str): The command that repeats it, with DIR for local paths.
    """
    return {
        "command": command,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _versions() -> dict[str, str]:
    """The versions of those of PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _commit() -> str:
    """The checkout's commit, with "-dirty" if files were changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_markdown(run: dict[str, Any], **more: Any) -> str:
    """The lines under a table that say where its numbers come from."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    facts = {
        "Command": f"`{run['command']}`",
        "Date": run["date"],
        "Versions": f"{versions} (commit {run['commit']}), Python {run['python']}",
        "Machine": f"{run['cpu']}, {run['cores']} cores, load {run['load_at_start']} at the start",
        "Threads": run["threads"],
        **{name.replace("_", " ").capitalize(): value for name, value in more.items()},
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:" for _ in header[1:]]], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mean_range(values: Sequence[float], *, digits: int = 1, scale: float = 1.0) -> str:
    """The mean and, of more than one value, the lowest and the highest."""
    return _with_range(statistics.mean(values), values, digits=digits, scale=scale)


def median_range(values: Sequence[float], *, digits: int = 1, scale: float = 1.0) -> str:
    """The median and, of more than one value, the lowest and the highest."""
    return _with_range(statistics.median(values), values, digits=digits, scale=scale)


def _with_range(centre: float, values: Sequence[float], *, digits: int, scale: float) -> str:
    low, middle, high = (f"{v * scale:,.{digits}f}" for v in (min(values), centre, max(values)))
    return f"{middle} ({low} to {high})" if len(values) > 1 else middle


def write_json(path: Path, data: Any) -> None:
    """Write a file in one go, so that an interrupted run leaves the one before whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    partial.replace(path)


def write_results(folder: Path, name: str, *, data: Any, markdown: str) -> None:
    """Write NAME.json and NAME.md to a folder."""
    write_json(folder / f"{name}.json", data)
    (folder / f"{name}.md").write_text(markdown + "\n", encoding="utf8")
