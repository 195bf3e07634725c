"""Linear-chain inference on arrays: a conditional random field's partition function, marginals,
best path and gradients (Lafferty et al. 2001; Rabiner 1989 for the scaled recursions).

Pure functions of scores, with no parameters of their own. A labelling y of a sequence of n tokens
scores

    s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_n]

and has the probability exp(s(y)) / Z, where Z sums exp(s) over all labellings that are allowed. An
illegal start, transition or end scores -inf. What is known of a token beforehand (its annotation,
an entity set by an earlier component) is a mask of the labels it may take. Without transitions
the tokens are independent, and everything here is the softmax.

The recursions run in probability space, normalised every few steps, in float64: a matrix product
a step, for all sequences of the batch at once. Where float64 could not hold what a step multiplies,
they run in log space, which takes several times as long and is exact for scores of any size.
Independent labels, which multiply nothing along the sequence, keep the precision of the scores. The
steps are many and small, so they stay on the CPU (numpy) wherever the network runs. No function
needs more than a fixed amount of memory beside arrays of the size of its scores.
"""

import sys
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np

from .layers.packing import BothWays, TimeMajor

# The least logarithm of a factor that the recursions in probability space may meet, and of a
# normalised variable: float64 holds the product of two, and many times that
LEAST = -340.0
# Divides a sum that may be 0; any other is far above it
TINY = 1e-300
# The least factor as it is
SAFE = float(np.exp(LEAST))
# The steps between two normalisations: enough for scores of most models, and enough for any
SCALE_EVERY = (32, 1)
# Numbers that are worked on together where each token and pair of labels has one: few enough to
# stay in a processor's cache
BLOCK = 2**16


