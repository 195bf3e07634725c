"""A trained pipeline on disk, and a way to call commands."""

import pytest
import spacy
from spacy.language import Language
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
def invoke():
    """Call a command with arguments of any type."""
    assert spacy_birnn.cli.app is _app.app

    def call(*args) -> Result:
        return CliRunner().invoke(_app.app, [str(arg) for arg in args])

    return call
