"""Install a packaged pipeline into an environment of its own and run it there.

The environment sees the libraries of the current one (so that nothing has to be fetched), but the
pipeline itself only from its wheel."""

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import typer
from wasabi import msg

RUN = """
import json, sys
import {name}
doc = {name}.load()(sys.argv[1])
print(json.dumps({{
    "tokens": [[t.text, t.tag_, t.pos_, str(t.morph), t.lemma_] for t in doc],
    "ents": [[e.text, e.label_, round(e._.confidence, 3)] for e in doc.ents],
    "cats": {{label: round(p, 3) for label, p in doc.cats.items()}},
}}))
"""


def try_package(wheel: Path, text: str) -> dict:
    """Install a wheel and run the pipeline in it on a text.

    wheel (Path): A wheel made by `spacy package`.
    text (str): The text.
    RETURNS (dict): "tokens", each with tag, part of speech, morphology and lemma, "ents", each
        with label and confidence, and "cats", each with its probability.
    """
    name = wheel.name.split("-")[0]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        places = {"base": folder, "platbase": folder}
        site = Path(sysconfig.get_path("purelib", "venv", vars=places))
        scripts = Path(sysconfig.get_path("scripts", "venv", vars=places))
        python = scripts / Path(sys.executable).name
        libraries = sysconfig.get_path("purelib")
        pth = f"import site; site.addsitedir({libraries!r})"
        (site / "libraries.pth").write_text(pth, encoding="utf8")
        install = ["pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel.resolve())]
        subprocess.run([python, "-m", *install], check=True)
        code = RUN.format(name=name)
        command = [python, "-c", code, text]
        run = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def main(wheel: Path, texts: Path, output: Path) -> None:
    """Install WHEEL, run it on the first line of TEXTS, write what it finds to OUTPUT."""
    text = texts.read_text(encoding="utf8").splitlines()[0]
    found = try_package(wheel, text)
    if not any(tag for _, tag, *_ in found["tokens"]):
        msg.fail(f"{wheel.name} runs, but tags nothing in {text!r}", exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"text": text, **found}, indent=2), encoding="utf8")
    msg.good(f"{wheel.name} runs in an environment of its own")
    msg.table(found["tokens"], header=("Token", "Tag", "POS", "Morph", "Lemma"))
    msg.table(found["ents"], header=("Entity", "Label", "Confidence"))
    msg.table(found["cats"].items(), header=("Category", "Probability"))


if __name__ == "__main__":
    typer.run(main)
