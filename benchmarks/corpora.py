"""The corpora: from the files that are published to spaCy's binary format, and to raw texts."""

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import spacy
import typer
from common import ROOT, check_dir, check_file
from spacy.tokens import DocBin

SPLITS = ("train", "dev", "test")
SCRIPTS = ROOT / "project" / "scripts"


@dataclass(frozen=True)
class Corpus:
    """A corpus that a script of the project converts.

    script (str): The script.
    parts (dict[str, tuple[str, ...]]): What train, dev and test are made of: files by their
        published names, or parts of them as the script takes them, FILE@START:STOP.
    options (tuple[str, ...]): Options of the script.
    """

    script: str
    parts: dict[str, tuple[str, ...]]
    options: tuple[str, ...] = ()


WNUT17 = Corpus(
    "convert_iob.py",
    {
        "train": ("wnut17train.conll",),
        "dev": ("emerging.dev.conll",),
        "test": ("emerging.test.annotated",),
    },
)
# The split of its authors; h has 2,000 sentences
BTC = Corpus(
    "convert_iob.py",
    {
        "train": ("a.conll", "b.conll", "e.conll", "g.conll", "h.conll@:1000"),
        "dev": ("h.conll@1000:",),
        "test": ("f.conll",),
    },
    ("--drop-blank",),
)
BC5CDR = Corpus(
    "convert_iob.py", {"train": ("train.tsv",), "dev": ("devel.tsv",), "test": ("test.tsv",)}
)
SST2 = Corpus(
    "convert_textcat.py",
    {split: (f"stsa.binary.{split}",) for split in SPLITS},
    ("--label", "0=NEGATIVE", "--label", "1=POSITIVE"),
)
TREC_CLASSES = ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM")
TREC = Corpus(
    "convert_textcat.py",
    {
        "train": ("TREC.train.all@:-500",),
        "dev": ("TREC.train.all@-500:",),
        "test": ("TREC.test.all",),
    },
    (
        *("--encoding", "latin-1"),
        *(arg for i, label in enumerate(TREC_CLASSES) for arg in ("--label", f"{i}={label}")),
    ),
)


def task_folder(data: Path, task: str) -> Path:
    """The folder with the files of a task: the one of its name in the given one, if it is there, or
    the given one."""
    return data / task if (data / task).is_dir() else data


def convert(corpus: Corpus | str, data: Path, out: Path, *, train_size: int) -> dict[str, Path]:
    """Convert a corpus.

    corpus (Corpus | str): The corpus, or what the names of a treebank's files begin with.
    data (Path): Folder with its files.
    out (Path): Folder to write to.
    train_size (int): Train on so many sentences, always the same; 0: on all.
    RETURNS (dict[str, Path]): The .spacy file of each of train, dev and test.
    """
    to_spacy = convert_ud if isinstance(corpus, str) else convert_corpus
    parts = to_spacy(corpus, data, out)
    return {**parts, "train": draw(parts["train"], train_size)} if train_size else parts


def convert_corpus(corpus: Corpus, data: Path, out: Path) -> dict[str, Path]:
    """Convert a corpus with the project's own script.

    corpus (Corpus): The corpus.
    data (Path): Folder with its files.
    out (Path): Folder to write to.
    RETURNS (dict[str, Path]): The .spacy file of each of train, dev and test.
    """
    check_dir(data, expected="the folder with the files of the corpus")
    converted = {}
    for split, sources in corpus.parts.items():
        for source in sources:
            check_file(data / source.partition("@")[0], expected=f"a file of the {split} part")
        converted[split] = out / f"{split}.spacy"
        paths = [str(data / source) for source in sources]
        script = str(SCRIPTS / corpus.script)
        _run([sys.executable, script, *paths, str(converted[split]), *corpus.options])
    return converted


