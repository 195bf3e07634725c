"""Flat rows and lengths, and the time-major order in which a recurrence visits them.

A batch of sequences is one array of shape (rows, width), sequence after sequence, plus the
lengths of the sequences. There is no padding: a sequence of length 0 owns no row.
"""

from typing import Tuple

import numpy as np


def time_major(
    lengths: np.ndarray, *, reverse: bool = False
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order the flat rows step by step instead of sequence by sequence.

    lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
    reverse (bool): Visit each sequence from its last row to its first.
    RETURNS (tuple): `rows`, shape (sum(lengths),): the flat row that stands at each place of the
        new order; `batch_sizes`, shape (max(lengths),): how many sequences are still running at
        each step, never increasing (what `torch.nn.utils.rnn.PackedSequence` calls by that
        name); `order`, shape (sequences that have rows,): the sequences, longest first, in the
        order in which each step lists them.
    """
    order = np.argsort(-lengths, kind="stable")
    order = order[: np.count_nonzero(lengths)]
    sorted_lengths = lengths[order]
    longest = int(sorted_lengths[0]) if len(order) else 0
    # A sequence of length n runs in steps 0..n-1, so the sequences running at step t are those
    # longer than t: the total less the number of those that are at most t long.
    ended = np.cumsum(np.bincount(sorted_lengths, minlength=longest + 1))
    batch_sizes = len(order) - ended[:longest]
    step = np.repeat(np.arange(longest), batch_sizes)
    nth = np.arange(len(step)) - np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    starts = (np.cumsum(lengths) - lengths)[order]
    if reverse:
        return (starts + sorted_lengths - 1)[nth] - step, batch_sizes, order
    return starts[nth] + step, batch_sizes, order


def invert(rows: np.ndarray) -> np.ndarray:
    """The permutation that undoes `rows`: `x[rows][invert(rows)]` is `x`."""
    inverse = np.empty_like(rows)
    inverse[rows] = np.arange(len(rows), dtype=rows.dtype)
    return inverse
