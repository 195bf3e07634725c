"""The corpora: from the files that are published to spaCy's binary format, and to raw texts."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from common import ROOT, check_dir, check_file

SPLITS = ("train", "dev", "test")
WNUT17 = {
    "train": "wnut17train.conll",
    "dev": "emerging.dev.conll",
    "test": "emerging.test.annotated",
}
SST2 = {split: f"stsa.binary.{split}" for split in SPLITS}
SCRIPTS = ROOT / "project" / "scripts"


def convert_wnut17(data: Path, out: Path) -> dict[str, Path]:
    """Convert WNUT-17. See `_convert`."""
    return _convert("WNUT-17", WNUT17, SCRIPTS / "convert_wnut17.py", data, out)


def convert_sst2(data: Path, out: Path) -> dict[str, Path]:
    """Convert SST-2. See `_convert`."""
    return _convert("SST-2", SST2, SCRIPTS / "convert_sst2.py", data, out)


def _convert(
    corpus: str, names: dict[str, str], script: Path, data: Path, out: Path
) -> dict[str, Path]:
    """Convert a corpus with the project's own script.

    corpus (str): Its name.
    names (dict[str, str]): The name of the file of each of train, dev and test.
    script (Path): The script.
    data (Path): Folder with these files.
    out (Path): Folder to write to.
    RETURNS (dict[str, Path]): The .spacy file of each of train, dev and test.
    """
    check_dir(data, expected=f"the folder with {', '.join(names.values())}")
    check_file(script, expected=f"the project's converter for {corpus}")
    converted = {}
    for split, name in names.items():
        source = check_file(data / name, expected=f"the {split} part of {corpus}")
        converted[split] = out / f"{split}.spacy"
        _run([sys.executable, str(script), str(source), str(converted[split])])
    return converted


def convert_ud(
    data: Path, out: Path, *, treebank: str, n_sents: int, merge_subtokens: bool
) -> dict[str, Path]:
    """Convert a Universal Dependencies treebank with `spacy convert`.

    data (Path): Folder with the treebank's CoNLL-U files.
    out (Path): Folder to write to.
    treebank (str): What the names of the files begin with, such as "en_partut".
    n_sents (int): Sentences of each document.
    merge_subtokens (bool): Whether a written word that the treebank splits stays one token.
    RETURNS (dict[str, Path]): The .spacy file of each of train, dev and test.
    """
    check_dir(data, expected=f"the folder with {treebank}-ud-train.conllu, -dev and -test")
    out.mkdir(parents=True, exist_ok=True)
    converted = {}
    for split in SPLITS:
        name = f"{treebank}-ud-{split}"
        source = check_file(data / f"{name}.conllu", expected=f"the {split} part of {treebank}")
        options = ["--converter", "conllu", "--n-sents", str(n_sents)]
        options += ["--merge-subtokens"] if merge_subtokens else []
        _run([sys.executable, "-m", "spacy", "convert", str(source), str(out), *options])
        converted[split] = out / f"{name}.spacy"
    return converted


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def raw_texts(data: Path) -> list[str]:
    """The texts of a corpus, one a sentence: of CoNLL-U files what `# text =` says, of WNUT-17 and
    SST-2 the tokens with spaces between them. First test, then dev, then train.

    RAISES (typer.BadParameter): If the folder has the files of none of them.
    """
    check_dir(data, expected="a folder with CoNLL-U files, or the files of WNUT-17 or SST-2")
    texts: list[str] = []
    for split in reversed(SPLITS):
        treebanks = sorted(data.glob(f"*-{split}.conllu"))
        if treebanks:
            texts.extend(text for path in treebanks for text in _conllu_texts(path))
        elif (data / WNUT17[split]).is_file():
            texts.extend(_wnut17_texts(data / WNUT17[split]))
        elif (data / SST2[split]).is_file():
            lines = (data / SST2[split]).read_text(encoding="utf8").splitlines()
            texts.extend(line.partition(" ")[2] for line in lines)
    if not texts:
        names = ", ".join([*WNUT17.values(), *SST2.values()])
        raise typer.BadParameter(f"no corpus in '{data}'; expected *-test.conllu, or {names}")
    return texts


def _conllu_texts(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf8").splitlines():
        if line.startswith("# text ="):
            yield line.partition("=")[2].strip()


def _wnut17_texts(path: Path) -> Iterator[str]:
    for sentence in re.split(r"\n\s*\n", path.read_text(encoding="utf8")):
        words = [line.split("\t")[0].strip() for line in sentence.splitlines()]
        if any(words):
            yield " ".join(word for word in words if word)
