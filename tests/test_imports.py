"""Every `spacy.blank()` imports the plug-in, also where it is not used: that must be safe."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from spacy.tokens import DocBin

import spacy_birnn

WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is not to be imported")

sys.meta_path.insert(0, NoTorch())
"""
LOAD = """
from importlib.metadata import distribution
entry_points = distribution("spacy-birnn").entry_points
assert len([ep.load() for ep in entry_points if ep.group.startswith("spacy_")]) > 7
"""
BLANK = """
import spacy
nlp = spacy.blank("en")
assert nlp.has_factory("birnn_ner")
assert len(nlp("It works.")) == 3
"""


def python(code, tmp_path, timeout=120, **environment):
    path = tmp_path / "script.py"
    path.write_text(code)
    return subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.parametrize("code", [LOAD, BLANK], ids=["entry-points", "blank"])
def test_the_entry_points_do_not_import_torch(code, tmp_path):
    result = python(WITHOUT_TORCH + code, tmp_path)
    assert result.returncode == 0, result.stderr


NO_NAMES = """
from spacy.tokens.underscore import Underscore
assert Underscore.get_state() == ({}, {}, {})
"""


def test_the_entry_points_take_no_names_of_the_user(tmp_path):
    """Extensions of Doc, Span and Token are registered when a component is made."""
    result = python(LOAD + BLANK + NO_NAMES, tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_version_is_that_of_the_distribution():
    assert spacy_birnn.__version__ == version("spacy-birnn")


# What is called in an environment without torch. READ says all that a document has
READ = """
import json, sys

def read(doc):
    ents = [[ent.text, ent.label_, round(ent._.confidence, 4)] for ent in doc.ents]
    tokens = [[token.tag_, token.pos_, str(token.morph), token.lemma_] for token in doc]
    return [ents, tokens, {label: round(value, 4) for label, value in sorted(doc.cats.items())}]
"""
PREDICT = """
import pickle, warnings
from copy import deepcopy
from pathlib import Path

import spacy
from spacy.training import Corpus

from spacy_birnn.cli.info import describe
from spacy_birnn.errors import BirnnError
from spacy_birnn.explanation import explain
from spacy_birnn.pipeline.calibration import calibrate
from spacy_birnn.serving import analysis

warnings.simplefilter("error")

def message(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except BirnnError as error:
        return str(error)

if __name__ == "__main__":
    texts = json.loads(Path("texts.json").read_text())
    expected = json.loads(Path("expected.json").read_text())

    def check(nlp, **settings):
        assert [read(doc) for doc in nlp.pipe(texts, **settings)] == expected
        assert [read(nlp(text)) for text in texts] == expected

    nlp = spacy.load("model")
    check(nlp)
    check(nlp, n_process=2, batch_size=2)
    check(deepcopy(nlp))
    check(pickle.loads(pickle.dumps(nlp)))
    nlp.to_disk("again")
    check(spacy.load("again"))
    check(spacy.blank(nlp.lang).from_config(nlp.config).from_bytes(nlp.to_bytes()))

    examples = list(Corpus("examples.spacy")(nlp))
    assert nlp.evaluate(examples)["tag_acc"] == 1
    assert {"birnn_ner", "birnn_tagger"} <= set(explain(nlp, texts[-1])["components"])
    layers = {layer["name"] for layer in describe(nlp)["layers"]}
    assert {"birnn_encoder.layers.0", "lemmatizer.decoder.layers.0"} <= layers
    queries = [analysis.Query(texts[-1], view) for view in ("inspection", "states")]
    inspection, states = analysis.Analyzer(nlp).answer(queries)
    assert inspection["candidates"]
    # The page does not offer them
    assert "BIRNN-E069" in states.message and not analysis.describe(nlp)["encoders"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert set(calibrate(nlp, examples)) >= {"birnn_ner", "birnn_tagger"}

    # What needs torch says so, and changes nothing
    check(spacy.load("again"))
    alone = spacy.load("again", exclude=["birnn_lemmatizer"])
    found = [
        message(alone.update, examples),
        message(alone.initialize, lambda: examples),
        message(alone.get_pipe("birnn_ner").rehearse, examples, sgd=alone.resume_training()),
    ]
    for text in found:
        assert "BIRNN-E069" in text and "spacy-birnn[train]" in text, text
    assert "torch" not in sys.modules
    print("done")
"""


def test_all_but_training_works_without_torch(nlp, tiny_tok2vec, make_examples, fit, tmp_path):
    """With every component, some of which share a tok2vec."""
    nlp.add_pipe("tok2vec", config={"model": tiny_tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": tiny_tok2vec["width"]}
    for name in ("birnn_tagger", "birnn_morphologizer"):
        nlp.add_pipe(name, config={"model": {"tok2vec": listener}})
    for name in ("birnn_ner", "birnn_textcat", "birnn_textcat_multilabel"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    nlp.add_pipe("birnn_lemmatizer", config={"lookup": False})
    examples = make_examples(nlp)
    fit(nlp, examples, steps=20)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=[example.reference for example in examples]).to_disk(tmp_path / "examples.spacy")
    texts = ["Anna Berg flew from Oslo", "", "They sell bread to Acme Foods Ltd ."] * 2
    namespace = {}
    exec(READ, namespace)
    expected = [namespace["read"](doc) for doc in nlp.pipe(texts)]
    assert any(ents for ents, *_ in expected)
    for name, value in {"texts": texts, "expected": expected}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    result = python(WITHOUT_TORCH + READ + PREDICT, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("done\n")


PROCESSES = """
import os
import spacy
import torch

if __name__ == "__main__":
    torch.set_num_threads(2)
    nlp = spacy.load("model")
    texts = ["Anna Berg flew from Oslo", "", "They sell bread to Acme Foods Ltd ."] * 20
    # Large enough for torch to start its threads, which do not survive a fork
    torch.nn.Linear(512, 512)(torch.ones(4096, 512)).sum().backward()

    def read(doc):
        ents = [(ent.start, ent.end, ent.label_, round(ent._.confidence, 4)) for ent in doc.ents]
        return doc.text, ents, [token.tag_ for token in doc]

    # In a child torch has as many threads as here
    if (child := os.fork()) == 0:
        os._exit(torch.get_num_threads() != 2)
    assert os.waitpid(child, 0)[1] == 0

    single = [read(doc) for doc in nlp.pipe(texts)]
    assert any(ents for _, ents, _ in single)
    assert [read(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=10)] == single
    print("done")
"""


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="only a fork inherits a pool without its threads"
)
def test_several_processes_after_torch_has_run_with_threads(
    nlp, tiny_tok2vec, make_examples, fit, tmp_path
):
    for name in ("birnn_tagger", "birnn_ner"):
        nlp.add_pipe(name, config={"model": {"tok2vec": tiny_tok2vec}})
    fit(nlp, make_examples(nlp), steps=10)
    nlp.to_disk(tmp_path / "model")
    result = python(PROCESSES, tmp_path, OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done\n"
