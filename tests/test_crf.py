"""Inference against the enumeration of all labellings, gradients against finite differences."""

import tracemalloc
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spacy_birnn import crf
from spacy_birnn.crf import Legal, SequenceScores
from spacy_birnn.pipeline.labels import EntitySpan, Scheme

PARTS = ("emissions", "transitions", "start", "end")
# Those of a trained model, and more than the exponentials of any float type can hold
SCALES = (2.0, 500.0, 1e4)


def make_scores(rng, n_labels, lengths, *, scale=2.0, chained=True):
    shapes = {"emissions": (sum(lengths), n_labels), "transitions": (n_labels, n_labels)}
    shapes |= {"start": (n_labels,), "end": (n_labels,)}
    names = PARTS if chained else PARTS[:1]
    parts = {name: rng.uniform(-scale, scale, size=shapes[name]) for name in names}
    return SequenceScores(lengths=np.array(lengths, dtype="int64"), **parts)


@st.composite
def problems(draw, chained=(True, False), forbidden=(True, False)):
    """Scores of a small batch, some of them -inf, and a mask of allowed labels or None."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_labels = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    scale, chained = draw(st.sampled_from(SCALES)), draw(st.sampled_from(chained))
    scores = make_scores(rng, n_labels, lengths, scale=scale, chained=chained)
    if scores.transitions is not None and draw(st.sampled_from(forbidden)):
        for name in PARTS[1:]:
            part = getattr(scores, name)
            part[rng.random(part.shape) < 0.2] = -np.inf
    share = draw(st.sampled_from([None, 0.9, 0.5, 0.0]))
    allowed = None if share is None else rng.random(scores.emissions.shape) < share
    return scores, allowed


def enumerate_paths(scores, allowed=None):
    """For each sequence all labellings that are allowed and possible, with their scores."""
    n_labels = scores.emissions.shape[1]
    for i, length in enumerate(scores.lengths):
        first = scores.lengths[:i].sum()
        rows = range(first, first + length)
        paths = []
        for path in product(range(n_labels), repeat=length):
            if allowed is not None and not all(allowed[row, y] for row, y in zip(rows, path)):
                continue
            total = sum(scores.emissions[row, y] for row, y in zip(rows, path))
            if scores.transitions is not None and path:
                total += scores.start[path[0]] + scores.end[path[-1]]
                total += sum(scores.transitions[a, b] for a, b in zip(path, path[1:]))
            if total > -np.inf:
                paths.append((path, total))
        yield first, paths


def enumerate_posterior(scores, allowed=None):
    """log Z of each sequence, marginals, and the expected counts of transitions, start and end."""
    n_labels = scores.emissions.shape[1]
    log_z, marginals = [], np.zeros(scores.emissions.shape)
    counts = [np.zeros((n_labels, n_labels)), np.zeros(n_labels), np.zeros(n_labels)]
    for first, paths in enumerate_paths(scores, allowed):
        log_z.append(np.logaddexp.reduce([s for _, s in paths]) if paths else -np.inf)
        for path, score in paths:
            p = np.exp(score - log_z[-1])
            marginals[range(first, first + len(path)), path] += p
            for a, b in zip(path, path[1:]):
                counts[0][a, b] += p
            if path:
                counts[1][path[0]] += p
                counts[2][path[-1]] += p
    return np.array(log_z), marginals, counts


def enumerate_loss(scores, gold, allowed=None):
    """The loss of those sequences whose annotation is possible."""
    every, _, _ = enumerate_posterior(scores, allowed)
    agreeing, _, _ = enumerate_posterior(scores, gold if allowed is None else gold & allowed)
    possible = np.isfinite(agreeing)
    return (every[possible] - agreeing[possible]).sum()


def check_gradient(value_of, scores, gradient, eps=1e-5):
    """Compare a gradient with central differences of a value, wherever the score is finite."""
    for name in PARTS:
        part = getattr(scores, name)
        if part is None:
            assert getattr(gradient, name) is None
            continue
        expected = np.zeros(part.shape)
        for index in np.ndindex(*part.shape):
            up, down = part.copy(), part.copy()
            up[index] += eps
            down[index] -= eps
            if np.isfinite(part[index]):
                values = [value_of(replace(scores, **{name: moved})) for moved in (up, down)]
                expected[index] = (values[0] - values[1]) / (2 * eps)
        np.testing.assert_allclose(getattr(gradient, name), expected, atol=1e-5)


@given(problems())
def test_the_posterior_is_that_of_enumeration(problem):
    scores, allowed = problem
    found = crf.posterior(scores, allowed)
    log_z, marginals, counts = enumerate_posterior(scores, allowed)
    np.testing.assert_allclose(found.log_z, log_z, atol=1e-9)
    np.testing.assert_allclose(found.marginals, marginals, atol=1e-9)
    if scores.transitions is not None:
        for name, expected in zip(PARTS[1:], counts):
            np.testing.assert_allclose(getattr(found.chain, name), expected, atol=1e-9)


@given(problems())
def test_viterbi_finds_a_best_path_of_enumeration(problem):
    scores, allowed = problem
    labels = crf.viterbi(scores, allowed)
    assert labels.shape == (scores.lengths.sum(),)
    for first, paths in enumerate_paths(scores, allowed):
        if paths:  # nothing is said of a sequence that allows no labelling
            by_path = dict(paths)
            length = len(paths[0][0])
            found = tuple(labels[first : first + length].tolist())
            assert by_path[found] == pytest.approx(max(by_path.values()), abs=1e-9)


@given(problems(chained=(True,)))
def test_with_the_marginals_viterbi_finds_the_same(problem):
    scores, allowed = problem
    marginals = crf.posterior(scores, allowed).marginals
    found = crf.viterbi(scores, allowed, marginals)
    assert found.tolist() == crf.viterbi(scores, allowed).tolist()


@pytest.mark.parametrize("lengths", [[40], [40, 1, 0, 7, 40]])
@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
def test_probability_space_gives_what_log_space_gives(lengths, scale):
    rng = np.random.default_rng(0)
    scheme = Scheme("BILUO", 3)
    scores = make_scores(rng, scheme.n_tags, lengths, scale=scale).constrained(scheme.legal())
    shift = scores.emissions.max(axis=1)
    parts = scores, scores.emissions - shift[:, None], shift
    found, expected = crf._scaled(*parts), crf._logarithmic(*parts)
    np.testing.assert_allclose(found.log_z, expected.log_z)
    np.testing.assert_allclose(found.marginals, expected.marginals, atol=1e-9)
    np.testing.assert_allclose(found.chain.transitions, expected.chain.transitions, atol=1e-9)
    rows = [row for row in range(sum(lengths)) if row not in np.cumsum([0, *lengths])]
    for row, before in zip(rows, found.marginals.argmax(axis=1)[np.array(rows) - 1]):
        after = expected.chain.after(row, before)
        np.testing.assert_allclose(found.chain.after(row, before), after, atol=1e-9)


@pytest.mark.parametrize("chained", [True, False])
def test_a_tie_goes_to_the_lower_label(chained):
    scores = make_scores(np.random.default_rng(0), 3, [4, 0, 1], scale=0.0, chained=chained)
    assert crf.viterbi(scores).tolist() == [0] * 5
    allowed = np.array([[False, True, True]] * 5)
    assert crf.viterbi(scores, allowed).tolist() == [1] * 5


@given(problems(), st.sampled_from([1, 2, 5, 1000]))
def test_the_k_best_are_those_of_enumeration(problem, k):
    scores, allowed = problem
    found = crf.k_best(scores, k, allowed)
    best = crf.viterbi(scores, allowed)
    log_z, _, _ = enumerate_posterior(scores, allowed)
    assert len(found) == len(scores.lengths)
    for i, (first, paths) in enumerate(enumerate_paths(scores, allowed)):
        labels, log_probs = found[i]
        by_path = {path: score - log_z[i] for path, score in paths}
        expected = sorted(by_path.values(), reverse=True)[:k]
        np.testing.assert_allclose(log_probs, expected, atol=1e-9)
        assert labels.shape == (len(expected), scores.lengths[i])
        listed = [tuple(path) for path in labels.tolist()]
        assert len(set(listed)) == len(listed)
        np.testing.assert_allclose(log_probs, [by_path[path] for path in listed], atol=1e-9)
        if listed:
            assert listed[0] == tuple(best[first : first + len(listed[0])].tolist())
        if 0 < len(paths) <= k:
            assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("chained", [True, False])
def test_ties_among_the_k_best_go_to_the_lower_label(chained):
    """From the end, as in the best path."""
    scores = make_scores(np.random.default_rng(0), 3, [2, 0], scale=0.0, chained=chained)
    expected = sorted(product(range(3), repeat=2), key=lambda path: path[::-1])
    for k in range(1, 12):
        labels, log_probs = crf.k_best(scores, k)[0]
        assert [tuple(path) for path in labels.tolist()] == expected[:k]
        np.testing.assert_allclose(log_probs, np.log(1 / 9), atol=1e-12)


@pytest.mark.parametrize("chained", [True, False])
def test_the_k_best_of_a_long_sequence(chained):
    """In float32, as the model gives them, whose sums would not tell such labellings apart."""
    scores = make_scores(np.random.default_rng(0), 4, [1, 3000], scale=20.0, chained=chained)
    for name in PARTS if chained else PARTS[:1]:
        setattr(scores, name, getattr(scores, name).astype("float32"))
    _, (labels, log_probs) = crf.k_best(scores, 20)
    assert labels[0].tolist() == crf.viterbi(scores)[1:].tolist()
    assert len({tuple(path) for path in labels.tolist()}) == 20
    assert (np.diff(log_probs) <= 0).all() and log_probs[0] < 0
    # Another way to the probability: that of the best labelling alone, over that of all
    alone = np.eye(4, dtype=bool)[crf.viterbi(scores)]
    exact = replace(scores, emissions=scores.emissions.astype("float64"))
    expected = crf.posterior(exact, alone).log_z - crf.posterior(exact).log_z
    assert log_probs[0] == pytest.approx(expected[1], abs=1e-7)


@given(problems(), st.sampled_from([0.3, 0.7, 1.0]), st.integers(0, 100))
def test_loss_and_gradient_are_those_of_enumeration(problem, share, seed):
    scores, allowed = problem
    gold = np.random.default_rng(seed).random(scores.emissions.shape) < share
    loss, gradient = crf.loss(scores, gold, allowed)
    assert loss == pytest.approx(enumerate_loss(scores, gold, allowed), abs=1e-9)
    check_gradient(lambda moved: enumerate_loss(moved, gold, allowed), scores, gradient)


@given(problems(forbidden=[False]), st.integers(0, 100))
def test_divergence_and_gradient_are_those_of_enumeration(problem, seed):
    scores, allowed = problem
    teacher = make_scores(
        np.random.default_rng(seed),
        scores.emissions.shape[1],
        scores.lengths.tolist(),
        chained=scores.transitions is not None,
    )

    def enumerated(student):
        total = 0.0
        pairs = zip(enumerate_paths(teacher, allowed), enumerate_paths(student, allowed))
        for (_, theirs), (_, mine) in pairs:
            if theirs:
                theirs = np.array([score for _, score in theirs], dtype="float64")
                mine = np.array([score for _, score in mine], dtype="float64")
                theirs -= np.logaddexp.reduce(theirs)
                mine -= np.logaddexp.reduce(mine)
                total += (np.exp(theirs) * (theirs - mine)).sum()
        return total

    value, gradient = crf.divergence(scores, teacher, allowed)
    assert value == pytest.approx(enumerated(scores), abs=1e-9)
    check_gradient(enumerated, scores, gradient)


def test_divergence_of_scores_with_forbidden_paths():
    """What a tagging scheme forbids (-inf on both sides) takes no part."""
    rng = np.random.default_rng(0)
    legal = Scheme("BIO", 1).legal()
    mine, teacher = (make_scores(rng, 3, [3, 1]).constrained(legal) for _ in range(2))
    value, gradient = crf.divergence(mine, teacher)
    assert 0 < value < np.inf
    assert all(np.isfinite(getattr(gradient, name)).all() for name in PARTS)
    same, no_gradient = crf.divergence(mine, mine)
    assert same == pytest.approx(0, abs=1e-9)
    assert not no_gradient.emissions.any()


@pytest.mark.parametrize("name, n_labels", [("BIO", 1), ("BIO", 2), ("BILUO", 1), ("BILUO", 2)])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), masked=st.booleans(), scale=st.sampled_from(SCALES))
def test_span_marginals_are_those_of_enumeration(name, n_labels, seed, masked, scale):
    rng = np.random.default_rng(seed)
    scheme = Scheme(name, n_labels)
    # Two sequences, so that a row is not the place in its sequence
    lengths = [2, 4] if scheme.n_tags < 6 else [1, 3]
    scores = make_scores(rng, scheme.n_tags, lengths, scale=scale).constrained(scheme.legal())
    allowed = None
    if masked:  # O stays possible everywhere, so there is a labelling
        allowed = rng.random(scores.emissions.shape) < 0.7
        allowed[:, 0] = True
    spans, expected = [], []
    for (first, paths), length in zip(enumerate_paths(scores, allowed), lengths):
        log_z = np.logaddexp.reduce([score for _, score in paths])
        for start, end in product(range(length), range(1, length + 1)):
            for label in range(n_labels) if start < end else ():
                tags = scheme.encode(EntitySpan(start, end, label))
                spans.append((first + start, tags))
                having = [s for path, s in paths if list(path[start:end]) == tags]
                expected.append(np.exp(np.logaddexp.reduce(having) - log_z) if having else 0.0)
    posterior = crf.posterior(scores, allowed)
    found = [posterior.span(*span) for span in spans]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("chained", [True, False])
def test_no_sequences_and_empty_sequences(chained):
    for lengths in ([], [0], [0, 0]):
        scores = make_scores(np.random.default_rng(0), 2, lengths, chained=chained)
        found = crf.posterior(scores)
        assert found.log_z.tolist() == [0.0] * len(lengths)
        assert found.marginals.shape == (0, 2)
        assert crf.viterbi(scores).shape == (0,)
        listed = [(best.labels.shape, best.log_probs.tolist()) for best in crf.k_best(scores, 3)]
        assert listed == [((1, 0), [0.0])] * len(lengths)
        assert crf.loss(scores, np.ones((0, 2), dtype=bool))[0] == 0


@pytest.mark.parametrize("chained", [True, False])
def test_a_sequence_that_allows_nothing_is_left_out(chained):
    scores = make_scores(np.random.default_rng(0), 2, [2, 3, 0, 1], chained=chained)
    allowed = np.ones((6, 2), dtype=bool)
    allowed[3] = False  # the second token of the second sequence
    found = crf.posterior(scores, allowed)
    assert np.isinf(found.log_z).tolist() == [False, True, False, False]
    assert not found.marginals[2:5].any()
    listed = [best.labels.shape for best in crf.k_best(scores, 9, allowed)]
    assert listed == [(4, 2), (0, 3), (1, 0), (2, 1)]
    gold = np.ones((6, 2), dtype=bool)
    gold[[0, 2], 1] = False
    others = replace(scores, emissions=scores.emissions[[0, 1, 5]], lengths=np.array([2, 0, 1]))
    loss, gradient = crf.loss(scores, gold, allowed)
    loss_of_others, gradient_of_others = crf.loss(others, gold[[0, 1, 5]])
    assert loss == pytest.approx(loss_of_others) and loss > 0
    assert not gradient.emissions[2:5].any()
    if chained:
        for name in PARTS[1:]:
            expected = getattr(gradient_of_others, name)
            np.testing.assert_allclose(getattr(gradient, name), expected, atol=1e-6)
    nothing = crf.loss(scores, gold, np.zeros((6, 2), dtype=bool))
    assert nothing[0] == 0
    parts = [getattr(nothing[1], name) for name in (PARTS if chained else PARTS[:1])]
    assert not any(part.any() for part in parts)


def test_forced_labels_are_certain():
    scores = make_scores(np.random.default_rng(0), 3, [4])
    allowed = np.eye(3, dtype=bool)[[2, 0, 1, 1]]
    found = crf.posterior(scores, allowed)
    np.testing.assert_allclose(found.marginals, allowed, atol=1e-12)
    assert crf.viterbi(scores, allowed).tolist() == [2, 0, 1, 1]
    loss, gradient = crf.loss(scores, allowed, allowed)
    assert loss == pytest.approx(0) and not gradient.transitions.any()


def test_missing_annotation_costs_nothing():
    scores = make_scores(np.random.default_rng(0), 3, [4, 1])
    loss, gradient = crf.loss(scores, np.ones((5, 3), dtype=bool))
    assert loss == 0
    assert not any(getattr(gradient, name).any() for name in PARTS)


@given(problems(chained=[False]))
def test_no_transitions_are_transitions_of_0(problem):
    scores, allowed = problem
    n = scores.emissions.shape[1]
    chained = replace(scores, transitions=np.zeros((n, n)), start=np.zeros(n), end=np.zeros(n))
    found, expected = crf.posterior(scores, allowed), crf.posterior(chained, allowed)
    np.testing.assert_allclose(found.log_z, expected.log_z, atol=1e-9)
    np.testing.assert_allclose(found.marginals, expected.marginals, atol=1e-9)
    possible = np.repeat(np.isfinite(found.log_z), scores.lengths)
    labels, chained_labels = crf.viterbi(scores, allowed), crf.viterbi(chained, allowed)
    assert labels[possible].tolist() == chained_labels[possible].tolist()


@pytest.mark.parametrize("scale", [100, 300, 1e4])
@given(seed=st.integers(0, 1000), masked=st.booleans(), forbidden=st.booleans())
@example(seed=15, masked=False, forbidden=True)
@example(seed=111, masked=True, forbidden=True)
def test_extreme_scores_are_exact(scale, seed, masked, forbidden):
    """Differences of hundreds, as an unregularised model reaches them, in every part at once."""
    rng = np.random.default_rng(seed)
    scores = make_scores(rng, 3, [4, 2], scale=scale)
    if forbidden:
        for name in PARTS[1:]:
            part = getattr(scores, name)
            part[rng.random(part.shape) < 0.3] = -np.inf
    allowed = rng.random((6, 3)) < 0.5 if masked else None
    found = crf.posterior(scores, allowed)
    log_z, marginals, _ = enumerate_posterior(scores, allowed)
    np.testing.assert_allclose(found.log_z, log_z, atol=1e-6)
    np.testing.assert_allclose(found.marginals, marginals, atol=1e-6)
    listed = crf.k_best(scores, 9, allowed)
    for best, total, (_, paths) in zip(listed, log_z, enumerate_paths(scores, allowed)):
        expected = sorted((score - total for _, score in paths), reverse=True)[:9]
        np.testing.assert_allclose(best.log_probs, expected, atol=1e-6)


@pytest.mark.parametrize("score", [10.0, 50.0, 500.0, 1e4])
def test_a_path_that_each_token_makes_less_likely_is_not_lost(score):
    """Label 1 has to be taken from the first token on, but looks impossible until the last."""
    n = 100
    forbidden = np.array([[0.0, -np.inf], [0.0, 0.0]])
    scores = SequenceScores(
        np.tile([score, -score], (n, 1)), np.array([n]), forbidden, np.zeros(2), np.zeros(2)
    )
    allowed = np.ones((n, 2), dtype=bool)
    gold = allowed.copy()
    gold[-1, 0] = False
    found = crf.posterior(scores, gold)
    assert found.log_z == pytest.approx(-score * n)
    np.testing.assert_allclose(found.marginals, [[0.0, 1.0]] * n, atol=1e-12)
    assert found.span(0, [1] * n) == pytest.approx(1)
    loss, gradient = crf.loss(scores, gold, allowed)
    assert loss == pytest.approx(2 * score * n)
    np.testing.assert_allclose(gradient.emissions, [[1.0, -1.0]] * n, atol=1e-6)
    np.testing.assert_allclose(gradient.transitions, [[n - 1, 0], [0, 1 - n]], atol=1e-6)


def test_a_label_that_cannot_be_reached_takes_no_part():
    """However much more probable the rest of the sequence would be from there."""
    n = 1000
    apart = np.where(np.eye(2, dtype=bool), 0.0, -np.inf)
    emissions = np.tile([0.0, 5.0], (n, 1))
    emissions[-1] = -1.0
    scores = SequenceScores(emissions, np.array([n]), apart, np.array([0.0, -np.inf]), np.zeros(2))
    found = crf.posterior(scores)
    assert found.log_z == pytest.approx(-1.0)
    np.testing.assert_allclose(found.marginals, [[1.0, 0.0]] * n, atol=1e-12)
    np.testing.assert_allclose(found.chain.transitions, [[n - 1, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("scale", [20.0, 2000.0])
def test_a_long_sequence_neither_overflows_nor_vanishes(scale):
    n = 5000
    scores = make_scores(np.random.default_rng(0), 3, [n], scale=scale)
    found = crf.posterior(scores)
    assert np.isfinite(found.log_z).all()
    np.testing.assert_allclose(found.marginals.sum(axis=1), np.ones(n), atol=1e-6)
    np.testing.assert_allclose(found.chain.transitions.sum(), n - 1, atol=1e-6)


@pytest.mark.parametrize("scale", [2.0, 1e4])
@pytest.mark.parametrize("lengths, n_labels", [([3] * 1000, 100), ([3], 400)])
def test_memory_does_not_grow_with_the_square_of_the_labels(lengths, n_labels, scale):
    scores = make_scores(np.random.default_rng(0), n_labels, lengths, scale=scale)
    gold = np.random.default_rng(0).random(scores.emissions.shape) < 0.5
    size = scores.emissions.nbytes + scores.transitions.nbytes
    fixed = 8 * crf.BLOCK * np.dtype("float64").itemsize
    tasks = {
        "viterbi": lambda: crf.viterbi(scores, gold),
        "posterior": lambda: crf.posterior(scores, gold),
        "loss": lambda: crf.loss(scores, gold),
        "k_best": lambda: crf.k_best(scores, 50, gold),
    }
    for name in tasks if len(lengths) == 1 else ("viterbi", "posterior", "loss"):
        tracemalloc.start()
        tasks[name]()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * size + fixed, name


def test_constrained_scores_forbid_and_absent_transitions_are_0():
    legal = Legal(
        np.array([[True, False], [True, True]]), np.array([True, False]), np.ones(2, bool)
    )
    bare = make_scores(np.random.default_rng(0), 2, [2], chained=False).constrained(legal)
    assert bare.transitions.tolist() == [[0, -np.inf], [0, 0]]
    assert bare.start.tolist() == [0, -np.inf] and bare.end.tolist() == [0, 0]
    scored = make_scores(np.random.default_rng(0), 2, [2])
    assert scored.constrained(legal).transitions[0].tolist() == [scored.transitions[0, 0], -np.inf]
