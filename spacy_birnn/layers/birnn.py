"""The bidirectional recurrent layer."""

from typing import Literal, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..checks import check_positive, check_recurrent
from .dropout import locked_dropout
from .packing import invert, time_major

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
Cell = Literal["rnn", "gru", "lstm"]
Direction = Literal["both", "forward", "backward"]
Merge = Literal["concat", "sum"]


def output_width(hidden_width: int, direction: Direction, merge: Merge) -> int:
    """Width of a layer's output: both states side by side, or one state's width."""
    return hidden_width * 2 if direction == "both" and merge == "concat" else hidden_width


class BiRNN(nn.Module):
    """A stack of recurrent layers that reads every sequence forward, backward, or both ways
    (Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093):

        f_t = cell(x_t, f_{t-1})      b_t = cell'(x_t, b_{t+1})      y_t = merge(f_t, b_t)

    The two directions have weights of their own. Each layer of the stack reads the merged output
    of the one below. Outputs do not depend on the other sequences of the batch.

    input_width (int): Width of the input rows, at least 1.
    hidden_width (int): Width of the state of one direction, at least 1. Recommended: 32 to 256.
    cell (str): "rnn" (tanh; Elman 1990), "gru" (Cho et al. 2014) or "lstm" (Hochreiter and
        Schmidhuber 1997, with forget gate; its bias starts at 1, Jozefowicz et al. 2015).
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
        self.direction = direction
        self.merge = merge
        self.dropout = dropout
        self.locked_dropout = locked_dropout
        self.output_width = output_width(hidden_width, direction, merge)
        self.layers = nn.ModuleList(
            CELLS[cell](
                input_width if i == 0 else self.output_width,
                hidden_width,
                bidirectional=direction == "both",
            )
            for i in range(depth)
        )
        for layer in self.layers:
            _init_weights(layer)

    def forward(self, X: Tensor, lengths: np.ndarray, drop: float = 0.0) -> Tuple[Tensor, Tensor]:
        """Run the stack over a batch of sequences.

        X (Tensor): Flat rows, shape (sum(lengths), input_width).
        lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
        drop (float): Dropout rate where the layer sets none of its own. Used in training only.
        RETURNS (Tuple[Tensor, Tensor]): The outputs, shape (sum(lengths), output_width), and the
            final states of the top layer (forward after the last row, backward after the first,
            side by side or summed as `merge` says), shape (sequences, output_width). An empty
            sequence has the final state 0.
        """
        finals = X.new_zeros((len(lengths), self.output_width))
        rows, batch_sizes, order = time_major(lengths, reverse=self.direction == "backward")
        if not len(rows):
            return X.new_zeros((0, self.output_width)), finals
        locked = self._rate(self.locked_dropout, drop)
        between = self._rate(self.dropout, drop)
        lengths_ = torch.as_tensor(lengths, device=X.device)
        X = locked_dropout(X, lengths_, locked)
        data = X[torch.as_tensor(rows, device=X.device)]
        sizes = torch.as_tensor(batch_sizes)
        final = finals
        for i, layer in enumerate(self.layers):
            if i:
                data = nn.functional.dropout(data, between, training=between > 0)
            packed, state = layer(PackedSequence(data, sizes))
            final = state[0] if isinstance(state, tuple) else state
            data, final = self._merge(packed.data), self._merge(torch.cat(list(final), dim=-1))
        Y = data[torch.as_tensor(invert(rows), device=X.device)]
        finals = finals.index_copy(0, torch.as_tensor(order, device=X.device), final)
        return locked_dropout(Y, lengths_, locked), finals

    def _rate(self, own: Optional[float], given: float) -> float:
        if not self.training:
            return 0.0
        return given if own is None else own

    def _merge(self, states: Tensor) -> Tensor:
        if self.merge == "concat":
            return states
        forward, backward = states.chunk(2, dim=-1)
        return forward + backward


@torch.no_grad()
def _init_weights(layer: nn.RNNBase) -> None:
    """Glorot for the input, orthogonal for the recurrence (Saxe et al. 2014), biases 0, and an
    LSTM's forget gate open."""
    hidden = layer.hidden_size
    for name, param in layer.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(param)
            if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(param[hidden : 2 * hidden])
        else:
            init = nn.init.xavier_uniform_ if name.startswith("weight_ih") else nn.init.orthogonal_
            for gate in param.chunk(param.shape[0] // hidden):
                init(gate)
