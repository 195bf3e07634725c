"""Probabilities that hold: of what is predicted with 0.8, eight in ten should be right.

A trained network is too sure of itself. After training, each component's scores are divided by a
temperature that makes held-out annotation most likely (Guo et al. 2017,
https://arxiv.org/abs/1706.04599). One number for all scores leaves their order, and so which
labelling is the best, as it was. `birnn_ner` fits its threshold in the same step, and a map from
the probability of an entity to how often such an entity is right.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Protocol, Tuple
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike
from spacy.language import Language
from spacy.training import Example, validate_examples
from spacy.util import logger, minibatch
from wasabi import table

from ..errors import BirnnError, Errors, Warnings

N_BINS = 15
# The least and the highest temperature that are looked at
TEMPERATURES = (0.1, 10.0)
# A temperature is fitted to about this many documents at least
ENOUGH = 1000
# Fewer predictions than this say little
FEW = 100
# A component that is right this often, and could be surer still, has seen the documents before
SUSPICIOUS = 0.95
# As many labels a warning lists
FEW_LABELS = 10
# Closer to 0 or 1 a probability has no logarithm that could be used
TINY = 1e-12


class Decisions(NamedTuple):
    """What a component decided of documents whose annotation is known.

    confidence (np.ndarray): The probability that it gave to each decision.
    right (np.ndarray): Whether the annotation agrees, bool, the same shape.
    """

    confidence: np.ndarray
    right: np.ndarray


@dataclass
class Reliability:
    """How well the probabilities of a component hold. Its text is a table.

    expected (np.ndarray): Mean probability of the decisions in each of fifteen bins of equal width
        from 0 to 1, shape (15,); 0 for an empty bin.
    observed (np.ndarray): The share of them that is right.
    count (np.ndarray): Their number.
    ece (float): The expected calibration error: the mean distance of the two, weighted by the
        number (Naeini et al. 2015, https://ojs.aaai.org/index.php/AAAI/article/view/9602).
    brier (float): The mean of (probability - right)^2 (Brier 1950).
    temperature (float): What the scores are divided by.
    threshold (Optional[float]): The threshold that was fitted; None where there is none.
    """

    expected: np.ndarray
    observed: np.ndarray
    count: np.ndarray
    ece: float
    brier: float
    temperature: float
    threshold: Optional[float] = None

    def __str__(self) -> str:
        edges = np.linspace(0, 1, N_BINS + 1)
        rows = [
            (f"{low:.2f}-{high:.2f}", n, f"{expected:.3f}", f"{observed:.3f}")
            for low, high, n, expected, observed in zip(
                edges, edges[1:], self.count.tolist(), self.expected, self.observed
            )
            if n
        ]
        header = ("Probability", "Number", "Expected", "Observed")
        fitted = f"temperature {self.temperature:.3f}"
        if self.threshold is not None:
            fitted += f", threshold {self.threshold:.3f}"
        found = f"expected calibration error {self.ece:.4f}, Brier score {self.brier:.4f}, {fitted}"
        return table(rows, header=header, divider=True, aligns=("l", "r", "r", "r")) + found


class Evidence(NamedTuple):
    """A batch as a component's model scores it, and what the annotation says.

    n_docs (int): Number of documents that have annotation.
    scores (Any): The model's output, at temperature 1.
    gold (np.ndarray): What the annotation says. Of token labels the outcomes that agree with it,
        bool, as `gold_mask`; none where it has a label that the component does not.
    allowed (Optional[np.ndarray]): The outcomes possible at all. None: all.
    """

    n_docs: int
    scores: Any
    gold: np.ndarray
    allowed: Optional[np.ndarray] = None


class Calibrated(Protocol):
    """What a component does so that its probabilities can be calibrated. What is fitted is in its
    `cfg` and so is saved with it; what it fits is named by its `unfitted`."""

    name: str
    cfg: Dict[str, Any]
    unfitted: Dict[str, Any]
    labels: Any

    def evidence(self, examples: List[Example], unknown: set) -> Evidence:
        """Score a batch and read its annotation.

        examples (List[Example]): The batch. The documents are as the component gets them.
        unknown (Set[str]): Collects labels that the component does not have.
        """

    def loss_at(self, evidence: Evidence, temperature: float) -> float:
        """The negative log-likelihood of the annotation at a temperature, summed over a batch."""

    def decisions(self, evidence: Evidence, settings: Dict[str, Any]) -> Decisions:
        """What the component decides with the settings, where the annotation says what is right."""

    def fit(self, evidence: List[Evidence]) -> Dict[str, Any]:
        """The settings that suit the evidence, one item a batch. It changes nothing."""


def calibrate(
    nlp: Language, examples: Iterable[Example], *, pipes: Optional[Iterable[str]] = None
) -> Dict[str, Reliability]:
    """Calibrate the components of a trained pipeline, and report how well their probabilities then
    hold on the same documents. Nothing is changed unless all can be calibrated.

    nlp (Language): The pipeline.
    examples (Iterable[Example]): Held-out documents with annotation, such as the development part.
        On the training data a component is right nearly always, which says nothing of new texts.
    pipes (Optional[Iterable[str]]): The names of the components. None: all those that can be
        calibrated and have annotation in the documents.
    RETURNS (Dict[str, Reliability]): A report by the component's name.
    RAISES (ValueError): E028 for a component (or all) without annotation, E029 for one that cannot
        be calibrated.
    """
    evidence = _collect(nlp, examples, pipes)
    fitted = {name: _pipe(nlp, name).fit(parts) for name, parts in evidence.items()}
    reports = {}
    for name, parts in evidence.items():
        found = _decisions(_pipe(nlp, name), parts, fitted[name])
        reports[name] = report(found, fitted[name])
        n_docs, n, right = sum(part.n_docs for part in parts), len(found.right), found.right.sum()
        if n_docs < 2 or n < FEW:
            warn(Warnings.W006.format(name=name, n_docs=n_docs, n=n), stacklevel=2)
        temperature = fitted[name]["temperature"]
        if n and right >= SUSPICIOUS * n and temperature < 1:
            values = {"share": right / n, "temperature": temperature}
            warn(Warnings.W007.format(name=name, **values), stacklevel=2)
    for name, settings in fitted.items():
        _pipe(nlp, name).cfg.update(settings)
    return reports


def reliability(
    nlp: Language, examples: Iterable[Example], *, pipes: Optional[Iterable[str]] = None
) -> Dict[str, Reliability]:
    """How well the probabilities of a pipeline's components hold as they are. For the arguments and
    errors see `calibrate`; nothing is changed."""
    reports = {}
    for name, parts in _collect(nlp, examples, pipes).items():
        pipe = _pipe(nlp, name)
        reports[name] = report(_decisions(pipe, parts, pipe.cfg), pipe.cfg)
    return reports


def report(decisions: Decisions, settings: Dict[str, Any]) -> Reliability:
    """The reliability table of decisions, made with the given settings of a component."""
    confidence, right = decisions
    bins = np.minimum((confidence * N_BINS).astype("int64"), N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    expected, observed = (
        np.bincount(bins, weights=values, minlength=N_BINS) / np.maximum(count, 1)
        for values in decisions
    )
    n = max(1, len(confidence))
    return Reliability(
        expected,
        observed,
        count,
        ece=float((np.abs(expected - observed) * count).sum() / n),
        brier=float(((confidence - right) ** 2).sum() / n),
        temperature=settings["temperature"],
        threshold=settings.get("fitted_threshold"),
    )


def create_calibrate(
    corpus: Callable[[Language], Iterable[Example]], pipes: Optional[List[str]] = None
) -> Callable[[Language], Language]:
    """The callback `spacy-birnn.Calibrate.v1` for [training.before_to_disk]: every pipeline that
    `spacy train` saves is calibrated first.

    corpus (Callable[[Language], Iterable[Example]]): The held-out documents, ${corpora.dev}.
    pipes (Optional[List[str]]): As for `calibrate`.
    """

    def before_to_disk(nlp: Language) -> Language:
        for name, found in calibrate(nlp, corpus(nlp), pipes=pipes).items():
            logger.info("Calibrated '%s':\n%s", name, found)
        return nlp

    return before_to_disk


def temperature_for(pipe: Calibrated, evidence: List[Evidence]) -> float:
    """The temperature that suits a component's evidence, one item a batch."""
    # One number needs no more than some batches
    some = evidence[:: max(1, sum(part.n_docs for part in evidence) // ENOUGH)]
    return fit_temperature(lambda t: sum(pipe.loss_at(part, t) for part in some))


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature from 0.1 to 10 with the least loss, by golden-section search over its
    logarithm, to half a percent. The logarithm has a standard normal prior, which decides only
    where there is next to no data.

    loss (Callable[[float], float]): The negative log-likelihood of all data at a temperature.
    """

    def penalized(log_t: float) -> float:
        return loss(float(np.exp(log_t))) + log_t**2 / 2

    ratio = (5**0.5 - 1) / 2
    low, high = np.log(TEMPERATURES)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = penalized(left), penalized(right)
    while high - low > 0.01:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = penalized(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = penalized(right)
    return float(np.exp((low + high) / 2))


def best_threshold(probabilities: np.ndarray) -> float:
    """The threshold with the highest F1 to expect: half of that F1 (Lipton et al. 2014,
    https://arxiv.org/abs/1402.1892). Setting the k most probable of all spans has the expected F1

        2 * (p_1 + ... + p_k) / (k + sum_i p_i)

    which the next span raises if its probability is more than half of it.

    probabilities (np.ndarray): Calibrated, of all spans that could be set, shape (n,).
    """
    if not len(probabilities):
        return 0.5
    ordered = np.sort(probabilities)[::-1]
    k = np.arange(1, len(ordered) + 1)
    return float((np.cumsum(ordered) / (k + ordered.sum())).max())


def fit_beta(probabilities: np.ndarray, right: np.ndarray) -> List[float]:
    """Fit the map of `calibrated` by logistic regression (Kull et al. 2017,
    https://proceedings.mlr.press/v54/kull17a.html, beta calibration). The parameters have a normal
    prior around the map that changes nothing, (1, 1, 0). As in the paper a negative slope is set
    to 0, so that the map never falls.

    probabilities (np.ndarray): Shape (n,).
    right (np.ndarray): bool, shape (n,).
    RETURNS (List[float]): a, b and c.
    """
    features = _log_odds(probabilities)
    prior = np.array([1.0, 1.0, 0.0])
    slopes = np.array([True, True, False])
    free = np.ones(3, dtype=bool)
    while True:
        weights = _fit_logistic(features, right, prior, free)
        negative = slopes & (weights < 0)
        if not negative.any():
            return weights.tolist()
        free &= ~negative


def calibrated(probabilities: ArrayLike, beta: Optional[List[float]]) -> np.ndarray:
    """Map probabilities to how often such a thing is right:

        sigmoid(a log(p) - b log(1 - p) + c)

    beta (Optional[List[float]]): a, b >= 0, and c. None: leave them as they are.
    """
    p = np.asarray(probabilities, dtype="float64")
    return p if beta is None else _sigmoid(_log_odds(p) @ np.array(beta))


def uncalibrated(values: np.ndarray, beta: Optional[List[float]]) -> np.ndarray:
    """The least probabilities that `calibrated` maps to at least the values."""
    if beta is None:
        return values
    return np.array([_least_probability(value, tuple(beta)) for value in values.tolist()])


@lru_cache(maxsize=256)
def _least_probability(value: float, beta: Tuple[float, ...]) -> float:
    """By bisection, which takes longer than all else that a short text needs."""
    low, high = 0.0, 1.0
    # Some maps end below 1
    if calibrated(high, list(beta)) < value:
        return np.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if calibrated(middle, list(beta)) >= value else (middle, high)
    return high


def _collect(
    nlp: Language, examples: Iterable[Example], pipes: Optional[Iterable[str]]
) -> Dict[str, List[Evidence]]:
    """The evidence for each component, whose documents have been through those before it."""
    examples = list(examples)
    validate_examples(examples, "calibrate")
    examples = [Example(eg.x.copy(), eg.y) for eg in examples]
    able = [name for name, pipe in nlp.pipeline if hasattr(pipe, "evidence")]
    names = able if pipes is None else [pipes] if isinstance(pipes, str) else list(pipes)
    for name in names:
        if name not in able:
            raise BirnnError(Errors.E029.format(name=name, able=", ".join(able) or "none"))
    evidence: Dict[str, List[Evidence]] = {}
    last = max((nlp.pipe_names.index(name) for name in names), default=-1)
    for i, name in enumerate(nlp.pipe_names[: last + 1]):
        if name in names:
            parts = _evidence(_pipe(nlp, name), examples, nlp.batch_size)
            if any(part.n_docs for part in parts):
                evidence[name] = parts
            elif pipes is not None:
                raise BirnnError(Errors.E028.format(names=f"'{name}'", n=len(examples)))
        if i < last:
            with nlp.select_pipes(enable=[name]):
                # With their examples: an error handler may leave documents out
                pairs = nlp.pipe([(eg.predicted, eg) for eg in examples], as_tuples=True)
                for doc, eg in pairs:
                    eg.predicted = doc
    if not evidence:
        listed = ", ".join(f"'{name}'" for name in able) or "any component"
        raise BirnnError(Errors.E028.format(names=listed, n=len(examples)))
    return evidence


def _evidence(pipe: Calibrated, examples: List[Example], batch_size: int) -> List[Evidence]:
    unknown: set = set()
    parts = [pipe.evidence(batch, unknown) for batch in minibatch(examples, batch_size)]
    if unknown:
        # There may be hundreds, of morphology
        values = {"labels": _listed(sorted(unknown)), "known": _listed(list(pipe.labels))}
        warn(Warnings.W008.format(name=pipe.name, **values), stacklevel=4)
    return parts


def _listed(labels: List[str]) -> str:
    more = f" and {len(labels) - FEW_LABELS} more" if len(labels) > FEW_LABELS else ""
    return ", ".join(labels[:FEW_LABELS]) + more


def _pipe(nlp: Language, name: str) -> Calibrated:
    return nlp.get_pipe(name)  # type: ignore[return-value]


def _decisions(pipe: Calibrated, evidence: List[Evidence], settings: Dict[str, Any]) -> Decisions:
    parts = [pipe.decisions(part, settings) for part in evidence]
    return Decisions(*(np.concatenate(values) for values in zip(*parts)))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    """The logarithms of p and 1 - p, for `calibrated`, and 1: shape (n, 3)."""
    p = np.clip(probabilities, TINY, 1 - TINY)
    return np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=-1)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -values))


def _fit_logistic(
    features: np.ndarray, right: np.ndarray, prior: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Logistic regression with a standard normal prior, by Newton's method with a step that is
    halved until it helps. Weights that are not free are 0."""

    def loss(weights: np.ndarray) -> float:
        values = features @ weights
        return (np.logaddexp(0, values) - right * values).sum() + ((weights - prior) ** 2).sum() / 2

    weights = np.where(free, prior, 0.0)
    for _ in range(50):
        p = _sigmoid(features @ weights)
        gradient = (features.T @ (p - right) + weights - prior)[free]
        curvature = (features.T * (p * (1 - p))) @ features + np.eye(len(prior))
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient)
        now = loss(weights)
        while loss(weights - step) > now and np.abs(step).max() > 1e-8:
            step /= 2
        weights = weights - step
        if np.abs(step).max() <= 1e-8:
            break
    return weights
