"""Lemmas, written character by character."""

import warnings
from collections import defaultdict
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

import numpy as np
from spacy.attrs import IS_SPACE, LEMMA, ORTH, POS
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats1d

from ..checks import check_flag, check_positive, check_probability, check_torch
from ..errors import BirnnError, Errors, ReportOnce, Warnings
from .base import BiRNNPipe, Setting

default_model_config = """
[model]
@architectures = "spacy-birnn.Lemmatizer.v1"
"""
LEMMATIZER_MODEL = Config().from_str(default_model_config)["model"]


@Language.factory(
    "birnn_lemmatizer",
    assigns=["token.lemma"],
    default_config={
        "model": LEMMATIZER_MODEL,
        "lookup": True,
        "beam_width": 1,
        "threshold": 0.4,
        "max_chars": 50,
        "overwrite": False,
        "scorer": {"@scorers": "spacy.lemmatizer_scorer.v1"},
    },
    default_score_weights={"lemma_acc": 1.0},
)
def make_birnn_lemmatizer(
    nlp: Language,
    name: str,
    model: Model,
    lookup: bool,
    beam_width: int,
    threshold: float,
    max_chars: int,
    overwrite: bool,
    scorer: Optional[Callable],
) -> "BiRNNLemmatizer":
    """Construct a lemmatizer. See `BiRNNLemmatizer` for the settings."""
    return BiRNNLemmatizer(
        nlp.vocab,
        model,
        name,
        lookup=lookup,
        beam_width=beam_width,
        threshold=threshold,
        max_chars=max_chars,
        overwrite=overwrite,
        scorer=scorer,
    )


