"""Attention within a sequence, and a sequence as one vector."""

from typing import Literal, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import check_heads
from .packing import invert

PoolingKind = Literal["last", "mean", "max", "attention"]


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product self-attention with a residual connection (Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762): every row sees all rows of its sequence,

        y = x + W_o [head_1; ...; head_n]      head_i = softmax(Q_i K_i^T / sqrt(d)) V_i

    where Q_i, K_i, V_i are projections of the sequence to d = width / heads. It has no notion of
    order: that is in the rows, if a recurrent layer made them. Time is quadratic in the length of a
    sequence. Memory is proportional to it where PyTorch has a kernel that never holds all the
    weights (CPU, CUDA), in training too. Sequences of one length run together, nothing is padded.

    width (int): Width of the rows, at least 1.
    heads (int): Number of heads, a divisor of width. Recommended: 1 to 8.
    RAISES (ValueError): E030 if the heads cannot share the width, which is known only now.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        check_heads(heads, width, where="SelfAttention")
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, X: Tensor, lengths: np.ndarray, drop: float = 0.0) -> Tensor:
        """Attend within each sequence.

        X (Tensor): Flat rows, shape (sum(lengths), width).
        lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
        drop (float): Dropout rate on what is added to X. Used in training only.
        RETURNS (Tensor): Shape (sum(lengths), width).
        """
        if not len(X):
            return X
        starts = np.cumsum(lengths) - lengths
        # (rows, 3 * width) -> (rows, 3, heads, d)
        projected = self.project(X).unflatten(1, (3, self.heads, -1))
        found, rows = [], []
        for length in np.unique(lengths[lengths > 0]):
            # (sequences, length) -> (sequences * length,)
            group = (starts[lengths == length, None] + np.arange(length)).ravel()
            # (sequences * length, 3, heads, d) -> (sequences, length, 3, heads, d)
            part = projected[torch.as_tensor(group, device=X.device)].unflatten(0, (-1, length))
            # -> three of (sequences, heads, length, d)
            Q, K, V = part.permute(2, 0, 3, 1, 4)
            heads = nn.functional.scaled_dot_product_attention(Q, K, V)
            # (sequences, heads, length, d) -> (sequences * length, heads * d)
            found.append(heads.transpose(1, 2).flatten(2).flatten(0, 1))
            rows.append(group)
        back = torch.as_tensor(invert(np.concatenate(rows)), device=X.device)
        attended = self.output(torch.cat(found)[back])
        return X + nn.functional.dropout(attended, drop, training=self.training and drop > 0)


class Pooling(nn.Module):
    """One vector for each sequence, from its rows h_1 ... h_n:

        last        the first half of h_n beside the second half of h_1: the final states of the two
                    directions, where a recurrent layer put them side by side
        mean, max   of each column
        attention   sum_t a_t h_t with a = softmax_t(v . tanh(W h_t + b)), the additive attention of
                    Bahdanau et al. (2015), with one learned query (Yang et al. 2016,
                    https://aclanthology.org/N16-1174)

    An empty sequence has the vector 0.

    width (int): Width of the rows, at least 1; even for "last".
    kind (str): "last", "mean", "max" or "attention".
    """

    def __init__(self, width: int, kind: PoolingKind):
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.hidden = nn.Linear(width, width)
            self.query = nn.Linear(width, 1, bias=False)

    def forward(
        self, X: Tensor, lengths: np.ndarray, drop: float = 0.0
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Pool each sequence.

        X (Tensor): Flat rows, shape (sum(lengths), width).
        lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
        drop (float): Not used.
        RETURNS (Tuple[Tensor, Optional[Tensor]]): The vectors, shape (sequences, width), and for
            "attention" the weight of each row, shape (sum(lengths),), else None.
        """
        pooled = X.new_zeros((len(lengths), X.shape[1]))
        # The sequence of each row; int64 everywhere, as scatter_reduce needs it
        owner_ = np.repeat(np.arange(len(lengths), dtype="int64"), lengths)
        owner = torch.as_tensor(owner_, device=X.device)
        if self.kind == "last":
            some = np.flatnonzero(lengths)
            ends = torch.as_tensor(np.cumsum(lengths)[some], device=X.device)
            starts = ends - torch.as_tensor(lengths[some], device=X.device)
            half = X.shape[1] // 2
            final = torch.cat([X[ends - 1, :half], X[starts, half:]], dim=1)
            return pooled.index_copy(0, torch.as_tensor(some, device=X.device), final), None
        if self.kind == "max":
            index = owner.unsqueeze(1).expand_as(X)  # (rows,) -> (rows, width)
            return pooled.scatter_reduce(0, index, X, "amax", include_self=False), None
        if self.kind == "mean":
            # (sequences,) -> (sequences, 1)
            counts = torch.as_tensor(lengths, device=X.device).clamp(min=1).unsqueeze(1)
            return pooled.index_add(0, owner, X) / counts, None
        scores = self.query(torch.tanh(self.hidden(X))).squeeze(1)  # (rows, 1) -> (rows,)
        weights = _softmax(scores, owner, len(lengths))
        return pooled.index_add(0, owner, weights.unsqueeze(1) * X), weights


def _softmax(scores: Tensor, owner: Tensor, n: int) -> Tensor:
    """The softmax of the scores, shape (rows,), within each of the n sequences that own them."""
    zeros = scores.new_zeros(n)
    highest = zeros.scatter_reduce(0, owner, scores.detach(), "amax", include_self=False)
    exp = torch.exp(scores - highest[owner])
    return exp / zeros.index_add(0, owner, exp)[owner]
