"""Where spaCy goes by the names of factories: what the sample config and the documentation do
about it."""

import io
import re
import textwrap
from pathlib import Path

import pytest
import spacy
import srsly
from make_corpus import main as make_corpus
from spacy.cli._util import app
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent.parent
NAMES = ["tagger", "morphologizer", "ner", "lemmatizer", "textcat"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What training by the sample config prints, and the pipeline that it saves."""
    folder = tmp_path_factory.mktemp("sample")
    make_corpus(folder, train=20, dev=5, test=5)
    settings = {
        "paths.train": str(folder / "train.spacy"),
        "paths.dev": str(folder / "dev.spacy"),
        "training.max_steps": 2,
        "training.eval_frequency": 2,
        "components.tok2vec.model.width": 16,
    }
    nlp = init_nlp(load_config(ROOT / "project/configs/sample.cfg", overrides=settings))
    printed = io.StringIO()
    train(nlp, folder, stdout=printed, stderr=io.StringIO())
    return printed.getvalue(), spacy.load(folder / "model-best")


@pytest.fixture
def section():
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf8")
    return page.split("## Where spaCy goes by the names of factories\n")[1].split("\n## ")[0]


def test_the_training_log_tells_components_apart_that_have_built_in_names(trained):
    log, nlp = trained
    assert nlp.pipe_names == ["tok2vec", *NAMES]
    header = next(line for line in log.splitlines() if "LOSS" in line)
    columns = [column.split()[0] for column in header.split("LOSS ")[1:]]
    assert len(set(columns)) == len(nlp.pipe_names) and "NER" in columns


def test_components_work_under_the_names_of_the_built_in_ones(trained):
    _, nlp = trained
    for name in NAMES:
        assert nlp.get_pipe_meta(name).factory == f"birnn_{name}"
        assert nlp.get_pipe(name).labels
    doc = nlp("Anna Berg sells bread.")
    assert all(token.tag_ and token.pos_ and token.lemma_ for token in doc) and doc.cats
    assert doc.has_annotation("ENT_IOB")


def test_the_documentation_draws_the_entities_that_evaluate_does_not(
    section, tmp_path, monkeypatch
):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Velotek"}])
    (tmp_path / "training").mkdir()
    nlp.to_disk(tmp_path / "training" / "model-best")
    (code,) = re.findall(r"(?s)```python\n(.+?)```", section)
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(code), {})
    page = Path("entities.html").read_text(encoding="utf8")
    assert page.count("<mark") == 1 and "Velotek" in page


def test_pretraining_by_the_options_of_the_documentation(section, tmp_path, monkeypatch):
    options = re.search(r"`(--pretraining\.component .*?)`", section)[1].split()
    texts = [{"text": "Anna Berg sells bread and buys a town."}] * 4
    srsly.write_jsonl(tmp_path / "texts.jsonl", texts)
    monkeypatch.chdir(tmp_path)
    init = ["init", "config", "config.cfg", "--pipeline", "birnn_ner", "--pretraining"]
    few = ["--pretraining.max_epochs", "1", "--components.birnn_ner.model.tok2vec.width", "16"]
    for command in (init, ["pretrain", "config.cfg", "out", "--paths.raw_text", "texts.jsonl"]):
        extra = [*options, *few] if command is not init else []
        result = CliRunner().invoke(app, [*command, *extra])
        assert result.exit_code == 0, (result.output, result.exception)
    assert Path("out/model-last.bin").exists()
