"""What all components share and no single one can show; for the rest see test_contract.py."""

import os
import subprocess
import sys

import numpy as np
import pytest

from spacy_birnn.pipeline.base import smoothed

SAVE_ALL = """
import hashlib
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import fix_random_seed

FACTORIES = [
    "birnn_ner", "birnn_tagger", "birnn_morphologizer", "birnn_lemmatizer",
    "birnn_textcat", "birnn_textcat_multilabel",
]
nlp = spacy.blank("xx")
for factory in FACTORIES:
    nlp.add_pipe(factory)
examples = []
for pos in ("NOUN", "VERB", "ADJ", "ADV"):
    words = ["saw", "left", "lie", "well", "Oslo", "Acme"]
    annotation = {
        "tags": [pos, pos, "X", "Y", "NNP", "NNP"],
        "pos": [pos] * 4 + ["PROPN"] * 2,
        "morphs": ["Case=Nom|Number=Sing", f"Degree={pos}", "", "A=1|B=2", "Number=Sing", ""],
        "lemmas": [f"{word}{pos.lower()}" for word in words[:4]] + words[4:],
        "entities": ["O", "O", "O", "O", "U-GPE", "U-ORG"],
        "cats": {"P": float(pos == "NOUN"), "Q": float(pos == "VERB"), "R": float(pos[0] == "A")},
    }
    examples.append(Example.from_dict(Doc(nlp.vocab, words=words), annotation))
fix_random_seed(0)
sgd = nlp.initialize(lambda: examples)
nlp.update(examples, sgd=sgd)
for name, pipe in nlp.pipeline:
    print(name, hashlib.sha256(pipe.to_bytes()).hexdigest())
"""


def test_the_same_training_makes_the_same_file_in_any_process(tmp_path):
    (tmp_path / "script.py").write_text(SAVE_ALL)
    found = [
        subprocess.run(
            [sys.executable, str(tmp_path / "script.py")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        for seed in ("1", "2")
    ]
    assert len(found[0]) == 7 and found[0] == found[1]


@pytest.mark.parametrize("n, others", [(1, 0.0), (2, 0.2), (5, 0.05)])
def test_label_smoothing_leaves_a_distribution(n, others):
    target = smoothed(np.eye(n), 0.2, n)
    np.testing.assert_allclose(target, np.where(np.eye(n), 0.8, others))
    if n > 1:
        np.testing.assert_allclose(target.sum(axis=1), 1)
