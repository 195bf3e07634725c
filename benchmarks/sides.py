"""The configs of the sides that are compared: spaCy's own, and ours."""

from pathlib import Path
from typing import Any

import spacy
from spacy.cli.init_config import init_config
from spacy.util import load_config, load_model_from_config
from thinc.api import Config

# Settings by which spaCy's architectures say whether they read the pretrained vectors
READS_VECTORS = ("include_static_vectors", "pretrained_vectors")


def recommended(lang: str, pipes: tuple[str, ...]) -> Config:
    """What `spacy init config --optimize efficiency` writes, for spaCy's pipes or for ours."""
    return init_config(lang=lang, pipeline=list(pipes), optimize="efficiency", gpu=False)


def textcat_ensemble(lang: str, pipes: tuple[str, ...]) -> Config:
    """The same, but with the model that `nlp.add_pipe("textcat")` makes (a bag of words and a CNN
    with attention) in place of the bag of words alone."""
    config = recommended(lang, pipes)
    nlp = spacy.blank(lang)
    nlp.add_pipe("textcat")
    config["components"]["textcat"]["model"] = nlp.config["components"]["textcat"]["model"]
    return config


def textcat_cnn(lang: str, pipes: tuple[str, ...]) -> Config:
    """The same with the mean of that CNN's vectors instead of the ensemble."""
    config = textcat_ensemble(lang, pipes)
    textcat = config["components"]["textcat"]
    textcat["model"] = {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": True,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
        "use_reduce_mean": True,
        "nO": None,
        "tok2vec": textcat["model"]["tok2vec"],
    }
    return config


def from_file(path: Path, lang: str) -> Config:
    """A training config of ours with the defaults filled in, as `spacy init fill-config` does:
    training takes none that leaves them out."""
    partial = load_config(path, interpolate=False)
    config = load_model_from_config(partial, auto_fill=True).config
    config["nlp"]["lang"] = lang
    return config


def read_vectors(section: Any) -> bool:
    """Let spaCy's models read the pretrained vectors. Ours do so by themselves.

    section (Any): A section of a config; those below are searched too.
    RETURNS (bool): Whether there is a model that can.
    """
    if not isinstance(section, dict):
        return False
    found = [key for key in READS_VECTORS if key in section]
    section.update(dict.fromkeys(found, True))
    return any([bool(found), *map(read_vectors, section.values())])
