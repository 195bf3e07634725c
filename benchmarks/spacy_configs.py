"""spaCy's own configs that ours are compared with."""

import spacy
from spacy.cli.init_config import init_config
from thinc.api import Config


def recommended(lang: str, pipes: tuple[str, ...]) -> Config:
    """What `spacy init config --optimize efficiency` writes."""
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
