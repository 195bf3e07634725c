"""Install a packaged pipeline from a folder of wheels into an environment of its own without torch,
and run it there; then once more with torch, to say what that costs.

The environment sees the libraries of the current one (so that nothing has to be fetched), but the
pipeline and spacy-birnn only from their wheels, as someone has them who was given the folder. torch
is among those libraries, as the pipeline was trained with it: a line in a .pth file makes every
import of it fail, as where it is not installed."""

import json
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from importlib.metadata import Distribution
from pathlib import Path
from statistics import median
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

import typer
from packaging.requirements import Requirement
from wasabi import msg

# Times that it is run with torch and without, in turns
RUNS = 3

# The memory is known where the system is Linux
RUN = """
import json, os, sys
import {package}
import spacy_birnn
doc = {package}.load()(sys.argv[1])
print(json.dumps({{
    "tokens": [[t.text, t.tag_, t.pos_, str(t.morph), t.lemma_] for t in doc],
    "ents": [[e.text, e.label_, round(e._.confidence, 3)] for e in doc.ents],
    "cats": {{label: round(p, 3) for label, p in doc.cats.items()}},
}}))
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
print(json.dumps({{
    "installed": [{package}.__file__, spacy_birnn.__file__],
    "has_torch": sys.modules.get("torch") is not None,
    "memory": 1024 * int(status.partition("VmRSS:")[2].split()[0]) if status else None,
}}))
"""


class Cost(NamedTuple):
    """What a pipeline takes in an environment.

    size (int): Bytes of the installed files, with their bytecode, of it and all that it requires.
    seconds (float): From the start of Python to the answer to the first text.
    memory (Optional[int]): Bytes that are resident after it, where that is known.
    """

    size: int
    seconds: float
    memory: Optional[int]


def try_package(
    wheels: Path, package: str, version: str, text: str
) -> Tuple[Dict[str, Any], Dict[str, Cost]]:
    """Install a pipeline from a folder of wheels and run it on a text.

    wheels (Path): Folder with the wheel that `spacy package` made, and that of spacy-birnn.
    package (str): Name of the pipeline's package, such as "en_birnn_sample".
    version (str): Its version.
    text (str): The text.
    RETURNS (Tuple[Dict[str, Any], Dict[str, Cost]]): What it finds: "tokens", each with tag, part
        of speech, morphology and lemma, "ents", each with label and confidence, and "cats", each
        with its probability. What it takes "without torch" and "with torch".
    RAISES (RuntimeError): If the pipeline or spacy-birnn is imported from elsewhere, torch is
        imported where it is hidden, or what is found depends on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        places = {"base": folder, "platbase": folder}
        site = Path(sysconfig.get_path("purelib", "venv", vars=places))
        scripts = Path(sysconfig.get_path("scripts", "venv", vars=places))
        python = scripts / Path(sys.executable).name
        libraries = sysconfig.get_path("purelib")
        pth = f"import site; site.addsitedir({libraries!r})"
        (site / "libraries.pth").write_text(pth, encoding="utf8")
        # The libraries are those of the current environment, which may have a spacy-birnn too
        pip = [python, "-I", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        pip += ["--force-reinstall", "--find-links", wheels.resolve()]
        subprocess.run([*pip, "spacy-birnn", f"{package}=={version}"], check=True)
        # -I: nothing from the current folder or PYTHONPATH
        command = [python, "-I", "-c", RUN.format(package=package), text]
        hiding = site / "no_torch.pth"
        answers, runs = [], {"without torch": [], "with torch": []}
        for name in list(runs) * RUNS:
            hiding.unlink(missing_ok=True)
            if name == "without torch":
                hiding.write_text("import sys; sys.modules['torch'] = None", encoding="utf8")
            answer, seconds, state = _run(command, folder)
            for path in state["installed"]:
                if not Path(path).resolve().is_relative_to(site.resolve()):
                    raise RuntimeError(f"{path} was imported; expected it in {site}")
            if state["has_torch"] and name == "without torch":
                raise RuntimeError("torch was imported, although it is hidden")
            answers.append(answer)
            runs[name].append((seconds, state["memory"]))
        if any(answer != answers[0] for answer in answers):
            raise RuntimeError(f"With torch and without it finds different things: {answers}")
        sizes = [
            size_of(requirements_of(package, extras, [str(site), libraries]))
            for extras in ({}, {"spacy-birnn": ["train"]})
        ]
    costs = {
        name: Cost(size, median(seconds for seconds, _ in found), found[-1][1])
        for (name, found), size in zip(runs.items(), sizes)
    }
    return answers[0], costs


def _run(command: List[Any], folder: str) -> Tuple[Dict[str, Any], float, Dict[str, Any]]:
    """What is found, the seconds until then, and the state of the process."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = ((line, time.perf_counter() - start) for line in process.stdout)
        found = [(json.loads(line), at) for line, at in lines if line.startswith("{")]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    (answer, seconds), (state, _) = found
    return answer, seconds, state


def requirements_of(
    name: str, extras: Dict[str, Iterable[str]], path: List[str]
) -> Dict[str, Distribution]:
    """An installed package and all that it requires, directly or not, by name. What is not there is
    left out.

    extras (Dict[str, Iterable[str]]): The extras that are asked for, by the name of the package.
    path (List[str]): The folders with installed packages.
    """
    found: Dict[str, Distribution] = {}
    wanted = [Requirement(name)]
    seen = set()
    while wanted:
        required = wanted.pop()
        key = (required.name.lower().replace("_", "-"), frozenset(required.extras))
        distribution = next(iter(Distribution.discover(name=required.name, path=path)), None)
        if key in seen or distribution is None:
            continue
        seen.add(key)
        found[key[0]] = distribution
        environments = [{"extra": extra} for extra in ["", *key[1], *extras.get(key[0], ())]]
        wanted += [
            needed
            for needed in map(Requirement, distribution.requires or ())
            if needed.marker is None or any(map(needed.marker.evaluate, environments))
        ]
    return found


def size_of(distributions: Dict[str, Distribution]) -> int:
    """The bytes of the installed files of some packages."""
    paths = {Path(f.locate()) for found in distributions.values() for f in found.files or ()}
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(wheels: Path, package: str, version: str, texts: Path, output: Path) -> None:
    """Install PACKAGE at VERSION from WHEELS, run it on the first line of TEXTS, write what it
    finds to OUTPUT."""
    text = texts.read_text(encoding="utf8").splitlines()[0]
    found, costs = try_package(wheels, package, version, text)
    if not any(tag for _, tag, *_ in found["tokens"]):
        msg.fail(f"{package} runs, but tags nothing in {text!r}", exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    report = {"text": text, **found, "costs": {name: c._asdict() for name, c in costs.items()}}
    output.write_text(json.dumps(report, indent=2), encoding="utf8")
    msg.good(f"{package} {version} runs in an environment of its own, without torch")
    msg.table(found["tokens"], header=("Token", "Tag", "POS", "Morph", "Lemma"))
    msg.table(found["ents"], header=("Entity", "Label", "Confidence"))
    msg.table(found["cats"].items(), header=("Category", "Probability"))
    rows = [
        (name, _megabytes(cost.size), f"{cost.seconds:.1f} s", _megabytes(cost.memory))
        for name, cost in costs.items()
    ]
    header = ("Environment", "Installed files", "Start to first answer", "Resident memory")
    msg.table(rows, header=header, aligns=("l", "r", "r", "r"))


def _megabytes(size: Optional[int]) -> str:
    return "?" if size is None else f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    typer.run(main)
