"""Categories of documents."""

import warnings
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, NoReturn, Optional, Set, Tuple

import numpy as np
from spacy.language import Language
from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..checks import (
    check_flag,
    check_probability,
    check_rate,
    check_smoothing,
    check_temperature,
    check_torch,
)
from ..errors import BirnnError, Errors, ReportOnce, Warnings
from .base import BiRNNPipe, Setting, smoothed
from .calibration import Decisions, Evidence, temperature_for

# The reading is smaller than that of the other components and sees no characters: a class is a
# matter of words, and there are fewer documents to learn from than there are tokens
default_model_config = """
[model]
@architectures = "spacy-birnn.TextClassifier.v1"

[model.tok2vec]
@architectures = "spacy-birnn.BiRNNTok2Vec.v1"
cell = "gru"
width = 96
embed_width = 64
char_width = null
locked_dropout = 0.3
"""
DEFAULT_CONFIG = {
    "model": Config().from_str(default_model_config)["model"],
    "threshold": 0.0,
    "class_weights": None,
    "label_smoothing": 0.0,
    "attention": False,
    "scorer": {"@scorers": "spacy.textcat_scorer.v2"},
}
SCORE_WEIGHTS = {
    "cats_score": 1.0,
    "cats_score_desc": None,
    "cats_micro_p": None,
    "cats_micro_r": None,
    "cats_micro_f": None,
    "cats_macro_p": None,
    "cats_macro_r": None,
    "cats_macro_f": None,
    "cats_macro_auc": None,
    "cats_f_per_type": None,
}


@Language.factory(
    "birnn_textcat",
    assigns=["doc.cats"],
    default_config=DEFAULT_CONFIG,
    default_score_weights=SCORE_WEIGHTS,
)
def make_birnn_textcat(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    class_weights: Optional[Dict[str, float]],
    label_smoothing: float,
    attention: bool,
    scorer: Optional[Callable],
) -> "BiRNNTextCategorizer":
    """Construct a classifier with exclusive classes. See `TextClassifier`."""
    return BiRNNTextCategorizer(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        attention=attention,
        scorer=scorer,
    )


