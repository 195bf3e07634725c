"""The bidirectional recurrent layer. The architectures in `models`, which state its settings, check
them."""

from typing import Literal, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import CellName
from .cells import Plan
from .dropout import locked_dropout as lock_dropout
from .recurrent import GridLSTMLayer, RecurrentLayer

Direction = Literal["both", "forward", "backward"]
Merge = Literal["concat", "sum", "mean", "mul"]
Stack = Literal["interleaved", "independent"]


class BiRNN(nn.Module):
    """A stack of recurrent layers that reads every sequence forward, backward, or both ways
    (Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093):

        f_t = cell(x_t, f_{t-1})      b_t = cell'(x_t, b_{t+1})      y_t = merge(f_t, b_t)

    The two directions have weights of their own. Outputs do not depend on the other sequences of
    the batch.

    input_width (int): Width of the input rows, at least 1.
    hidden_width (int): Width of the state of one direction, at least 1. Recommended: 32 to 256.
    cell (str): "rnn", "gru", "lstm", "peephole_lstm" (see `cells`) or "grid_lstm" (see
        `recurrent.GridLSTMLayer`). An LSTM's forget gate starts open, with a bias of 1.
    depth (int): Number of layers, at least 1. Recommended: 1 to 3.
    direction (str): "both", "forward" or "backward".
    merge (str): "concat" (output width 2 * hidden_width), or one of "sum", "mean" and "mul"
        (element by element; hidden_width), which need both directions.
    stack (str): "interleaved": each layer reads the merged output of the one below. "independent":
        each direction has a stack of its own, and they are merged at the top (Peters et al. 2018,
        https://arxiv.org/abs/1802.05365), so that no state has seen both sides of its word. With
        one layer or one direction they are the same.
    dropout (Optional[float]): Dropout between the layers of the stack, 0 <= dropout < 1. None
        follows the rate given to `forward`.
    locked_dropout (Optional[float]): Locked dropout on the input and on the output, 0 <= rate < 1.
        None follows the rate given to `forward`.
    """

    def __init__(
        self,
        input_width: int,
        hidden_width: int,
        *,
        cell: CellName = "lstm",
        depth: int = 1,
        direction: Direction = "both",
        merge: Merge = "concat",
        stack: Stack = "interleaved",
        dropout: Optional[float] = None,
        locked_dropout: Optional[float] = None,
    ):
        super().__init__()
        self.reverse = {"both": (False, True), "forward": (False,), "backward": (True,)}[direction]
        self.merge = merge
        self.independent = stack == "independent"
        self.dropout = dropout
        self.locked_dropout = locked_dropout
        self.output_width = hidden_width * (len(self.reverse) if merge == "concat" else 1)
        above = hidden_width if self.independent else self.output_width
        self.layers = nn.ModuleList(
            GridLSTMLayer(width, hidden_width, lowest=not i, reverse=self.reverse)
            if cell == "grid_lstm"
            else RecurrentLayer(width, hidden_width, cell=cell, reverse=self.reverse)
            for i, width in enumerate([input_width] + [above] * (depth - 1))
        )

    def forward(
        self, X: Tensor, lengths: np.ndarray, drop: float = 0.0, *, final: bool = True
    ) -> Tuple[Tensor, Tensor]:
        """Run the stack over a batch of sequences.

        X (Tensor): Flat rows, shape (sum(lengths), input_width).
        lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
        drop (float): Dropout rate where the layer sets none of its own. Used in training only.
        final (bool): Whether the final states are wanted; else there are no rows of them.
        RETURNS (Tuple[Tensor, Tensor]): The outputs, shape (sum(lengths), output_width), and the
            final states of the top layer (forward after the last row, backward after the first,
            merged), shape (sequences, output_width). An empty sequence has the final state 0.
        """
        if not len(X):
            return X.new_zeros((0, self.output_width)), X.new_zeros(
                (len(lengths), self.output_width)
            )
        locked = self._rate(self.locked_dropout, drop)
        between = self._rate(self.dropout, drop)
        plan = Plan(lengths, self.reverse, X.device)
        lengths_ = torch.as_tensor(lengths, device=X.device)
        X = lock_dropout(X, lengths_, locked).unsqueeze(0)
        cell_state = None
        for i, layer in enumerate(self.layers):
            if i and between:
                X = nn.functional.dropout(X, between)
            states, cell_state = layer(X, plan, cell_state)
            X = states if self.independent else self._merged(states).unsqueeze(0)
        output = lock_dropout(self._merged(states), lengths_, locked)
        return output, self._final(states, lengths_) if final else output[:0]

    def _merged(self, states: Tensor) -> Tensor:
        """(directions, rows, hidden_width) -> (rows, output_width)"""
        if self.merge == "concat":
            return torch.cat(list(states), dim=1)
        if self.merge == "mul":
            return states[0] * states[1]
        return states.mean(dim=0) if self.merge == "mean" else states.sum(dim=0)

    def _final(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The state of each direction where it ends, merged."""
        first = lengths.cumsum(0) - lengths
        some = lengths > 0
        ends = [first if reverse else first + lengths - 1 for reverse in self.reverse]
        final = torch.stack([part[end[some]] for part, end in zip(states, ends)])
        finals = states.new_zeros((len(lengths), self.output_width))
        return finals.masked_scatter(some.unsqueeze(1), self._merged(final))

    def _rate(self, own: Optional[float], given: float) -> float:
        if not self.training:
            return 0.0
        return given if own is None else own