def convert_ud(treebank: str, data: Path, out: Path) -> dict[str, Path]:
    """Convert a Universal Dependencies treebank with `spacy convert`, one sentence a document.

    treebank (str): What the names of the files begin with, such as "en_partut".
    data (Path): Folder with the treebank's CoNLL-U files.
    out (Path): Folder to write to.
    RETURNS (dict[str, Path]): The .spacy file of each of train, dev and test.
    """
    check_dir(data, expected=f"the folder with {treebank}-ud-train.conllu, -dev and -test")
    out.mkdir(parents=True, exist_ok=True)
    converted = {}
    for split in SPLITS:
        name = f"{treebank}-ud-{split}"
        source = check_file(data / f"{name}.conllu", expected=f"the {split} part of {treebank}")
        command = [sys.executable, "-m", "spacy", "convert", str(source), str(out)]
        _run([*command, "--converter", "conllu"])
        converted[split] = out / f"{name}.spacy"
    return converted


def draw(path: Path, n: int) -> Path:
    """Draw documents of a corpus, always the same ones, and keep their order.

    path (Path): The .spacy file.
    n (int): How many.
    RETURNS (Path): A new file beside it.
    RAISES (typer.BadParameter): If the corpus has fewer.
    """
    docs = list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))
    if n > len(docs):
        raise typer.BadParameter(f"--train-size {n}; expected at most {len(docs)}")
    chosen = sorted(random.Random(0).sample(range(len(docs)), n))
    drawn = path.with_name(f"{path.stem}-{n}.spacy")
    DocBin(docs=[docs[i] for i in chosen]).to_disk(drawn)
    return drawn


def convert_vectors(source: Path, out: Path, *, lang: str) -> Path:
    """Convert a file of word vectors with `spacy init vectors`, unless that has been done.

    source (Path): The vectors, in the text format of word2vec; may be compressed with gzip.
    out (Path): Folder for the vectors of this and other files.
    lang (str): Language code.
    RETURNS (Path): The folder of a pipeline that [initialize] vectors takes.
    """
    check_file(source, expected="word vectors in the text format of word2vec")
    name = source.name.partition(".txt")[0]
    folder, done = out / f"{lang}-{name}", out / f"{lang}-{name}.done"
    size = str(source.stat().st_size)
    if not (done.is_file() and done.read_text() == size):
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "spacy", "init", "vectors", lang, str(source)]
        _run([*command, str(folder), "--name", name])
        done.write_text(size)
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def raw_texts(data: Path) -> list[str]:
    """The texts of a corpus, one a sentence: of CoNLL-U files what `# text =` says, of WNUT-17,
    BC5CDR and SST-2 the tokens with spaces between them. First test, then dev, then train.

    RAISES (typer.BadParameter): If the folder has the files of none of them.
    """
    check_dir(
        data, expected="a folder with CoNLL-U files, or the files of one of the other corpora"
    )
    texts: list[str] = []
    for split in reversed(SPLITS):
        for path in sorted(data.glob(f"*-{split}.conllu")):
            texts.extend(_conllu_texts(path))
        for corpus in (WNUT17, BC5CDR):
            if (path := data / corpus.parts[split][0]).is_file():
                texts.extend(_iob_texts(path))
        if (path := data / SST2.parts[split][0]).is_file():
            lines = path.read_text(encoding="utf8").splitlines()
            texts.extend(line.partition(" ")[2] for line in lines)
    if not texts:
        corpora = (WNUT17, BC5CDR, SST2)
        names = ", ".join(name for corpus in corpora for (name,) in corpus.parts.values())
        raise typer.BadParameter(f"no corpus in '{data}'; expected *-test.conllu, or {names}")
    return texts


def _conllu_texts(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf8").splitlines():
        if line.startswith("# text ="):
            yield line.partition("=")[2].strip()


def _iob_texts(path: Path) -> Iterator[str]:
    for sentence in re.split(r"\n\s*\n", path.read_text(encoding="utf8")):
        words = [line.split("\t")[0].strip() for line in sentence.splitlines()]
        if any(words):
            yield " ".join(word for word in words if word)
