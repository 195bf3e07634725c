"""How sequences are laid out side by side for a recurrent operator."""

from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

# Sequences run together if padding takes at most this share of their cells (or a few cells in all),
# and these are at most so many: enough for a product to be efficient, few enough to stay in a
# processor's cache
PADDING, FEW = 0.15, 128
CELLS = 1024


class Bucket(NamedTuple):
    """Sequences of like lengths, each at least 1, padded to the longest.

    sequences (Optional[np.ndarray]): Which of the batch they are, in order, int64, shape
        (sequences,). None: all.
    rows (Optional[np.ndarray]): Which rows of the batch they have, int64, shape (rows,). None: all.
    lengths (np.ndarray): Their lengths, int32, shape (sequences,).
    cells (np.ndarray): Which of their rows stands at each step of each sequence, int64, shape
        (longest, sequences). Behind the end of a sequence stands its last row.
    places (np.ndarray): Where each row is found again among the cells, int64, shape (rows,).
    """

    sequences: Optional[np.ndarray]
    rows: Optional[np.ndarray]
    lengths: np.ndarray
    cells: np.ndarray
    places: np.ndarray


def buckets(lengths: np.ndarray) -> Iterator[Bucket]:
    """Divide a batch into buckets.

    lengths (np.ndarray): The length of each sequence, int64, shape (sequences,). Those of length 0
        are in no bucket.
    """
    if len(lengths) == 1 and lengths[0]:
        rows = np.arange(lengths[0])
        yield Bucket(None, None, lengths.astype("int32"), rows[:, None], rows)
        return
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")
    for begin, end in _cuts(lengths[order].tolist()):
        if end - begin == len(lengths):
            sequences, own, which = None, lengths, None
        else:
            sequences = np.sort(order[begin:end])
            own = lengths[sequences]
            which = np.repeat(starts[sequences] - (np.cumsum(own) - own), own)
            which += np.arange(len(which))
        steps = np.arange(own.max())[:, None]
        cells = np.cumsum(own) - own + np.minimum(steps, own - 1)
        numbers = np.arange(cells.size).reshape(cells.shape)
        # (longest, sequences) -> (sequences, longest): the rows of one sequence after the other
        places = numbers.T[(steps < own).T]
        yield Bucket(sequences, which, own.astype("int32"), cells, places)


def _cuts(lengths: List[int]) -> Iterator[Tuple[int, int]]:
    """Where to cut falling lengths into buckets. Zeros at the end are left out."""
    begin, rows, n = 0, 0, len(lengths) - lengths.count(0)
    for i, length in enumerate(lengths[:n]):
        cells = (i + 1 - begin) * lengths[begin]
        padding = cells - rows - length
        if i > begin and (cells > CELLS or padding > max(FEW, PADDING * cells)):
            yield begin, i
            begin, rows = i, 0
        rows += length
    if n:
        yield begin, n