@Language.factory(
    "birnn_textcat_multilabel",
    assigns=["doc.cats"],
    default_config={
        **DEFAULT_CONFIG,
        "threshold": 0.5,
        "scorer": {"@scorers": "spacy.textcat_multilabel_scorer.v2"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_birnn_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    class_weights: Optional[Dict[str, float]],
    label_smoothing: float,
    attention: bool,
    scorer: Optional[Callable],
) -> "BiRNNMultiLabelTextCategorizer":
    """Construct a classifier with independent classes. See `TextClassifier`."""
    return BiRNNMultiLabelTextCategorizer(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        attention=attention,
        scorer=scorer,
    )


class Categories(NamedTuple):
    """What is found of one document: the probability of each label, and the weight of each token
    if the model has attention."""

    probabilities: np.ndarray
    attention: Optional[np.ndarray]


def _check_weights(name: str, value: Any, *, where: str) -> None:
    numbers = value.values() if isinstance(value, dict) else [value]
    fits = [isinstance(w, (int, float)) and 0 < w < np.inf for w in numbers]
    if value is not None and not (isinstance(value, dict) and all(fits)):
        expected = "null, or a finite number above 0 for each label that is named"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


class TextClassifier(BiRNNPipe):
    """What the two classifiers share. Annotation, logits and probabilities are arrays of shape
    (documents, labels). A subclass says what it takes from the annotation (`annotation`,
    `is_known`, `weights`), and what the logits stand for (`probabilities`, `given`, `divergence`,
    `decisions`; `n_outcomes`, of which one is right). For what these are see
    `BiRNNTextCategorizer`.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, `spacy-birnn.TextClassifier.v1`.
    name (str): The component's name.
    threshold (float): From which probability on the scorer counts a label as predicted. Where
        classes are exclusive it plays no role, as in spaCy: the most probable one counts.
    class_weights (Optional[Dict[str, float]]): How much a document that has a label counts in
        training, 1 for labels that are not named. Recommended for rare labels: 2 to 10.
    label_smoothing (float): Share of the probability that training gives to the other outcomes.
        Recommended: 0.0 to 0.2.
    attention (bool): Whether to keep how much each token counted in the reading, as
        `doc._.birnn_attention`. Needs pooling = "attention".
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001, E031, E033 for impossible settings.
    """

    unfitted = {"temperature": 1.0}
    threshold = Setting(check_probability)
    class_weights = Setting(_check_weights)
    label_smoothing = Setting(check_rate)
    attention = Setting(check_flag)
    temperature = Setting(check_temperature)

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "birnn_textcat",
        *,
        threshold: float = 0.0,
        class_weights: Optional[Dict[str, float]] = None,
        label_smoothing: float = 0.0,
        attention: bool = False,
        scorer: Optional[Callable] = None,
    ):
        super().__init__(vocab, model, name, threshold=threshold, scorer=scorer)
        pooling = model.attrs.get("pooling")
        if pooling is None:
            raise BirnnError(Errors.E031.format(name=name, found=model.name))
        self.cfg["class_weights"] = class_weights
        self.cfg["label_smoothing"] = label_smoothing
        self.cfg["attention"] = attention
        self.void_calibration()
        self._report_other = ReportOnce(Warnings.W004)
        if not _register_extension() and attention:
            warnings.warn(Warnings.W014.format(name=name), stacklevel=2)
        self._configure()

    def predict(self, docs: Iterable[Doc]) -> List[Categories]:
        """Predict the categories of a batch, without modifying the documents.

        docs (Iterable[Doc]): The documents. One without tokens gets what the model says of an empty
            text.
        RETURNS (List[Categories]): One item a document, for `set_annotations`.
        """
        self._check_ready()
        scores = self.model.predict(list(docs))
        probabilities = self.probabilities(self._finite(scores.logits) / self.cfg["temperature"])
        attention = scores.attention or [None] * len(probabilities)
        return [Categories(*pair) for pair in zip(probabilities, attention)]

    def set_annotations(self, docs: Iterable[Doc], predicted: Iterable[Categories]) -> None:
        """Set the categories, and the weights of the tokens.

        docs (Iterable[Doc]): The documents.
        predicted (Iterable[Categories]): What `predict` returned for them.
        """
        _register_extension()  # in another process it was not constructed
        labels = self.labels
        for doc, (probabilities, attention) in zip(docs, predicted):
            doc.cats.update(zip(labels, probabilities.tolist()))
            if self.cfg["attention"] and attention is not None:
                doc._.birnn_attention = attention.tolist()

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Tuple[float, Any]:
        """Negative log-likelihood of the annotation, summed over the batch and the parts of the
        model, and its gradient with respect to what each part says.

        examples (Iterable[Example]): The batch.
        scores (DocScores): The model's output for the predicted documents.
        RETURNS (Tuple[float, np.ndarray]): The loss, and its gradient with respect to
            `scores.parts`.
        RAISES (ValueError): E006 for too much label_smoothing, E022 for scores that are not finite,
            E035 to E037 for annotation that cannot be learned from.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        self._validate_categories(examples)
        gold, rate = self.annotation(examples), self.cfg["label_smoothing"]
        check_smoothing(rate, self.n_outcomes, where=self.name)
        by_label = self.cfg["class_weights"] or {}
        weights = self.weights(gold, np.array([by_label.get(label, 1.0) for label in self.labels]))
        known = self.is_known(gold)
        total, gradients = 0.0, []
        for logits in self._finite(scores.parts):
            target = self.given(gold, logits)
            target = np.where(known, smoothed(target, rate, self.n_outcomes), target)
            total += float((weights * self.divergence(target, logits)).sum())
            gradients.append(weights * (self.probabilities(logits) - target))
        return total, np.stack(gradients).astype("f")

    def rehearsal_loss(
        self, docs: List[Doc], scores: Any, teacher: Any
    ) -> Tuple[float, np.ndarray]:
        """The divergence of the probabilities from the earlier ones, summed over the parts."""
        # Of labels added since, the earlier model has no opinion
        known = slice(teacher.logits.shape[1])
        parts = self._finite(scores.parts)
        total, d_parts = 0.0, np.zeros(parts.shape, dtype="f")
        for logits, earlier, d_logits in zip(parts[..., known], teacher.parts, d_parts):
            target = self.probabilities(earlier.astype("float64"))
            total += float(self.divergence(target, logits).sum())
            d_logits[:, known] = self.probabilities(logits) - target
        return total, d_parts

    def evidence(self, examples: List[Example], unknown: Set[str]) -> Evidence:
        # Labels that are not its own may be another classifier's: W004, see `annotation`
        self._check_ready()
        self._validate_categories(examples)
        logits = self._finite(self.model.predict([eg.predicted for eg in examples]).logits)
        gold = self.annotation(examples)
        annotated = self.weights(gold, np.ones(len(self.labels))).any(axis=1)
        return Evidence(int(annotated.sum()), logits, gold)

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        logits = evidence.scores / temperature
        return float(self.divergence(self.given(evidence.gold, logits), logits).sum())

    def fit(self, evidence: List[Evidence]) -> Dict[str, Any]:
        return {"temperature": temperature_for(self, evidence)}

    def add_label(self, label: str) -> int:
        """Add a label. RETURNS (int): 1, or 0 if the label was there.

        RAISES (ValueError): E023 for an empty label.
        """
        if label == "":
            raise BirnnError(Errors.E023.format(name=self.name, value=label))
        return super().add_label(label)

    def _check_data(self, get_examples: Callable[[], Iterable[Example]]) -> None:
        """Report what cannot be learned from before training begins."""
        for label in self.cfg["class_weights"] or {}:
            if label not in self.labels:
                known = ", ".join(self.labels)
                raise BirnnError(Errors.E034.format(label=label, name=self.name, labels=known))
        check_smoothing(self.cfg["label_smoothing"], self.n_outcomes, where=self.name)
        for eg in get_examples():
            self._validate_categories([eg])
            self.annotation([eg])

    def _validate_categories(self, examples: Iterable[Example]) -> None:
        """Of its own labels: spaCy's method checks those of all classifiers together. How many are
        right is checked by `annotation`. RAISES (ValueError): E037."""
        labels = self.labels
        for eg in examples:
            for label in labels:
                value = eg.reference.cats.get(label, 0.0)
                if value not in (0.0, 1.0):
                    self._refuse(eg, label, value)

    def _check_settings(self) -> None:
        super()._check_settings()
        pooling = self.model.attrs["pooling"]
        if self.cfg["attention"] and pooling != "attention":
            raise BirnnError(Errors.E033.format(name=self.name, pooling=pooling))

    def _prepare(
        self, get_examples: Callable[[], Iterable[Example]], labels: Optional[Iterable[str]]
    ) -> None:
        """Before spaCy initializes, which turns what is annotated into numbers at once.
        RAISES (ValueError): E020, E037."""
        check_torch(self.name)
        self._check_labels(labels)
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        self.void_calibration()
        for eg in get_examples():
            cats: Dict[str, Any] = eg.reference.cats
            for label, value in cats.items():
                if not isinstance(value, (int, float)):
                    self._refuse(eg, label, value)

    def _refuse(self, eg: Example, label: str, value: Any) -> NoReturn:
        raise BirnnError(Errors.E037.format(**self._place(eg), label=label, value=value))

    def _place(self, eg: Example) -> Dict[str, str]:
        """Where something is wrong, for messages."""
        return {"name": self.name, "text": repr(eg.reference.text)}

    def _has_other(self, cats: Dict[str, float]) -> bool:
        """Whether a label is right that is not its own."""
        labels = set(self.labels)
        others = [label for label, value in cats.items() if value and label not in labels]
        if others:
            known = ", ".join(self.labels)
            self._report_other(label=others[0], name=self.name, labels=known)
        return bool(others)

    def _finite(self, logits: np.ndarray) -> np.ndarray:
        if not np.isfinite(logits).all():
            raise BirnnError(Errors.E022.format(name=self.name))
        return logits.astype("float64")


class BiRNNTextCategorizer(TextClassifier, TextCategorizer):
    """Sets `doc.cats` to the probability of each label, of which exactly one is right (softmax).
    Labels and annotation are those of spaCy's `TextCategorizer`; the model and the loss are our
    own.
    """

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
        positive_label: Optional[str] = None,
    ) -> None:
        """Initialize the labels and the model.

        get_examples (Callable[[], Iterable[Example]]): Gives a representative sample of the data.
        nlp (Optional[Language]): The pipeline that the component is part of.
        labels (Optional[Iterable[str]]): The labels, as `spacy init labels` writes them. None takes
            those of the examples.
        positive_label (Optional[str]): Of two labels the one whose F1 is the score.
        RAISES (ValueError): E020 for labels that are no list, E034 for class weights of labels that
            there are not, E006 for too much label_smoothing, E035 to E037 for annotation that
            cannot be learned from.
        """
        self._prepare(get_examples, labels)
        super().initialize(get_examples, nlp=nlp, labels=labels, positive_label=positive_label)
        self._check_data(get_examples)

    @property
    def n_outcomes(self) -> int:
        return len(self.labels)

    def annotation(self, examples: List[Example]) -> np.ndarray:
        """The labels that may be right, bool: one if that is known, all without annotation. Labels
        that are not its own, such as those of another classifier, are left out as in spaCy, which
        is reported once (W004)."""
        mask = np.zeros((len(examples), len(self.labels)), dtype=bool)
        for row, eg in zip(mask, examples):
            cats = eg.reference.cats
            has_other = self._has_other(cats)
            right = [bool(cats.get(label, False)) for label in self.labels]
            if sum(right) > 1:
                raise BirnnError(Errors.E036.format(**self._place(eg), value=cats))
            if any(right):
                row[:] = right
            elif has_other:
                # That one is: nothing is known of those that the component has
                row[:] = True
            else:
                # It is one of those that are not marked as wrong
                row[:] = [label not in cats for label in self.labels]
                if not row.any():
                    raise BirnnError(Errors.E035.format(**self._place(eg), value=cats))
        return mask

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        """Whether the annotation says what is right: bool, shape (documents, 1)."""
        return gold.sum(axis=1, keepdims=True) == 1

    def weights(self, gold: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
        """What the annotation counts, shape (documents, 1); 0 where there is none."""
        of_label = np.where(self.is_known(gold), gold @ class_weights[:, None], 1.0)
        return np.where(gold.all(axis=1, keepdims=True), 0.0, of_label)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return np.exp(_log_softmax(logits))

    def given(self, gold: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """The probabilities given the annotation."""
        return self.probabilities(np.where(gold, logits, -np.inf))

    def divergence(self, target: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """The Kullback-Leibler divergence of the probabilities from others, as terms to be summed.
        From those given some annotation it is the negative log-likelihood of that. Its gradient
        with respect to the logits is the probabilities less the target."""
        return target * (_log(target) - _log_softmax(logits))

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """The most probable label of each document whose right one is known."""
        known = self.is_known(evidence.gold)[:, 0]
        p, gold = self.probabilities(evidence.scores / settings["temperature"]), evidence.gold
        right = np.take_along_axis(gold, p.argmax(axis=1, keepdims=True), axis=1)[:, 0]
        return Decisions(p.max(axis=1)[known], right[known])


class BiRNNMultiLabelTextCategorizer(TextClassifier, MultiLabel_TextCategorizer):
    """Sets `doc.cats` to the probability of each label, independent of the others (sigmoid). Labels
    and annotation are those of spaCy's `MultiLabel_TextCategorizer`: a label that is not in an
    example's annotation is missing, not wrong."""

    def initialize(  # type: ignore[override]
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Initialize the labels and the model. For the arguments see `BiRNNTextCategorizer`."""
        self._prepare(get_examples, labels)
        super().initialize(get_examples, nlp=nlp, labels=labels)
        self._check_data(get_examples)

    @property
    def n_outcomes(self) -> int:
        return 2

    def annotation(self, examples: List[Example]) -> np.ndarray:
        """1 for a label that is right, 0 for one that is wrong, NaN for one that is missing."""
        gold = np.full((len(examples), len(self.labels)), np.nan)
        for row, eg in zip(gold, examples):
            cats = eg.reference.cats
            self._has_other(cats)
            row[:] = [float(bool(cats[lb])) if lb in cats else np.nan for lb in self.labels]
        return gold

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        """Here of each label: shape (documents, labels), as `weights`."""
        return ~np.isnan(gold)

    def weights(self, gold: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
        return np.where(gold == 1, class_weights, self.is_known(gold))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return np.exp(_log_sigmoid(logits))

    def given(self, gold: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return np.where(self.is_known(gold), gold, self.probabilities(logits))

    def divergence(self, target: np.ndarray, logits: np.ndarray) -> np.ndarray:
        yes = target * (_log(target) - _log_sigmoid(logits))
        return yes + (1 - target) * (_log(1 - target) - _log_sigmoid(-logits))

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """Yes or no for each label of each document, where the right one is known."""
        known = self.is_known(evidence.gold)
        p = self.probabilities(evidence.scores / settings["temperature"])
        right = (p > 0.5) == (evidence.gold == 1)
        return Decisions(np.maximum(p, 1 - p)[known], right[known])


def _register_extension() -> bool:
    """How much each token of a document counted, a list of numbers that sum to 1, can be read and
    set as doc._.birnn_attention. It is in doc.user_data, and so saved with the document.

    RETURNS (bool): Whether the name is not taken by another extension.
    """
    if not Doc.has_extension("birnn_attention"):
        Doc.set_extension("birnn_attention", default=None)
    return all(part is None for part in Doc.get_extension("birnn_attention"))


def _log_softmax(values: np.ndarray) -> np.ndarray:
    return values - np.logaddexp.reduce(values, axis=-1, keepdims=True)


def _log_sigmoid(values: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -values)


def _log(probabilities: np.ndarray) -> np.ndarray:
    """The logarithm, finite also for 0."""
    return np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
