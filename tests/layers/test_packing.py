import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from spacy_birnn.layers.packing import BothWays, TimeMajor

lengths_of_batches = st.lists(st.integers(0, 6), max_size=6)


def naive_time_major(lengths, reverse):
    order = sorted((i for i, n in enumerate(lengths) if n > 0), key=lambda i: -lengths[i])
    rows, batch_sizes = [], []
    for step in range(max(lengths, default=0)):
        running = [i for i in order if step < lengths[i]]
        batch_sizes.append(len(running))
        for i in running:
            first, last = sum(lengths[:i]), sum(lengths[: i + 1]) - 1
            rows.append(last - step if reverse else first + step)
    return rows, batch_sizes, order


@given(lengths_of_batches, st.booleans())
def test_time_major_is_the_naive_order(lengths, reverse):
    order = TimeMajor(np.array(lengths, dtype="int64"), reverse=reverse)
    found = order.rows.tolist(), order.sizes, order.sequences.tolist()
    assert found == naive_time_major(lengths, reverse)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_time_major_is_the_order_of_a_packed_sequence(lengths):
    flat = torch.arange(sum(lengths))
    packed = pack_sequence(flat.split(lengths), enforce_sorted=False)
    order = TimeMajor(np.array(lengths))
    assert packed.batch_sizes.tolist() == order.sizes
    # Which of two equally long sequences comes first is nobody's business
    bounds = np.cumsum(order.sizes)[:-1]
    for ours, theirs in zip(np.split(order.rows, bounds), np.split(packed.data.numpy(), bounds)):
        assert sorted(ours) == sorted(theirs)


@given(lengths_of_batches, st.booleans())
def test_the_places_undo_the_order(lengths, reverse):
    order = TimeMajor(np.array(lengths, dtype="int64"), reverse=reverse)
    flat = np.random.default_rng(0).normal(size=(sum(lengths), 2))
    assert np.array_equal(flat[order.rows][order.places], flat)


@given(lengths_of_batches, st.sampled_from([None, 1, 2, 5]))
def test_the_steps_follow_each_sequence_row_by_row(lengths, most):
    order = TimeMajor(np.array(lengths, dtype="int64"))
    begins = np.cumsum(lengths) - lengths
    read = [[] for _ in lengths]
    for now, before in order.steps(most):
        assert 0 < now.stop - now.start <= (most or len(lengths))
        previous = [None] * len(lengths) if before is None else order.rows[before].tolist()
        for row, row_before in zip(order.rows[now].tolist(), previous):
            owner = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
            assert row_before == (read[owner][-1] if read[owner] else None)
            read[owner].append(row)
    assert read == [list(range(begin, begin + n)) for begin, n in zip(begins, lengths)]
    assert order.rows[order.follow].tolist() == (order.rows[order.before] + 1).tolist()
    assert order.rows[order.first].tolist() == begins[order.sequences].tolist()
    ends = (np.cumsum(lengths) - 1)[order.sequences]
    assert order.rows[order.last].tolist() == ends.tolist()


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_a_batch_without_rows_has_no_steps(lengths):
    order = TimeMajor(np.array(lengths, dtype="int64"))
    assert (len(order.rows), order.sizes, len(order.sequences)) == (0, [], 0)
    assert order.steps() == []


@given(lengths_of_batches)
def test_both_ways_are_those_of_each_way(lengths):
    if not any(lengths):
        return
    order = BothWays(np.array(lengths, dtype="int64"))
    places = np.arange(2 * sum(lengths))
    forward, _, _ = naive_time_major(lengths, False)
    backward, sizes, _ = naive_time_major(lengths, True)
    steps = [step[..., 0] for step in order.steps(places[:, None])]
    assert [step.shape for step in steps] == [(2, size) for size in sizes]
    for found, rows, way in ((order.forward, forward, 0), (order.backward, backward, 1)):
        row_at = np.empty_like(places)
        row_at[found] = np.arange(sum(lengths))
        assert [row for step in steps for row in row_at[step[way]]] == rows
