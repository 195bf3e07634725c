"""Install a packaged pipeline from a folder of wheels into an environment of its own and run it.

The environment sees the libraries of the current one (so that nothing has to be fetched), but the
pipeline and spacy-birnn only from their wheels, as someone has them who was given the folder."""

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
import {package}
import spacy_birnn
doc = {package}.load()(sys.argv[1])
print(json.dumps({{
    "tokens": [[t.text, t.tag_, t.pos_, str(t.morph), t.lemma_] for t in doc],
    "ents": [[e.text, e.label_, round(e._.confidence, 3)] for e in doc.ents],
    "cats": {{label: round(p, 3) for label, p in doc.cats.items()}},
    "installed": [{package}.__file__, spacy_birnn.__file__],
}}))
"""


def try_package(wheels: Path, package: str, version: str, text: str) -> dict:
    """Install a pipeline from a folder of wheels and run it on a text.

    wheels (Path): Folder with the wheel that `spacy package` made, and that of spacy-birnn.
    package (str): Name of the pipeline's package, such as "en_birnn_sample".
    version (str): Its version.
    text (str): The text.
    RETURNS (dict): "tokens", each with tag, part of speech, morphology and lemma, "ents", each
        with label and confidence, and "cats", each with its probability.
    RAISES (RuntimeError): If the pipeline or spacy-birnn is imported from elsewhere.
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
        run = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(run.stdout.splitlines()[-1])
        for path in found.pop("installed"):
            if not Path(path).resolve().is_relative_to(site.resolve()):
                raise RuntimeError(f"{path} was imported; expected it in {site}")
    return found


def main(wheels: Path, package: str, version: str, texts: Path, output: Path) -> None:
    """Install PACKAGE at VERSION from WHEELS, run it on the first line of TEXTS, write what it
    finds to OUTPUT."""
    text = texts.read_text(encoding="utf8").splitlines()[0]
    found = try_package(wheels, package, version, text)
    if not any(tag for _, tag, *_ in found["tokens"]):
        msg.fail(f"{package} runs, but tags nothing in {text!r}", exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"text": text, **found}, indent=2), encoding="utf8")
    msg.good(f"{package} {version} runs in an environment of its own")
    msg.table(found["tokens"], header=("Token", "Tag", "POS", "Morph", "Lemma"))
    msg.table(found["ents"], header=("Entity", "Label", "Confidence"))
    msg.table(found["cats"].items(), header=("Category", "Probability"))


if __name__ == "__main__":
    typer.run(main)
