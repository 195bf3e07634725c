"""Flat rows and lengths, and the time-major order in which a recurrence visits them.

A batch of sequences is one array of shape (rows, width), sequence after sequence, plus the
lengths of the sequences. There is no padding: a sequence of length 0 owns no row. NumPy only: the
inference on labels shares it, and must not import torch.
"""

from itertools import accumulate
from typing import Iterable, List, Optional, Tuple, Union

import numpy as np


class TimeMajor:
    """The flat rows step by step instead of sequence by sequence: the first of each sequence, then
    the second of each, and so on. Each step lists the sequences in the same order, the longest
    first, so that those that are still running are the first ones of the step before.

    lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
    reverse (bool): Visit each sequence from its last row to its first.

    rows (np.ndarray): The flat row that stands at each place of the order, shape (sum(lengths),).
    places (np.ndarray): The place of each flat row, the inverse of `rows`.
    sequences (np.ndarray): Those that have rows, in the order of each step.
    sizes (List[int]): How many sequences are running at each step, never increasing; what
        `torch.nn.utils.rnn.PackedSequence` calls batch_sizes.
    first, follow (slice): The places of the first step, and those of all others.
    before (np.ndarray): The place of the row before each one in `follow`.
    last (np.ndarray): The place of each sequence's last row, in the order of `sequences`.
    """

    def __init__(self, lengths: np.ndarray, *, reverse: bool = False):
        (self.sequences,) = np.nonzero(lengths)
        if len(self.sequences) == 1:
            self._read_one(int(lengths[self.sequences[0]]), reverse)
            return
        self.sequences = self.sequences[np.argsort(-lengths[self.sequences], kind="stable")]
        ordered = lengths[self.sequences]
        n = len(ordered)
        longest = int(ordered[0]) if n else 0
        # A sequence of length n runs in steps 0..n-1, so the sequences running at step t are those
        # longer than t: all of them less those that are at most t long.
        ended = np.cumsum(np.bincount(ordered, minlength=longest + 1))
        sizes = n - ended[:longest]
        self.sizes: List[int] = sizes.tolist()
        self._bounds = np.concatenate([[0], np.cumsum(sizes)]).astype("int64")
        step = np.repeat(np.arange(longest), sizes)
        nth = np.arange(len(step)) - np.repeat(self._bounds[:-1], sizes)
        starts = (np.cumsum(lengths) - lengths)[self.sequences]
        self.rows = (starts + ordered - 1)[nth] - step if reverse else starts[nth] + step
        self.places = invert(self.rows)
        self.first, self.follow = slice(0, n), slice(n, len(step))
        self.before = np.arange(n, len(step)) - np.repeat(sizes[:-1], sizes[1:])
        self.last = self._bounds[ordered - 1] + np.arange(n)

    def _read_one(self, length: int, reverse: bool) -> None:
        """The same for one sequence, in a fraction of the time: a text that comes alone."""
        self._bounds = np.arange(length + 1)
        self.sizes = [1] * length
        rows = np.arange(length)
        self.rows = self.places = length - 1 - rows if reverse else rows
        self.first, self.follow = slice(0, 1), slice(1, length)
        self.before = self._bounds[: length - 1]
        self.last = self._bounds[length - 1 : length]

    def steps(self, most: Optional[int] = None) -> List[Tuple[slice, Optional[slice]]]:
        """The places of each step, and those of the rows they follow (None at the first step).

        most (Optional[int]): Most places to take together, at least 1; a step that has more comes
            in several parts. None: no limit.
        """
        parts: List[Tuple[slice, Optional[slice]]] = []
        bounds = self._bounds.tolist()
        for t, (begin, size) in enumerate(zip(bounds, self.sizes)):
            limit = most or size
            for i in range(0, size, limit):
                j = min(size, i + limit)
                before = slice(bounds[t - 1] + i, bounds[t - 1] + j) if t else None
                parts.append((slice(begin + i, begin + j), before))
        return parts


class BothWays:
    """The flat rows step by step, from both ends at once: each step lists the rows that stand at it
    from the start of each sequence (see `TimeMajor`), and then those from the end.

    lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0; some above 0.

    forward, backward (Union[slice, np.ndarray]): The places of each flat row in the order, that of
        reading from the start and that of reading from the end.
    sizes (List[int]): How many sequences are running at each step.
    """

    def __init__(self, lengths: np.ndarray):
        self.forward: Union[slice, np.ndarray]
        self.backward: Union[slice, np.ndarray]
        if len(lengths) == 1:
            # A text that comes alone
            self.sizes = [1] * int(lengths[0])
            self.forward, self.backward = slice(0, None, 2), slice(None, None, -2)
            return
        order = TimeMajor(lengths)
        self.sizes = order.sizes
        # At each step, what stands before it, and what is read from the start, comes twice
        size = np.repeat(self.sizes, self.sizes)
        places = np.arange(len(size)) + np.repeat(np.cumsum(self.sizes), self.sizes) - size
        # The row that is as far from the end of its sequence as a row is from the start
        mirror = np.repeat(2 * np.cumsum(lengths) - lengths - 1, lengths) - np.arange(len(size))
        self.forward = places[order.places]
        self.backward = (places + size)[order.places[mirror]]

    def steps(self, array: np.ndarray) -> Union[np.ndarray, List[np.ndarray]]:
        """The places of each step in an array of shape (2 * sum(lengths), width): views of shape
        (2, sequences, width)."""
        width = array.shape[1]
        if self.sizes[0] == self.sizes[-1]:
            return array.reshape(len(self.sizes), 2, self.sizes[0], width)
        ends = accumulate(self.sizes)
        return [
            array[2 * (end - size) : 2 * end].reshape(2, size, width)
            for end, size in zip(ends, self.sizes)
        ]

    def before(self, steps: Union[np.ndarray, List[np.ndarray]]) -> Iterable[np.ndarray]:
        """For each step but the first, the rows of the step before that it continues (views).

        steps: What `steps` returned.
        """
        if self.sizes[0] == self.sizes[-1]:
            return steps
        return (step[:, :size] for step, size in zip(steps, self.sizes[1:]))


def invert(rows: np.ndarray) -> np.ndarray:
    """The permutation that undoes `rows`: `x[rows][invert(rows)]` is `x`."""
    inverse = np.empty_like(rows)
    inverse[rows] = np.arange(len(rows), dtype=rows.dtype)
    return inverse
