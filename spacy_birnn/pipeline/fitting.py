"""The numbers that make probabilities hold, fitted to what was predicted and what was right: a
temperature, a map from probability to confidence, and the threshold for the best F1."""

from functools import lru_cache
from typing import Callable, List, Optional, Tuple

import numpy as np
from numpy.typing import ArrayLike

# The least and the highest temperature that are looked at
TEMPERATURES = (0.1, 10.0)
# Closer to 0 or 1 a probability has no logarithm that could be used
TINY = 1e-12


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
    return p if beta is None or not p.size else _sigmoid(_log_odds(p) @ np.array(beta))


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


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    """The logarithms of p and 1 - p, for `calibrated`, and 1: shape (n, 3)."""
    features = np.ones((*probabilities.shape, 3))
    p = np.minimum(np.maximum(probabilities, TINY), 1 - TINY)
    features[..., 0], features[..., 1] = np.log(p), -np.log1p(-p)
    return features


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
