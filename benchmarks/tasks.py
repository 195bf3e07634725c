"""The table of what is compared: tasks, their corpora, and the sides of each."""

from collections.abc import Callable
from dataclasses import dataclass

import typer
from corpora import BC5CDR, BTC, SST2, TREC, WNUT17, Corpus
from sides import recommended, textcat_cnn, textcat_ensemble
from thinc.api import Config

MakeConfig = Callable[[str, tuple[str, ...]], Config]


@dataclass(frozen=True)
class Side:
    """One of those that are compared.

    title (str): Its title in the tables.
    config (MakeConfig | None): For spaCy's sides, what makes the config from the language and the
        pipes.
    """

    title: str
    config: MakeConfig | None = None


SPACY = {"spacy": Side("spaCy", recommended)}
SPACY_TEXTCAT = {
    "spacy-bow": Side("spaCy bag of words", recommended),
    "spacy-cnn": Side("spaCy CNN", textcat_cnn),
    "spacy-ensemble": Side("spaCy ensemble", textcat_ensemble),
}
PLAIN = {"plain": Side("plain BiLSTM-CRF")}
DEFAULTS = {"defaults": Side("spacy-birnn, as `spacy init config` writes it")}
OURS = {"ours": Side("spacy-birnn")}


@dataclass(frozen=True)
class Task:
    """What is compared.

    pipes (tuple[str, ...]): spaCy's trainable pipes, as `spacy init config -p` takes them.
    factory (str): Our component that does the same, for the sides with its defaults.
    ours (str): Our config, in project/configs.
    measures (dict[str, str]): Scores on the test data, and the title of each one's column.
    dev_weights (dict[str, float]): The score on the development data, the same for all sides.
    sides (dict[str, Side]): The sides. Ours is the last.
    corpus (Corpus | None): The corpus. None: a treebank, which the command names.
    gold_tokens (bool): Whether all sides train and are tested on the tokens of the annotation.
    """

    pipes: tuple[str, ...]
    factory: str
    ours: str
    measures: dict[str, str]
    dev_weights: dict[str, float]
    sides: dict[str, Side]
    corpus: Corpus | None = None
    gold_tokens: bool = False


def _entities(corpus: Corpus) -> Task:
    return Task(
        pipes=("ner",),
        factory="birnn_ner",
        ours="wnut17.cfg",
        measures={"ents_p": "precision", "ents_r": "recall", "ents_f": "F1"},
        dev_weights={"ents_f": 1.0},
        sides={**SPACY, **PLAIN, **DEFAULTS, **OURS},
        corpus=corpus,
    )


def _categories(corpus: Corpus) -> Task:
    return Task(
        pipes=("textcat",),
        factory="birnn_textcat",
        ours="sst2.cfg",
        measures={"cats_micro_f": "accuracy", "cats_macro_f": "macro F1"},
        dev_weights={"cats_micro_f": 1.0},
        sides={**SPACY_TEXTCAT, **DEFAULTS, **OURS},
        corpus=corpus,
    )


TASKS = {
    "wnut17": _entities(WNUT17),
    "btc": _entities(BTC),
    "bc5cdr": _entities(BC5CDR),
    "ud": Task(
        pipes=("tagger", "morphologizer"),
        factory="birnn_tagger",
        ours="ud.cfg",
        measures={"tag_acc": "TAG", "upos_feats_acc": "UPOS+FEATS", "ceiling": "ceiling"},
        dev_weights={"tag_acc": 0.5, "pos_acc": 0.25, "morph_acc": 0.25},
        sides={**SPACY, **OURS},
    ),
    "lemma": Task(
        pipes=("trainable_lemmatizer",),
        factory="birnn_lemmatizer",
        ours="ud_lemma.cfg",
        measures={"lemma_acc": "lemmas", "unseen_acc": "lemmas of unseen forms"},
        dev_weights={"lemma_acc": 1.0},
        sides={**SPACY, **OURS},
        gold_tokens=True,
    ),
    "sst2": _categories(SST2),
    "trec": _categories(TREC),
}


def check_task(name: str) -> Task:
    """RAISES (typer.BadParameter): If there is no such task."""
    if name not in TASKS:
        raise typer.BadParameter(f"no task {name!r}; expected one of {', '.join(TASKS)}")
    return TASKS[name]
