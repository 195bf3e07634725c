"""Categories of documents."""

import warnings
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np
from spacy.language import Language
from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer

from ..checks import check_probability, check_rate, check_smoothing
from ..errors import Errors, Warnings
from .calibration import Decisions, Evidence
from .rehearsal import Rehearsing

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
    """Construct a classifier with exclusive classes. See `BiRNNTextCategorizer`."""
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
    """Construct a classifier with independent classes. See `BiRNNTextCategorizer`."""
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


class BiRNNTextCategorizer(Rehearsing, TextCategorizer):
    """Sets `doc.cats` to the probability of each label, of which exactly one is right (softmax).
    Labels and annotation are those of spaCy's `TextCategorizer`; the model and the loss are our
    own.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model, `spacy-birnn.TextClassifier.v1`.
    name (str): The component's name.
    threshold (float): From which probability on the scorer counts a label as predicted. As in spaCy
        it plays no role where classes are exclusive: the most probable one is.
    class_weights (Optional[Dict[str, float]]): How much an example of a label counts in training, 1
        for those that are not named. Recommended for rare labels: 2 to 10.
    label_smoothing (float): Share of the probability that training gives to the other labels.
        Recommended: 0.0 to 0.2.
    attention (bool): Whether to keep how much each token counted in the reading, as
        `doc._.birnn_attention`. Needs pooling = "attention".
    scorer (Optional[Callable]): The scoring method.
    RAISES (ValueError): E001, E031, E033 for impossible settings.
    """

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
            raise ValueError(Errors.E031.format(name=name, found=model.name))
        if attention and pooling != "attention":
            raise ValueError(Errors.E033.format(name=name, pooling=pooling))
        check_probability("threshold", threshold, where=name)
        check_rate("label_smoothing", label_smoothing, where=name)
        numbers = (int, float)
        if not all(
            isinstance(w, numbers) and 0 < w < np.inf for w in (class_weights or {}).values()
        ):
            expected = "null, or a finite number above 0 for each label that is named"
            values = {"name": "class_weights", "value": class_weights, "where": name}
            raise ValueError(Errors.E001.format(expected=expected, **values))
        self.cfg["class_weights"] = class_weights
        self.cfg["label_smoothing"] = label_smoothing
        self.cfg["attention"] = attention
        self.void_calibration()
        self._warned_other = False
        _register_extension()

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
        self._check_labels(labels)
        self.void_calibration()
        super().initialize(get_examples, nlp=nlp, labels=labels, positive_label=positive_label)
        self._check_data(get_examples)

    def predict(self, docs: Iterable[Doc]) -> List[Categories]:
        """Predict the categories of a batch, without modifying the documents.

        docs (Iterable[Doc]): The documents. One without tokens gets what the model says of an empty
            text.
        RETURNS (List[Categories]): One item a document, for `set_annotations`.
        """
        self._require_weights()
        scores = self.model.predict(list(docs))
        probabilities = self.probabilities(self._finite(scores.logits) / self.cfg["temperature"])
        attention = scores.attention or [None] * len(probabilities)
        return [Categories(*pair) for pair in zip(probabilities, attention)]

    def set_annotations(self, docs: Iterable[Doc], predicted: Iterable[Categories]) -> None:
        """Set the categories, and the weights of the tokens.

        docs (Iterable[Doc]): The documents.
        predicted (Iterable[Categories]): What `predict` returned for them.
        """
        _register_extension()  # a component that was unpickled was not constructed
        labels = self.labels
        for doc, (probabilities, attention) in zip(docs, predicted):
            doc.cats.update(zip(labels, probabilities.tolist()))
            if self.cfg["attention"] and attention is not None:
                doc._.birnn_attention = attention.tolist()

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch. RAISES (ValueError): E010 before initialization."""
        validate_examples(examples, f"{type(self).__name__}.update")
        self._require_weights()
        self.void_calibration()
        return super().update(examples, drop=drop, sgd=sgd, losses=losses)

    def get_loss(  # type: ignore[override]
        self, examples: Iterable[Example], scores: Any
    ) -> Tuple[float, np.ndarray]:
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
        gold = self.gold_mask(examples)
        rate = self.cfg["label_smoothing"]
        check_smoothing(rate, gold.shape[2], where=self.name)
        one = gold.sum(axis=2) == 1
        weights = np.array([(self.cfg["class_weights"] or {}).get(lb, 1.0) for lb in self.labels])
        weight = np.where(one, (gold * self.choices(weights[None], 1.0)).sum(axis=2), 1.0)
        weight[gold.all(axis=2)] = 0.0
        moved = np.where(gold, -rate, rate / max(1, gold.shape[2] - 1)) * one[..., None]
        total, gradients = 0.0, []
        for logits in self._finite(scores.parts):
            # What it says, given what is known
            target = np.exp(_log_softmax(np.where(gold, self.choices(logits), -np.inf)))
            loss, d_logits = self._divergence(logits, target + moved, weight)
            total += loss
            gradients.append(d_logits)
        return total, np.stack(gradients)

    def drift(self, docs: List[Doc], scores: Any, teacher: Any) -> Tuple[float, np.ndarray]:
        """How far the probabilities are from the earlier ones, part by part; see `Rehearsing`."""
        # Of labels added since, the earlier model has no opinion
        known = slice(teacher.logits.shape[1])
        parts = self._finite(scores.parts)
        total, d_parts = 0.0, np.zeros_like(parts)
        for logits, earlier, d_logits in zip(parts, teacher.parts, d_parts):
            target = np.exp(_log_softmax(self.choices(earlier)))
            loss, d_logits[:, known] = self._divergence(logits[:, known], target)
            total += loss
        return total, d_parts

    def evidence(self, examples: List[Example], unknown: Set[str]) -> Evidence:
        # Labels that are not its own may be another classifier's: W004, see `gold_mask`
        self._require_weights()
        self._validate_categories(examples)
        logits = self._finite(self.model.predict([eg.predicted for eg in examples]).logits)
        gold = self.gold_mask(examples)
        return Evidence(int((~gold.all(axis=(1, 2))).sum()), logits, gold)

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        log_p = _log_softmax(self.choices(evidence.scores / temperature))
        return -float(np.logaddexp.reduce(np.where(evidence.gold, log_p, -np.inf), axis=2).sum())

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """The most probable outcome of each choice whose right one is known: of exclusive classes
        the label, of independent ones yes or no for each label."""
        log_p = _log_softmax(self.choices(evidence.scores / settings["temperature"]))
        best = log_p.argmax(axis=2)[..., None]
        known = evidence.gold.sum(axis=2) == 1
        confidence, right = (
            np.take_along_axis(values, best, axis=2)[..., 0][known]
            for values in (np.exp(log_p), evidence.gold)
        )
        return Decisions(confidence, right)

    def gold_mask(self, examples: List[Example]) -> np.ndarray:
        """The outcomes that agree with the annotation; all of a choice where it has none. Labels
        that are not its own, such as those of another classifier, are left out as in spaCy, which
        is reported once (W004).

        RETURNS (np.ndarray): bool, shape (documents, choices, outcomes), see `choices`.
        """
        mask = np.zeros((len(examples), 1, len(self.labels)), dtype=bool)
        for row, eg in zip(mask[:, 0], examples):
            cats = eg.reference.cats
            has_other = self._has_other(cats)
            right = [bool(cats.get(label, False)) for label in self.labels]
            if sum(right) > 1:
                raise ValueError(Errors.E036.format(name=self.name, value=cats))
            if any(right):
                row[:] = right
            elif has_other:
                # That one is: nothing is known of those that the component has
                row[:] = True
            else:
                # It is one of those that are not marked as wrong
                row[:] = [label not in cats for label in self.labels]
                if not row.any():
                    raise ValueError(Errors.E035.format(name=self.name, value=cats))
        return mask

    def choices(self, values: np.ndarray, other: float = 0.0) -> np.ndarray:
        """Arrange what belongs to labels, shape (documents, labels), by the choices that are made
        for a document: shape (documents, choices, outcomes). Here it is one choice, of a label.

        other (float): The value of an outcome that is no label.
        """
        return values[:, None]

    def labelled(self, outcomes: np.ndarray) -> np.ndarray:
        """The way back: (documents, choices, outcomes) -> (documents, labels)."""
        return outcomes[:, 0]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The probability of each label: shape (documents, labels), as the logits."""
        return self.labelled(np.exp(_log_softmax(self.choices(logits))))

    def _divergence(
        self, logits: np.ndarray, target: np.ndarray, weight: Any = 1.0
    ) -> Tuple[float, np.ndarray]:
        """The Kullback-Leibler divergence of the model's distribution from the target, summed over
        all choices, and its gradient with respect to the logits. Where the target is what the
        model says given some annotation, that is the annotation's negative log-likelihood.

        target (np.ndarray): Shape (documents, choices, outcomes), sums to 1 in each choice.
        weight (ArrayXd): What each choice counts, shape (documents, choices).
        """
        weight = np.broadcast_to(weight, target.shape[:2])[..., None]
        log_p = _log_softmax(self.choices(logits))
        log_target = np.log(np.maximum(target, np.finfo(target.dtype).tiny))
        loss = (weight * target * (log_target - log_p)).sum()
        return float(loss), self.labelled(weight * (np.exp(log_p) - target)).astype("f")

    def add_label(self, label: str) -> int:
        """Add a label. RETURNS (int): 1, or 0 if the label was there.

        RAISES (ValueError): E023 for an empty label.
        """
        if label == "":
            raise ValueError(Errors.E023.format(name=self.name, value=label))
        return super().add_label(label)

    def _check_data(self, get_examples: Callable[[], Iterable[Example]]) -> None:
        """Report what cannot be learned from before training begins."""
        for label in self.cfg["class_weights"] or {}:
            if label not in self.labels:
                known = ", ".join(self.labels)
                raise ValueError(Errors.E034.format(label=label, name=self.name, labels=known))
        n_outcomes = self.gold_mask([]).shape[2]
        check_smoothing(self.cfg["label_smoothing"], n_outcomes, where=self.name)
        for eg in get_examples():
            self._validate_categories([eg])
            self.gold_mask([eg])

    def _validate_categories(self, examples: Iterable[Example]) -> None:
        """Of its own labels: spaCy's method checks those of all classifiers together. How many are
        right is checked by `gold_mask`. RAISES (ValueError): E037."""
        labels = self.labels
        for eg in examples:
            for label in labels:
                value = eg.reference.cats.get(label, 0.0)
                if value not in (0.0, 1.0):
                    raise ValueError(Errors.E037.format(name=self.name, label=label, value=value))

    def _has_other(self, cats: Dict[str, float]) -> bool:
        """Whether a label is right that is not its own."""
        labels = set(self.labels)
        others = [label for label, value in cats.items() if value and label not in labels]
        if others and not self._warned_other:
            self._warned_other = True
            known = ", ".join(self.labels)
            warnings.warn(Warnings.W004.format(label=others[0], name=self.name, labels=known))
        return bool(others)

    def _finite(self, logits: np.ndarray) -> np.ndarray:
        if not np.isfinite(logits).all():
            raise ValueError(Errors.E022.format(name=self.name))
        return logits.astype("float64")


