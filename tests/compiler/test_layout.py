"""Buckets of sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_birnn.compiler import layout
from spacy_birnn.compiler.layout import buckets

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=80)


@given(LENGTHS)
def test_each_row_is_in_one_cell_of_its_sequence(lengths):
    lengths = np.array(lengths, dtype="int64")
    starts = np.cumsum(lengths) - lengths
    seen = []
    for bucket in buckets(lengths):
        sequences = np.arange(len(lengths)) if bucket.sequences is None else bucket.sequences
        rows = np.arange(lengths.sum()) if bucket.rows is None else bucket.rows
        assert bucket.lengths.tolist() == lengths[sequences].tolist() and bucket.lengths.min() > 0
        flat = bucket.cells.ravel()
        assert flat[bucket.places].tolist() == list(range(len(rows)))
        for column, (n, sequence) in enumerate(zip(bucket.lengths, sequences)):
            own = rows[bucket.cells[:n, column]]
            assert own.tolist() == list(range(starts[sequence], starts[sequence] + n))
        seen += sequences.tolist()
    assert sorted(seen) == np.flatnonzero(lengths).tolist()


def test_one_bucket_has_the_order_of_the_batch():
    (bucket,) = buckets(np.array([3, 5, 4]))
    assert bucket.rows is None and bucket.sequences is None
    assert bucket.cells.T.tolist() == [[0, 1, 2, 2, 2], [3, 4, 5, 6, 7], [8, 9, 10, 11, 11]]


def test_padding_is_bounded(monkeypatch):
    random = np.random.RandomState(0)
    lengths = random.zipf(1.5, 3000).clip(max=400)
    cells = sum(bucket.cells.size for bucket in buckets(lengths))
    assert cells < 1.3 * lengths.sum()
    assert max(bucket.cells.size for bucket in buckets(lengths)) <= layout.CELLS


@pytest.mark.parametrize("lengths", [[0], [0, 0]])
def test_nothing_makes_no_bucket(lengths):
    assert list(buckets(np.array(lengths))) == []
