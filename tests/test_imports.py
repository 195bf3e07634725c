"""Every `spacy.blank()` imports the plug-in, also where it is not used: that must be safe."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

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
