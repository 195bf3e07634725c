"""The README and the documentation: code runs, generated pages are current, links lead on."""

import contextlib
import csv
import io
import json
import re
import runpy
import shlex
import subprocess
import warnings
from pathlib import Path

import pytest
import spacy
import srsly
from make_corpus import SAMPLE_DIR, make_corpus, to_doc
from spacy.cli import app as spacy_app
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import Config
from typer.testing import CliRunner

from spacy_birnn.cli import app as birnn_app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?m)^( *)```(\w*)\n((?:.*\n)*?)\1```$")
# What a block may be marked with that can't be run here, and on how many blocks each may stand
NOT_RUN = {
    "installs packages": 4,
    "needs the network": 1,
    "needs docker": 1,
    "runs until it is stopped": 2,
    "takes hours": 1,
    "needs a path of yours": 1,
    "takes hours and needs the corpora": 9,
}
# Trainings end after a few steps of a small model
SHORT = {
    "train": ["--training.max_steps", "2", "--training.eval_frequency", "2"],
    "learning-curve": ["--training.max_steps", "2", "--shares", "0.5,1", "--seeds", "1"],
    "pretrain": ["--pretraining.max_epochs", "1", "--pretraining.n_save_every", "null"],
}


SMALL_TOK2VEC = {
    "@architectures": "spacy-birnn.BiRNNTok2Vec.v1",
    "width": 16,
    "embed_width": 16,
    "embed_rows": 500,
    "char_width": 8,
}
# The components of the pipeline that the pages take as given
SMALL = {
    "tagger": {"tok2vec": SMALL_TOK2VEC},
    "morphologizer": {"tok2vec": SMALL_TOK2VEC},
    "ner": {"tok2vec": SMALL_TOK2VEC},
    "lemmatizer": {"width": 16},
    "textcat": {"tok2vec": SMALL_TOK2VEC, "ngram_rows": 100},
}


