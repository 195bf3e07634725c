import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from spacy_birnn.layers.packing import invert, time_major

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
    found = time_major(np.array(lengths, dtype="int64"), reverse=reverse)
    assert [part.tolist() for part in found] == list(naive_time_major(lengths, reverse))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_time_major_is_the_order_of_a_packed_sequence(lengths):
    flat = torch.arange(sum(lengths))
    packed = pack_sequence(flat.split(lengths), enforce_sorted=False)
    rows, batch_sizes, order = time_major(np.array(lengths))
    assert packed.batch_sizes.tolist() == batch_sizes.tolist()
    # Which of two equally long sequences comes first is nobody's business
    bounds = np.cumsum(batch_sizes)[:-1]
    for ours, theirs in zip(np.split(rows, bounds), np.split(packed.data.numpy(), bounds)):
        assert sorted(ours) == sorted(theirs)


@given(lengths_of_batches, st.booleans())
def test_invert_undoes_the_order(lengths, reverse):
    rows, _, _ = time_major(np.array(lengths, dtype="int64"), reverse=reverse)
    flat = np.random.default_rng(0).normal(size=(sum(lengths), 2))
    assert np.array_equal(flat[rows][invert(rows)], flat)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_a_batch_without_rows_has_no_steps(lengths):
    rows, batch_sizes, order = time_major(np.array(lengths, dtype="int64"))
    assert (len(rows), len(batch_sizes), len(order)) == (0, 0, 0)