class BiRNNMultiLabelTextCategorizer(BiRNNTextCategorizer, MultiLabel_TextCategorizer):
    """Sets `doc.cats` to the probability of each label, independent of the others (sigmoid). Labels
    and annotation are those of spaCy's `MultiLabel_TextCategorizer`: a label that is not in an
    example's annotation is missing, not wrong. For the settings see `BiRNNTextCategorizer`;
    `threshold` tells the scorer from which probability on a label counts as predicted, and
    `class_weights` how much a document counts that has the label."""

    def initialize(  # type: ignore[override]
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Iterable[str]] = None,
    ) -> None:
        """Initialize the labels and the model. For the arguments see `BiRNNTextCategorizer`."""
        self._check_labels(labels)
        self.void_calibration()
        MultiLabel_TextCategorizer.initialize(self, get_examples, nlp=nlp, labels=labels)
        self._check_data(get_examples)

    def gold_mask(self, examples: List[Example]) -> np.ndarray:
        mask = np.ones((len(examples), len(self.labels), 2), dtype=bool)
        for row, eg in zip(mask, examples):
            cats = eg.reference.cats
            self._has_other(cats)
            for outcomes, label in zip(row, self.labels):
                if label in cats:
                    outcomes[:] = (not cats[label], bool(cats[label]))
        return mask

    def choices(self, values: np.ndarray, other: float = 0.0) -> np.ndarray:
        """Here there is a choice for each label: no or yes."""
        return np.stack([np.full_like(values, other), values], axis=2)

    def labelled(self, outcomes: np.ndarray) -> np.ndarray:
        return outcomes[:, :, 1]


def _register_extension() -> None:
    """How much each token of a document counted, a list of numbers that sum to 1, can be read and
    set as doc._.birnn_attention. It is in doc.user_data, and so saved with the document."""
    if not Doc.has_extension("birnn_attention"):
        Doc.set_extension("birnn_attention", default=None)


def _log_softmax(values: np.ndarray) -> np.ndarray:
    return values - np.logaddexp.reduce(values, axis=-1, keepdims=True)
