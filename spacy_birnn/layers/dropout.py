"""Locked dropout: one mask per sequence."""

import torch
from torch import Tensor


def locked_dropout(X: Tensor, lengths: Tensor, rate: float) -> Tensor:
    """Drop whole features of a sequence: the mask is the same at each of its steps, so that the
    recurrence cannot average the noise away ("variational" dropout, Gal and Ghahramani 2016,
    https://arxiv.org/abs/1512.05287). Kept values are scaled by 1 / (1 - rate).

    X (Tensor): Flat rows, shape (sum(lengths), width).
    lengths (Tensor): The length of each sequence, shape (sequences,).
    rate (float): Share of features to drop, 0 <= rate < 1. At 0, X comes back as it is.
    RETURNS (Tensor): Shape (sum(lengths), width).
    """
    if rate == 0.0:
        return X
    keep = torch.full((len(lengths), X.shape[1]), 1.0 - rate, dtype=X.dtype, device=X.device)
    mask = torch.bernoulli(keep) / (1.0 - rate)
    return X * torch.repeat_interleave(mask, lengths, dim=0)