def blocks_of(page):
    """The language, the code and the mark ("" or a comment) of each block."""
    text = page.read_text(encoding="utf8")
    for found in BLOCK.finditer(text):
        before = text[: found.start()].rstrip("\n").rpartition("\n")[2].strip()
        mark = re.fullmatch(r"<!-- (.+) -->", before)
        code = re.sub(rf"(?m)^{found[1]}", "", found[3])
        yield found[2], code, mark[1] if mark else ""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the pages take as given: texts in the formats that they name, a small corpus of them,
    and a pipeline that is trained on it a little."""
    folder = tmp_path_factory.mktemp("given")
    files = (srsly.read_yaml(SAMPLE_DIR / f"{name}.yml") for name in ("grammar", "lexicon"))
    texts = make_corpus(*files, sizes={"train": 60, "dev": 16, "test": 16}, seed=0)
    nlp = spacy.blank("en")
    docs = {part: [to_doc(text, nlp.vocab) for text in found] for part, found in texts.items()}
    (folder / "corpus").mkdir()
    for part, found in docs.items():
        DocBin(docs=found).to_disk(folder / "corpus" / f"{part}.spacy")
    every = [doc for found in docs.values() for doc in found]
    spans = [
        [{"start": ent.start_char, "end": ent.end_char, "label": ent.label_} for ent in doc.ents]
        for doc in every
    ]
    srsly.write_jsonl(
        folder / "annotated.jsonl", [{"text": d.text, "spans": s} for d, s in zip(every, spans)]
    )
    srsly.write_jsonl(folder / "texts.jsonl", [{"text": doc.text} for doc in every])
    (folder / "texts.txt").write_text("\n".join(doc.text for doc in every), encoding="utf8")
    with (folder / "reviews.csv").open("w", encoding="utf8", newline="") as file:
        rows = [(doc.text, max(doc.cats, key=doc.cats.get)) for doc in every]
        csv.writer(file).writerows([("text", "label"), *rows])
    for part in ("train", "dev"):
        rows = ["\n".join(map(_conllu, doc)) for doc in docs[part]]
        (folder / f"treebank-{part}.conllu").write_text("\n\n".join(rows) + "\n\n", encoding="utf8")
    columns = ["\n".join(f"{t.text} {_bioes(t)}" for t in doc) for doc in every]
    (folder / "columns.txt").write_text("\n\n".join(columns) + "\n", encoding="utf8")
    words = sorted({token.lower_ for doc in every for token in doc})
    rows = [f"{word} {i % 7} {i % 5} {i % 3}" for i, word in enumerate(words)]
    (folder / "vectors.txt").write_text("\n".join([f"{len(words)} 3", *rows]), encoding="utf8")
    (folder / "project").symlink_to(ROOT / "project")
    for name, settings in SMALL.items():
        nlp.add_pipe(f"birnn_{name}", name=name, config={"model": settings})
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs["train"]]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(6):
        nlp.update(examples, sgd=optimizer)
    (folder / "training").mkdir()
    nlp.to_disk(folder / "training" / "model-best")
    return folder


def _conllu(token):
    columns = [
        token.i + 1,
        token.text,
        token.lemma_,
        token.pos_,
        token.tag_,
        str(token.morph) or "_",
    ]
    spaced = "_" if token.whitespace_ else "SpaceAfter=No"
    return "\t".join(map(str, [*columns, "_", "_", "_", spaced]))


def _bioes(token):
    if not token.ent_type_:
        return "O"
    begins, doc = token.ent_iob_ == "B", token.doc
    ends = token.i + 1 == len(doc) or doc[token.i + 1].ent_iob_ != "I"
    return (
        f"{'S' if begins and ends else 'B' if begins else 'E' if ends else 'I'}-{token.ent_type_}"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, given, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, as a reader would run them in a clone."""
    for path in given.iterdir():
        # A page may write beside what is given, but not into it
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "training"):
        (tmp_path / name).unlink()
    names, printed = {"__name__": "__main__"}, io.StringIO()
    code = [block for block in blocks_of(page) if block[0] not in ("text", "math")]
    written = "\n".join(text for language, text, _ in code if language == "bash")
    for name, output in (("corpus", "convert annotated.jsonl"), ("training", "--output training")):
        if output not in written:
            (tmp_path / name).symlink_to(given / name)
    for language, text, mark in code:
        if mark:
            continue
        with warnings.catch_warnings():
            # What it says of so little data
            warnings.simplefilter("ignore")
            if language == "python":
                with contextlib.redirect_stdout(printed):
                    exec(compile(text, str(page), "exec"), names)
            elif language == "bash":
                for line in text.replace("\\\n", " ").splitlines():
                    run(shlex.split(line))
            elif language == "ini":
                # The sections around a block
                around = [
                    f"[{name}]" for name in ("components", "training") if f"[{name}]" not in text
                ]
                Config().from_str("\n".join([*around, text]), interpolate=False)
            else:
                assert language == "json", f"a block of {page.name} has no language that is known"
                json.loads(text)
    if page == README:
        # The entities that it was trained on
        for entity, label in (("Ada Lund", "PERSON"), ("Velotek", "ORG")):
            assert f"('{entity}', '{label}', 0." in printed.getvalue()


def run(command):
    """A command line; those of Python's spaCy in this process, which saves its start."""
    if command[:3] == ["python", "-m", "spacy"]:
        is_ours = command[3] == "birnn"
        app, arguments = (birnn_app, command[4:]) if is_ours else (spacy_app, command[3:])
        result = CliRunner().invoke(app, arguments + SHORT.get(arguments[0], []))
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
    else:
        assert command[0] in ("cp", "mkdir"), f"mark {command} as not run, or run it by Python"
        subprocess.run(command, check=True)


def test_few_blocks_are_not_run():
    marks = [mark for page in PAGES for _, _, mark in blocks_of(page) if mark]
    commands = {mark for mark in marks if mark.startswith("command: ")}
    # .ci/run and the release run these
    assert commands == {"command: all", "command: tests"}
    counts = {reason: marks.count(f"not run: {reason}") for reason in NOT_RUN}
    assert sum(counts.values()) + len(commands) == len(marks)
    assert counts == NOT_RUN


def test_the_reference_is_that_of_the_code():
    """Otherwise run `python docs/make_reference.py`."""
    pages = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["PAGES"]
    for name, make in pages.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf8") == make(), name


def test_the_readme_is_a_front_page():
    assert len(README.read_text(encoding="utf8").splitlines()) <= 150


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"(?m)^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf8"))
    assert {page.name for page in PAGES if page != README} <= {*listed}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """To files of the repository, and to headings."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf8"))
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target


def test_figures_take_nothing_from_elsewhere():
    for path in (ROOT / "docs" / "images").glob("*.svg"):
        svg = path.read_text(encoding="utf8")
        assert "prefers-color-scheme: dark" in svg
        assert not re.search(r'(href|src)="(?!#)', svg)
