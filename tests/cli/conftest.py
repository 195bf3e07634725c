"""A trained pipeline on disk, and a way to call commands."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner, Result

import spacy_birnn.cli
from spacy_birnn.cli import _app

TRAINED_PIPES = ("birnn_ner", "birnn_tagger", "birnn_morphologizer", "birnn_textcat")


@pytest.fixture(scope="session")
def trained(tiny_tok2vec, make_examples, fit) -> Language:
    """A pipeline that knows the sentences of `make_examples`. Do not change it."""
    nlp = spacy.blank("xx")
    for name in TRAINED_PIPES:
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    fit(nlp, make_examples(nlp), steps=60)
    return nlp


@pytest.fixture(scope="session")
def trained_path(trained, tmp_path_factory) -> str:
    """Where that pipeline is saved."""
    path = tmp_path_factory.mktemp("trained") / "model"
    trained.to_disk(path)
    return str(path)


@pytest.fixture
def config_path(nlp, make_examples, tiny_tok2vec, tmp_path) -> str:
    """A config that trains a tagger for ten steps, and evaluates every second."""
    DocBin(docs=[eg.y for eg in make_examples(nlp)] * 4).to_disk(tmp_path / "corpus.spacy")
    reader = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "corpus.spacy")}
    config = {
        "nlp": {"lang": "xx", "pipeline": ["birnn_tagger"]},
        "components": {
            "birnn_tagger": {"factory": "birnn_tagger", "model": {"tok2vec": tiny_tok2vec}}
        },
        "corpora": {"train": reader, "dev": reader},
        "training": {
            "max_steps": 10,
            "eval_frequency": 2,
            "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.01},
        },
    }
    Config(config).to_disk(tmp_path / "config.cfg")
    return str(tmp_path / "config.cfg")


@pytest.fixture
def invoke():
    """Call a command with arguments of any type."""
    assert spacy_birnn.cli.app is _app.app

    def call(*args) -> Result:
        return CliRunner().invoke(_app.app, [str(arg) for arg in args])

    return call