@dataclass
class SequenceScores:
    """What a tagging head says of a batch, or the gradient of a loss with respect to it.

    emissions (np.ndarray): Shape (tokens, labels), all sequences one after the other.
    lengths (np.ndarray): Tokens of each sequence, shape (sequences,), each >= 0.
    transitions (Optional[np.ndarray]): Shape (labels, labels), from row to column. None: the
        labels of a sequence are independent.
    start (Optional[np.ndarray]): Score of each label at the first token, shape (labels,).
    end (Optional[np.ndarray]): Score of each label at the last token, shape (labels,).
    """

    emissions: np.ndarray
    lengths: np.ndarray
    transitions: Optional[np.ndarray] = None
    start: Optional[np.ndarray] = None
    end: Optional[np.ndarray] = None

    def constrained(self, legal: "Legal") -> "SequenceScores":
        """The same scores, but -inf for what the scheme forbids. Absent transitions count as 0."""
        own = (self.transitions, self.start, self.end)
        transitions, start, end = (
            np.where(allowed, 0.0 if scores is None else scores, -np.inf)
            for scores, allowed in zip(own, legal)
        )
        return SequenceScores(self.emissions, self.lengths, transitions, start, end)

    @property
    def chain(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Transitions, start and end of dependent labels."""
        return cast(Tuple, (self.transitions, self.start, self.end))

    def tempered(self, temperature: float) -> "SequenceScores":
        """The same scores, divided by a temperature: the higher, the more alike the probabilities.
        Which labelling is the best stays as it is."""
        if temperature == 1.0:
            return self
        emissions = self.emissions / temperature
        if self.transitions is None:
            return SequenceScores(emissions, self.lengths)
        chain = (part / temperature for part in self.chain)
        return SequenceScores(emissions, self.lengths, *chain)

    def padded(self, n_labels: int) -> "SequenceScores":
        """The same scores, with more labels that score 0."""
        more = n_labels - self.emissions.shape[1]
        emissions = np.pad(self.emissions, ((0, 0), (0, more)))
        if self.transitions is None:
            return replace(self, emissions=emissions)
        return replace(
            self,
            emissions=emissions,
            transitions=np.pad(self.transitions, (0, more)),
            start=np.pad(self.chain[1], (0, more)),
            end=np.pad(self.chain[2], (0, more)),
        )


class Legal(NamedTuple):
    """What a tagging scheme allows: bool arrays of shape (labels, labels), (labels,), (labels,)."""

    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclass
class Posterior:
    """The distribution over labellings, given scores and a mask.

    marginals (np.ndarray): Probability of each label at each token, shape (tokens, labels); 0
        throughout a sequence that allows no labelling.
    log_z_of (Callable[[], np.ndarray]): Computes `log_z`, which few ask for.
    chain (Optional[Chain]): What only dependent labels have.
    """

    marginals: np.ndarray
    log_z_of: Callable[[], np.ndarray]
    chain: Optional["Chain"] = None

    @cached_property
    def log_z(self) -> np.ndarray:
        """Logarithm of the partition function, shape (sequences,); -inf where no labelling is
        allowed, 0 for an empty sequence."""
        return self.log_z_of()

    def span(self, start: int, labels: Sequence[int]) -> float:
        """The exact probability that the tokens from a row on all carry the given labels, at least
        one, over all labellings of the rest. Only of dependent labels."""
        probability = self.marginals[start, labels[0]]
        for row, (before, label) in enumerate(zip(labels, labels[1:]), start=start + 1):
            if not probability:
                break
            probability *= cast(Chain, self.chain).after(row, before)[label]
        return min(1.0, float(probability))


@dataclass
class Chain:
    """The variables of forward-backward: as they are, or their logarithms.

    lengths (np.ndarray): Tokens of each sequence, shape (sequences,).
    marginals (np.ndarray): As in `Posterior`.
    move (np.ndarray): The factors of the transitions, shape (labels, labels).
    alpha, beta, behind (np.ndarray): Shape (tokens, labels), such that alpha * beta are the
        marginals, beta[t] = move @ behind[t + 1], and behind[t] is proportional to beta[t] times
        the factors of the emissions.
    is_log (bool): Whether the last four are logarithms.
    """

    lengths: np.ndarray
    marginals: np.ndarray
    move: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    behind: np.ndarray
    is_log: bool = False

    def after(self, row: int, before: int) -> np.ndarray:
        """The probability of each label at a token that is not the first of its sequence, shape
        (labels,), given that of the token before, which must be possible there."""
        move, behind, beta = self.move[before], self.behind[row], self.beta[row - 1, before]
        return np.exp(move + behind - beta) if self.is_log else move * behind / beta

    @cached_property
    def transitions(self) -> np.ndarray:
        """Expected number of each transition over the batch, shape (labels, labels)."""
        is_before = np.ones(len(self.marginals), dtype=bool)
        is_before[_last_rows(self.lengths)] = False
        rows = np.flatnonzero(is_before)
        if not self.is_log:
            return self.move * (self.alpha[rows].T @ self.behind[rows + 1])
        total, size = np.zeros_like(self.move), _block(self.move.size)
        for i in range(0, len(rows), size):
            part = rows[i : i + size]
            pairs = self.alpha[part, :, None] + self.move + self.behind[part + 1][:, None]
            total += np.exp(pairs).sum(axis=0)
        return total

    @property
    def start(self) -> np.ndarray:
        """Expected number of each label at a first token, shape (labels,)."""
        return self.marginals[_first_rows(self.lengths)].sum(axis=0)

    @property
    def end(self) -> np.ndarray:
        """Expected number of each label at a last token, shape (labels,)."""
        return self.marginals[_last_rows(self.lengths)].sum(axis=0)


class KBest(NamedTuple):
    """The best labellings of one sequence, the most probable first.

    labels (np.ndarray): int64, shape (labellings, tokens).
    log_probs (np.ndarray): Logarithm of the probability of each, shape (labellings,).
    """

    labels: np.ndarray
    log_probs: np.ndarray


def posterior(scores: SequenceScores, allowed: Optional[np.ndarray] = None) -> Posterior:
    """Forward-backward.

    scores (SequenceScores): The scores of the batch.
    allowed (Optional[np.ndarray]): Labels that each token may take, bool, shape (tokens, labels).
        None: any.
    RETURNS (Posterior): Marginals, log Z, expected counts and the probabilities of spans.
    """
    if scores.transitions is None:
        return _independent(scores, allowed)
    emissions = scores.emissions.astype("float64")
    if allowed is not None:
        emissions[~allowed] = -np.inf
    # Finite also where no label is allowed
    shift = emissions.max(axis=1, initial=-sys.float_info.max)
    emissions -= shift[:, None]
    return _scaled(scores, emissions, shift) or _logarithmic(scores, emissions, shift)


def _independent(scores: SequenceScores, allowed: Optional[np.ndarray]) -> Posterior:
    """A softmax for each token. Nothing is multiplied along the sequence, so the precision of the
    scores is enough."""
    marginals = scores.emissions.copy()
    if allowed is not None:
        marginals[~allowed] = -np.inf
    shift = _finite(marginals.max(axis=1, keepdims=True, initial=-np.inf))
    marginals -= shift
    np.exp(marginals, out=marginals)
    total = marginals.sum(axis=1, keepdims=True)
    marginals /= _positive(total)
    if not total.all():
        impossible = _sum(scores.lengths, total[:, 0] == 0) > 0
        marginals[_rows_of(scores.lengths, impossible)] = 0.0

    def log_z() -> np.ndarray:
        with np.errstate(divide="ignore"):
            return _sum(scores.lengths, (np.log(total) + shift)[:, 0])

    return Posterior(marginals, log_z)


class _Factors(NamedTuple):
    """The exponentials of the scores of a chain, the largest of each array 1; for reading from the
    start and, second, from the end.

    move (np.ndarray): Shape (2, labels, labels).
    ends (np.ndarray): Where reading begins, shape (2, 1, labels).
    shifts (Tuple[float, float, float]): What was the largest of the transitions, start and end.
    spread (float): The sum of the differences of their largest and least finite scores.
    """

    move: np.ndarray
    ends: np.ndarray
    shifts: Tuple[float, ...]
    spread: float


def _factors(scores: SequenceScores) -> _Factors:
    parts = np.concatenate([part.ravel() for part in scores.chain])
    return _factors_of(parts.astype("float64").tobytes(), len(scores.chain[1]))


@lru_cache(maxsize=16)
def _factors_of(parts: bytes, n: int) -> _Factors:
    """From batch to batch they are the same: they are remembered by what the scores are, so that
    nobody need say that they changed."""
    flat = np.frombuffer(parts)
    chain = flat[: n * n].reshape(n, n), flat[n * n : -n], flat[-n:]
    shifts = tuple(max(float(part.max()), -sys.float_info.max) for part in chain)
    move, start, end = (np.exp(part - largest) for part, largest in zip(chain, shifts))
    spread = sum(_spread(part) for part in chain)
    both = np.stack([move, move.T]), np.stack([start, end])[:, None]
    return _Factors(*both, shifts, spread)


def _scaled(
    scores: SequenceScores, emissions: np.ndarray, shift: np.ndarray
) -> Optional[Posterior]:
    """Forward-backward in probability space. None where something might have become 0 that is not.

    emissions (np.ndarray): The largest of each token is 0.
    shift (np.ndarray): What it was before.
    """
    factors = _factors(scores)
    least = emissions.min(initial=0.0, where=emissions > -np.inf)
    if not len(emissions) or factors.spread - least > -LEAST:
        return None
    order = BothWays(scores.lengths)
    emit = np.empty((2 * len(emissions), emissions.shape[1]))
    emit[order.forward] = emit[order.backward] = np.exp(emissions)
    for every in SCALE_EVERY:
        reached, states, scale = _read(emit, factors, order, every)
        alpha, beta = states[order.forward], reached[order.backward]
        total = np.einsum("ij,ij->i", alpha, beta)
        # Each factor is at least exp(LEAST): what became 0 was too small for that at the step
        # before. The total is 0 also where no labelling is allowed
        lost = np.count_nonzero((states < SAFE) & (states > 0))
        if not lost and total.min() >= SAFE**2:
            break
    else:
        return None
    alpha /= total[:, None]
    marginals = alpha * beta

    def log_z() -> np.ndarray:
        last, (move, start, end) = _last_rows(scores.lengths), factors.shifts
        parts = np.log(scale[order.forward]) + shift
        parts[last] += np.log(total[last]) + start + end
        return _sum(scores.lengths, parts) + np.maximum(scores.lengths - 1, 0) * move

    chain = Chain(scores.lengths, marginals, factors.move[0], alpha, beta, states[order.backward])
    return Posterior(marginals, log_z, chain)


def _read(
    emit: np.ndarray, factors: _Factors, order: BothWays, every: int
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the tokens read before each one say of its label; the same with its own emissions, both
    of shape (2 * tokens, labels); and what that was divided by, shape (2 * tokens,). At every so
    many steps it is made to sum to 1."""
    reached, states, scale = np.empty_like(emit), np.empty_like(emit), np.ones(len(emit))
    into, now, own, scales = map(order.steps, (reached, states, emit, scale[:, None]))
    into[0][:], move = factors.ends, factors.move
    np.multiply(into[0], own[0], out=now[0])
    steps = zip(order.before(now), into[1:], now[1:], own[1:])
    for t, (state_before, read, state, factor) in enumerate(steps, start=1):
        np.matmul(state_before, move, out=read)
        np.multiply(read, factor, out=state)
        if t % every == 0:
            total = np.add.reduce(state, axis=2, keepdims=True)
            scales[t][:] = total
            state /= np.maximum(total, TINY)
    return reached, states, scale


def _logarithmic(scores: SequenceScores, emissions: np.ndarray, shift: np.ndarray) -> Posterior:
    """The same in log space."""
    order = TimeMajor(scores.lengths)
    emissions = emissions[order.rows]
    move, start, end = (part.astype("float64") for part in scores.chain)
    steps = order.steps(_block(emissions.shape[1] ** 2))
    alpha, scale = np.empty_like(emissions), np.empty((len(emissions), 1))
    for now, before in steps:
        # (sequences, label before, label)
        reached = start if before is None else _log_sum(alpha[before, :, None] + move, axis=1)
        state = reached + emissions[now]
        scale[now] = _log_sum(state, axis=1)[:, None]
        alpha[now] = state - _finite(scale[now])
    finish = _log_sum(alpha[order.last] + end, axis=1)[:, None]

    behind = emissions - _finite(scale)
    beta = np.empty_like(emissions)
    beta[order.last] = np.where(finish > -np.inf, end - _finite(finish), -np.inf)
    for now, before in reversed(steps):
        behind[now] += beta[now]
        if before is not None:
            beta[before] = _log_sum(move + behind[now][:, None], axis=2)
    scale[order.last] += finish
    alpha, beta, behind, scale = (part[order.places] for part in (alpha, beta, behind, scale))
    marginals = np.exp(alpha + beta)
    chain = Chain(scores.lengths, marginals, move, alpha, beta, behind, is_log=True)
    return Posterior(marginals, lambda: _sum(scores.lengths, scale[:, 0] + shift), chain)


def viterbi(
    scores: SequenceScores,
    allowed: Optional[np.ndarray] = None,
    marginals: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The best labelling of each sequence (Viterbi 1967). A tie goes to the lower label.

    scores (SequenceScores): The scores of the batch.
    allowed (Optional[np.ndarray]): Labels that each token may take, bool, shape (tokens, labels).
    marginals (Optional[np.ndarray]): Those of `posterior`, where they are known: they spare most
        sequences the search.
    RETURNS (np.ndarray): The label of each token, int64, shape (tokens,).
    """
    if marginals is not None:
        labels = marginals.argmax(axis=1)
        # The labelling of the most probable labels misses at most the sum of what each misses; one
        # that has more than half of the probability is the best
        open_ = _sum(scores.lengths, 1 - marginals.max(axis=1)) > 0.49
        if open_.any():
            rows = _rows_of(scores.lengths, open_)
            part = replace(scores, emissions=scores.emissions[rows], lengths=scores.lengths[open_])
            labels[rows] = viterbi(part, None if allowed is None else allowed[rows])
        return labels
    emissions = scores.emissions
    if allowed is not None:
        emissions = np.where(allowed, emissions, -np.inf)
    if scores.transitions is None or not len(emissions):
        return emissions.argmax(axis=1)
    order, n_labels = TimeMajor(scores.lengths), emissions.shape[1]
    best = emissions[order.rows].astype("float64")
    best[order.first] += scores.start
    into = np.ascontiguousarray(scores.transitions.T, dtype="float64")
    # The label before, on the best path to each label
    came = np.empty(best.shape, dtype="int64")
    steps, most = order.steps(_block(into.size)), len(order.sequences)
    places = np.arange(0, most * into.size, n_labels).reshape(most, n_labels)
    for now, before in steps:
        if before is not None:
            # (sequences, label, label before)
            paths = best[before, None] + into
            came[now] = paths.argmax(axis=2)
            best[now] += paths.take(came[now] + places[: len(paths)])
    best[order.last] += scores.end
    labels = best.argmax(axis=1)  # right at the last tokens; the others are those that led there
    for now, before in reversed(steps):
        if before is not None:
            labels[before] = came.take(labels[now] + n_labels * np.arange(now.start, now.stop))
    return labels[order.places]


def k_best(scores: SequenceScores, k: int, allowed: Optional[np.ndarray] = None) -> List[KBest]:
    """The k best labellings of each sequence with their probabilities, by the list Viterbi
    algorithm (Seshadri and Sundberg 1994, https://doi.org/10.1109/26.280844): where Viterbi keeps
    for each label the best path that ends in it, this keeps the k best. Time is proportional to
    tokens * labels^2 * k (without transitions tokens * labels * k), memory to tokens * labels * k.

    scores (SequenceScores): The scores of the batch.
    k (int): How many labellings, at least 1.
    allowed (Optional[np.ndarray]): Labels that each token may take, bool, shape (tokens, labels).
    RETURNS (List[KBest]): For each sequence its labellings; all that are possible if those are
        fewer than k. The first is that of `viterbi`. A tie goes to the labelling whose last
        differing label is lower. A sequence without tokens has one labelling, the empty one.
    """
    # The difference of large numbers: a probability needs the precision
    emissions = scores.emissions.astype("float64")
    if allowed is not None:
        emissions[~allowed] = -np.inf
    if scores.transitions is None:
        # A constant a token changes no probability, and with 0 for its best label nothing is
        # rounded in the sum of the best labelling
        emissions -= _finite(emissions.max(axis=1, keepdims=True, initial=-np.inf))
    log_z = posterior(replace(scores, emissions=emissions)).log_z
    found = []
    for rows, total in zip(np.split(emissions, np.cumsum(scores.lengths)[:-1]), log_z.tolist()):
        if len(rows) and total > -np.inf:
            labels, values = _list_viterbi(scores, rows, k)
            found.append(KBest(labels, np.minimum(values - total, 0.0)))
        else:
            possible = int(total > -np.inf)
            found.append(KBest(np.zeros((possible, len(rows)), "int64"), np.zeros(possible)))
    return found


def _list_viterbi(
    scores: SequenceScores, emissions: np.ndarray, k: int
) -> Tuple[np.ndarray, np.ndarray]:
    """The k best labellings of one sequence of at least one token, which allows some, from its
    emissions, shape (tokens, labels): int64, shape (labellings, tokens), and the score of each."""
    n_labels = emissions.shape[1]
    if scores.transitions is None:
        # Whatever the label, the same paths are best before it: one row stands for all
        into, start, end = np.zeros((1, n_labels)), np.zeros(n_labels), np.zeros(n_labels)
    else:
        into, start, end = scores.transitions.T, scores.chain[1], scores.chain[2]
    # best[y, r] is the score of the path that comes r-th among those that end in the label y, and
    # y * ranks + r its number
    best = (emissions[0] + start)[:, None]
    pointers = []
    for row in emissions[1:]:
        ranks = best.shape[1]
        paths, values = _best_into(best, into, k)
        pointers.append((paths.astype("int32"), ranks))
        best = values + row[:, None]
    paths, values = _best_into(best + end[:, None], np.zeros((1, n_labels)), k)
    labels = np.empty((paths.shape[1], len(emissions)), dtype="int64")
    chosen, ranks = paths[0], best.shape[1]
    for t in range(len(emissions) - 1, 0, -1):
        labels[:, t], rank = np.divmod(chosen, ranks)
        before, ranks = pointers[t - 1]
        chosen = np.broadcast_to(before, (n_labels, before.shape[1]))[labels[:, t], rank]
    labels[:, 0] = chosen
    return labels, values[0]


def _best_into(best: np.ndarray, into: np.ndarray, k: int) -> Tuple[np.ndarray, np.ndarray]:
    """The numbers and the scores of the k best paths that end in each label, the best first and of
    equal ones the lower number. Columns of the result with nothing but -inf are left out.

    best (np.ndarray): The scores of the paths that end in the label before, shape (labels, ranks).
    into (np.ndarray): What each label adds to them, shape (labels, labels before).
    """
    size = _block(best.size)
    parts = [
        # (label, label before, rank)
        _largest((best + into[i : i + size, :, None]).reshape(-1, best.size), k)
        for i in range(0, len(into), size)
    ]
    paths, values = (np.concatenate(part) for part in zip(*parts))
    some = int((values > -np.inf).sum(axis=1).max())
    return paths[:, :some], values[:, :some]


def _largest(values: np.ndarray, k: int) -> Tuple[np.ndarray, np.ndarray]:
    """The columns of the k largest values of each row and these values, the largest first and of
    equal ones the lower column."""
    k = min(k, values.shape[1])
    least = np.partition(values, -k, axis=1)[:, -k, None]
    chosen, ties = values > least, values == least
    room = k - chosen.sum(axis=1, keepdims=True)
    chosen |= ties & (ties.cumsum(axis=1) <= room)
    columns = np.nonzero(chosen)[1].reshape(-1, k)
    largest = np.take_along_axis(values, columns, axis=1)
    order = np.argsort(-largest, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(largest, order, axis=1)


def loss(
    scores: SequenceScores, gold: np.ndarray, allowed: Optional[np.ndarray] = None
) -> Tuple[float, SequenceScores]:
    """Negative log-likelihood of an annotation that need not be complete, and its gradient:

        loss = log Z(allowed) - log Z(allowed and gold)
        gradient = marginals(allowed) - marginals(allowed and gold)

    scores (SequenceScores): The scores of the batch.
    gold (np.ndarray): Labels that agree with the annotation, bool, shape (tokens, labels). A fully
        annotated token has one; a token without annotation has all.
    allowed (Optional[np.ndarray]): Labels possible at all, bool, shape (tokens, labels).
    RETURNS (Tuple[float, SequenceScores]): The sum over the batch, and the gradient. A sequence
        whose annotation is impossible adds nothing to either.
    """
    agreeing = posterior(scores, gold if allowed is None else gold & allowed)
    possible = np.isfinite(agreeing.log_z)
    every = allowed
    if not possible.all():
        # No labelling allowed on both sides: the sequence drops out of the expectations too
        every = np.ones_like(gold) if allowed is None else allowed.copy()
        every[_rows_of(scores.lengths, ~possible)] = False
    all_paths = posterior(scores, every)
    value = (all_paths.log_z[possible] - agreeing.log_z[possible]).sum()
    return float(value), _difference(scores, all_paths, agreeing)


def divergence(
    scores: SequenceScores, teacher: SequenceScores, allowed: Optional[np.ndarray] = None
) -> Tuple[float, SequenceScores]:
    """How far the distribution of `scores` is from that of a teacher over whole labellings,
    KL(teacher || scores), and its gradient with respect to `scores`: the difference of the expected
    counts (of an exponential family).

    RETURNS (Tuple[float, SequenceScores]): The sum over the batch, and the gradient.
    """
    # The difference of large numbers: a small divergence needs the precision
    scores, teacher = (
        replace(part, emissions=part.emissions.astype("float64")) for part in (scores, teacher)
    )
    mine, theirs = posterior(scores, allowed), posterior(teacher, allowed)
    possible = np.isfinite(mine.log_z)
    value = (mine.log_z[possible] - theirs.log_z[possible]).sum()
    value += _expected(teacher, theirs) - _expected(scores, theirs)
    return float(value), _difference(scores, mine, theirs)


def _spread(part: np.ndarray) -> float:
    """The difference of the largest and the least finite score."""
    finite = part[part > -np.inf]
    return float(finite.max() - finite.min()) if len(finite) else 0.0


def _block(each: int) -> int:
    """How many things to work on together that have so many numbers each."""
    return max(1, BLOCK // each)


def _difference(scores: SequenceScores, first: Posterior, second: Posterior) -> SequenceScores:
    emissions = (first.marginals - second.marginals).astype("float32", copy=False)
    if first.chain is None or second.chain is None:
        return SequenceScores(emissions, scores.lengths)
    return SequenceScores(
        emissions,
        scores.lengths,
        (first.chain.transitions - second.chain.transitions).astype("float32"),
        (first.chain.start - second.chain.start).astype("float32"),
        (first.chain.end - second.chain.end).astype("float32"),
    )


def _expected(scores: SequenceScores, under: Posterior) -> float:
    """The expected score of a labelling under a posterior; what is impossible counts nothing."""
    pairs = [(scores.emissions, under.marginals)]
    if under.chain is not None:
        counts = (under.chain.transitions, under.chain.start, under.chain.end)
        pairs += zip(scores.chain, counts)
    terms = (np.multiply(score, p, out=np.zeros_like(p), where=p > 0) for score, p in pairs)
    return sum(float(term.sum()) for term in terms)


def _sum(lengths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of each sequence's values, shape (sequences,), from those of its tokens."""
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    # bincount forgets the type of the weights where there are none
    return np.bincount(sequence, weights=values, minlength=len(lengths)).astype("float64")


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """log sum exp along an axis."""
    shift = _finite(values.max(axis=axis, keepdims=True, initial=-np.inf))
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - shift).sum(axis=axis)) + np.squeeze(shift, axis)


def _first_rows(lengths: np.ndarray) -> np.ndarray:
    return (np.cumsum(lengths) - lengths)[lengths > 0]


def _last_rows(lengths: np.ndarray) -> np.ndarray:
    return (np.cumsum(lengths) - 1)[lengths > 0]


def _rows_of(lengths: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.repeat(chosen, lengths)


def _finite(shift: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(shift), shift, 0.0)


def _positive(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)