class BiRNNLemmatizer(BiRNNPipe):
    """Sets `token.lemma`. Forms that the training data had with one lemma only are looked up; the
    lemmas of all others are written by the model, which may copy characters that it never saw. A
    form whose lemma the model finds improbable is its own lemma.

    Its labels are the characters of the lemmas in the training data.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, such as `spacy-birnn.Lemmatizer.v1`.
    name (str): The component's name.
    lookup (bool): Whether to look up forms of the training data first. A form with several lemmas
        is looked up with its part of speech, if an earlier component has set it and that decides.
    beam_width (int): Beginnings of a lemma that are kept while writing. 1 is greedy. Recommended: 1
        to 5; slower in proportion.
    threshold (float): The least probability of a lemma that the model writes, from 0 to 1. A form
        that has none as probable is its own lemma. Recommended: 0 to 0.5; less for languages that
        inflect most words.
    max_chars (int): A longer form that cannot be looked up is its own lemma. Recommended: 30 to
        100.
    overwrite (bool): Whether to replace lemmas that are already set.
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001 for impossible settings, E041 for another kind of model.
    """

    lookup = Setting(check_flag)
    beam_width = Setting(check_positive)
    max_chars = Setting(check_positive)
    threshold = Setting(check_probability)
    overwrite = Setting(check_flag)

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "birnn_lemmatizer",
        *,
        lookup: bool = True,
        beam_width: int = 1,
        threshold: float = 0.4,
        max_chars: int = 50,
        overwrite: bool = False,
        scorer: Optional[Callable] = None,
    ):
        if "decode" not in model.attrs:
            raise BirnnError(Errors.E041.format(name=name, found=model.name))
        settings = {"lookup": lookup, "beam_width": beam_width, "max_chars": max_chars}
        super().__init__(
            vocab,
            model,
            name,
            labels=[],
            table={},
            threshold=threshold,
            overwrite=overwrite,
            **settings,
        )
        self.scorer = scorer
        self._report_strange = ReportOnce(Warnings.W003)
        self._configure()

    @property
    def labels(self) -> Tuple[str, ...]:
        """The characters of the lemmas in the training data."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Tuple[str, ...]:
        """The labels, as `spacy init labels` writes them."""
        return self.labels

    @property
    def hide_labels(self) -> bool:
        return True

    @property
    def n_outputs(self) -> int:
        # One more says that the lemma ends
        return 1 + len(self.labels)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Initialize the alphabet, the table of known forms, and the model.

        get_examples (Callable[[], Iterable[Example]]): Gives a representative sample of the data.
        nlp (Optional[Language]): The pipeline that the component is part of.
        labels (Optional[Iterable[str]]): The characters, as `spacy init labels` writes them. None
            takes those of the lemmas in the examples.
        RAISES (ValueError): E040 if the examples have no lemmas, E020 for labels that are no list,
            E043 for labels that are no characters.
        """
        check_torch(self.name)
        validate_get_examples(get_examples, "BiRNNLemmatizer.initialize")
        self._check_labels(labels)
        known = {
            (token.text, token.pos_, token.lemma_)
            for eg in get_examples()
            for token in eg.y
            if token.lemma_
        }
        if not known:
            raise BirnnError(Errors.E040.format(name=self.name))
        if labels is None:
            labels = {char for _, _, lemma in known for char in lemma}
        chars = set(labels)
        for char in chars or [""]:
            if not isinstance(char, str) or len(char) != 1:
                raise BirnnError(Errors.E043.format(name=self.name, value=char))
        self.cfg["labels"] = sorted(chars)
        self.cfg["table"] = _make_table(known) if self.cfg["lookup"] else {}
        self.model.initialize(X=[eg.x for eg in islice(get_examples(), 10)], Y=self.labels)

    def predict(self, docs: Iterable[Doc]) -> List[List[str]]:
        """Predict the lemmas of a batch, without modifying the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (List[List[str]]): The lemma of each token of each document.
        RAISES (ValueError): E010 before initialization.
        """
        docs = list(docs)
        self._check_ready()
        longest = self.cfg["max_chars"]
        lemmas, tokens, limits = [], [], []
        for doc in docs:
            strings = doc.vocab.strings
            for orth, pos, is_space in doc.to_array([ORTH, POS, IS_SPACE]).tolist():
                text = strings[orth]
                lemma = self._look_up(text, strings[pos])
                if lemma is None and not is_space and len(text) <= longest:
                    tokens.append(len(lemmas))
                    limits.append(_longest_lemma(text))
                lemmas.append(lemma or text)
        if tokens:
            decode = self.model.attrs["decode"]
            settings = {key: self.cfg[key] for key in ("beam_width", "threshold")}
            written = decode(self.model, docs, np.array(tokens), np.array(limits), **settings)
            for i, lemma in zip(tokens, written):
                # One that is empty, improbable or without an end is none
                lemmas[i] = lemma or lemmas[i]
        rest = iter(lemmas)
        return [list(islice(rest, len(doc))) for doc in docs]

    def _look_up(self, form: str, pos: str) -> Optional[str]:
        """The lemma of the table, if it has one.

        pos (str): The token's part of speech, such as "NOUN", or "".
        """
        entry = self.cfg["table"].get(form) if self.cfg["lookup"] else None
        return entry.get(pos) if isinstance(entry, dict) else entry

    def set_annotations(self, docs: Iterable[Doc], lemmas: List[List[str]]) -> None:
        """Set the lemmas of a batch.

        docs (Iterable[Doc]): The documents, modified in place.
        lemmas (List[List[str]]): The lemmas, as `predict` gives them.
        """
        for doc, doc_lemmas in zip(docs, lemmas):
            ids: Any = np.array(
                [doc.vocab.strings.add(lemma) for lemma in doc_lemmas], dtype="uint64"
            )
            if not self.cfg["overwrite"]:
                given = doc.to_array(LEMMA)
                ids = np.where(given, given, ids)
            doc.from_array([LEMMA], ids)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch. Tokens that have no lemma, that do not align with the annotation or
        that are longer than `max_chars` are left out. What is the same to the model counts once. A
        form that gets another lemma than the table has is looked up no more. Lemmas with characters
        that are neither labels nor in the form are left out, too, which is reported once (W003).

        examples (Iterable[Example]): The batch.
        drop (float): The dropout rate.
        sgd (Optional[Optimizer]): The optimizer.
        losses (Optional[Dict[str, float]]): Losses so far, updated under the component's name.
        RETURNS (Dict[str, float]): The updated losses.
        RAISES (ValueError): E010 before initialization.
        """
        check_torch(self.name)
        validate_examples(examples, "BiRNNLemmatizer.update")
        self._check_ready()
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        self._forget_contradicted(examples)
        tokens, lemmas = self._targets(examples)
        docs = [eg.predicted for eg in examples]
        if lemmas or (self.model.attrs["in_context"] and any(len(doc) for doc in docs)):
            set_dropout_rate(self.model, drop)
            log_p, backprop = self.model.begin_update((docs, tokens, lemmas))
            loss, d_log_p = self.get_loss(examples, log_p)
            backprop(d_log_p)
            losses[self.name] += loss
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def _forget_contradicted(self, examples: List[Example]) -> None:
        for token in (token for eg in examples for token in eg.reference if token.lemma):
            known = self._look_up(token.text, token.pos_)
            if known not in (None, token.lemma_) and self._can_learn(token.text, token.lemma_):
                entry = self.cfg["table"][token.text]
                if isinstance(entry, dict):
                    del entry[token.pos_]
                else:
                    del self.cfg["table"][token.text]

    def _targets(self, examples: List[Example]) -> Tuple[np.ndarray, List[str]]:
        """The tokens to learn from, numbered through all documents, and their lemmas."""
        lemmas = (lemma for eg in examples for lemma in eg.get_aligned("LEMMA", as_string=True))
        tokens = (token for eg in examples for token in eg.predicted)
        found: Dict[Any, Tuple[int, str]] = {}
        for i, (token, lemma) in enumerate(zip(tokens, lemmas)):
            if lemma and self._can_learn(token.text, lemma):
                same = (token.orth, token.tag, token.pos, str(token.morph), lemma)
                found.setdefault(i if self.model.attrs["in_context"] else same, (i, lemma))
        numbers = np.array([i for i, _ in found.values()], dtype="int64")
        return numbers, [lemma for _, lemma in found.values()]

    def _can_learn(self, form: str, lemma: str) -> bool:
        """Whether neither is too long, and each character of the lemma is in the alphabet or can be
        copied, which is reported once if not."""
        if len(form) > self.cfg["max_chars"] or len(lemma) > _longest_lemma(form):
            return False
        strange = set(lemma) - set(form)
        if strange:
            strange -= set(self.labels)
        if strange:
            self._report_strange(name=self.name, form=form, lemma=lemma, char=min(strange))
        return not strange

    def get_loss(self, examples: Iterable[Example], log_p: Floats1d) -> Tuple[float, Floats1d]:
        """Negative log-likelihood of the lemmas, summed over the batch, and its gradient.

        examples (Iterable[Example]): The batch.
        log_p (Floats1d): The log-probabilities of the lemmas.
        RETURNS (Tuple[float, Floats1d]): The loss and its gradient.
        RAISES (ValueError): E022 if it is not finite.
        """
        loss = -float(np.sum(self.model.ops.to_numpy(log_p)))
        if not np.isfinite(loss):
            raise BirnnError(Errors.E022.format(name=self.name))
        return loss, self.model.ops.xp.full_like(log_p, -1.0)

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Does nothing but warn (W002), so that the other components of a pipeline can rehearse."""
        validate_examples(examples, "BiRNNLemmatizer.rehearse")
        warnings.warn(Warnings.W002.format(name=self.name))
        return {} if losses is None else losses

    def _require_weights(self) -> None:
        if not self.model.has_dim("nO"):
            raise BirnnError(Errors.E010.format(name=self.name))


def _longest_lemma(form: str) -> int:
    """The most characters that the lemma of a form may have, so that writing always ends."""
    return 2 * len(form) + 10


def _make_table(known: Iterable[Tuple[str, str, str]]) -> Dict[str, Union[str, Dict[str, str]]]:
    """For each form its lemma; if it has several, for each part of speech that has only one."""
    lemmas = defaultdict(lambda: defaultdict(set))
    # In order: the same training data make the same file
    for form, pos, lemma in sorted(known):
        lemmas[form][pos].add(lemma)
    table: Dict[str, Union[str, Dict[str, str]]] = {}
    for form, by_pos in lemmas.items():
        different = set().union(*by_pos.values())
        if len(different) == 1:
            table[form] = different.pop()
        else:
            table[form] = {
                pos: found.pop() for pos, found in by_pos.items() if pos and len(found) == 1
            }
    return table
