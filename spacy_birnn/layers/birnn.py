"""The bidirectional recurrent layer."""

from typing import List, Literal, Optional, Tuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import check_positive, check_recurrent
from .cells import CELLS, Plan, run
from .dropout import locked_dropout as lock_dropout

Cell = Literal["rnn", "gru", "lstm"]
Direction = Literal["both", "forward", "backward"]
Merge = Literal["concat", "sum"]


class BiRNN(nn.Module):
    """A stack of recurrent layers that reads every sequence forward, backward, or both ways
    (Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093):

        f_t = cell(x_t, f_{t-1})      b_t = cell'(x_t, b_{t+1})      y_t = merge(f_t, b_t)

    The two directions have weights of their own. Each layer of the stack reads the merged output
    of the one below. Outputs do not depend on the other sequences of the batch.

    input_width (int): Width of the input rows, at least 1.
    hidden_width (int): Width of the state of one direction, at least 1. Recommended: 32 to 256.
    cell (str): "rnn", "gru" or "lstm" (see `cells`). An LSTM's forget gate starts open, with a bias
        of 1 (Jozefowicz et al. 2015).
    depth (int): Number of layers, at least 1. Recommended: 1 to 3.
    direction (str): "both", "forward" or "backward".
    merge (str): "concat" (output width 2 * hidden_width) or "sum" (hidden_width). "sum" needs
        both directions.
    dropout (Optional[float]): Dropout between the layers of the stack, 0 <= dropout < 1. None
        follows the rate given to `forward`.
    locked_dropout (Optional[float]): Locked dropout on the input and on the output, 0 <= rate < 1.
        None follows the rate given to `forward`.
    RAISES (ValueError): E001 for an impossible value, E002 for "sum" with one direction.
    """

    def __init__(
        self,
        input_width: int,
        hidden_width: int,
        *,
        cell: Cell = "lstm",
        depth: int = 1,
        direction: Direction = "both",
        merge: Merge = "concat",
        dropout: Optional[float] = None,
        locked_dropout: Optional[float] = None,
    ):
        super().__init__()
        check_positive("input_width", input_width, where="BiRNN")
        check_positive("hidden_width", hidden_width, where="BiRNN")
        check_recurrent(
            where="BiRNN",
            depth=depth,
            cell=cell,
            direction=direction,
            merge=merge,
            dropout=dropout,
            locked_dropout=locked_dropout,
        )
        self.reverse = {"both": (False, True), "forward": (False,), "backward": (True,)}[direction]
        self.dropout = dropout
        self.locked_dropout = locked_dropout
        self.layers = nn.ModuleList()
        for _ in range(depth):
            layer = RecurrentLayer(
                input_width, hidden_width, cell=cell, reverse=self.reverse, merge=merge
            )
            self.layers.append(layer)
            input_width = layer.output_width
        self.output_width = input_width

    def forward(self, X: Tensor, lengths: np.ndarray, drop: float = 0.0) -> Tuple[Tensor, Tensor]:
        """Run the stack over a batch of sequences.

        X (Tensor): Flat rows, shape (sum(lengths), input_width).
        lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
        drop (float): Dropout rate where the layer sets none of its own. Used in training only.
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
        X = lock_dropout(X, lengths_, locked)
        for i, layer in enumerate(cast(List[RecurrentLayer], self.layers)):
            if i and between:
                X = nn.functional.dropout(X, between)
            X, states = layer(X, plan)
        return lock_dropout(X, lengths_, locked), self._final(layer, states, lengths_)

    def _final(self, layer: "RecurrentLayer", states: Tensor, lengths: Tensor) -> Tensor:
        """The state of each direction where it ends, merged."""
        first = lengths.cumsum(0) - lengths
        some = lengths > 0
        ends = [first if reverse else first + lengths - 1 for reverse in self.reverse]
        final = torch.stack([part[end[some]] for part, end in zip(states, ends)])
        finals = states.new_zeros((len(lengths), self.output_width))
        return finals.masked_scatter(some.unsqueeze(1), layer.merged(final))

    def _rate(self, own: Optional[float], given: float) -> float:
        if not self.training:
            return 0.0
        return given if own is None else own


class RecurrentLayer(nn.Module):
    """One layer of the stack: the weights of its directions, W (directions, input_width, gates *
    hidden_width), U (directions, hidden_width, gates * hidden_width) and b. A gate thus has
    (input_width + hidden_width) * hidden_width + hidden_width parameters for each direction."""

    def __init__(
        self,
        input_width: int,
        hidden_width: int,
        *,
        cell: Cell,
        reverse: Tuple[bool, ...],
        merge: Merge,
    ):
        super().__init__()
        self.cell = CELLS[cell]
        self.merge = merge
        self.output_width = hidden_width * (len(reverse) if merge == "concat" else 1)
        size = self.cell.gates * hidden_width
        self.W = nn.Parameter(torch.empty(len(reverse), input_width, size))
        self.U = nn.Parameter(torch.empty(len(reverse), hidden_width, size))
        self.b = nn.Parameter(torch.zeros(len(reverse), 1, size))
        self._init_weights(hidden_width)

    @torch.no_grad()
    def _init_weights(self, hidden_width: int) -> None:
        """Glorot for the input, orthogonal for the recurrence (Saxe et al. 2014), biases 0."""
        for W, U in zip(self.W, self.U):
            for gate in W.split(hidden_width, dim=1):
                nn.init.xavier_uniform_(gate)
            for gate in U.split(hidden_width, dim=1):
                gate.copy_(nn.init.orthogonal_(torch.empty(hidden_width, hidden_width)))
        if self.cell is CELLS["lstm"]:
            forget = slice(2 * hidden_width, 3 * hidden_width)
            self.b[..., forget] = 1.0

    def forward(self, X: Tensor, plan: Plan) -> Tuple[Tensor, Tensor]:
        """The merged output, shape (rows, output_width), and the states, shape (directions, rows,
        hidden_width)."""
        states = run(self.cell, X, self.W, self.U, self.b, plan)
        return self.merged(states), states

    def merged(self, states: Tensor) -> Tensor:
        """(directions, rows, hidden_width) -> (rows, output_width)"""
        return states.sum(dim=0) if self.merge == "sum" else torch.cat(list(states), dim=1)
