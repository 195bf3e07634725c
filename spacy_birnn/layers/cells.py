"""The recurrent cells, run over all sequences of a batch and in all directions at once.

PyTorch's own modules spend most of a CPU's time between the small operations of each step, and in
autograd's record of them. Here what does not depend on the step before is done for all steps in one
product (the projections of the input, the derivatives of the gates, the gradients of the weights),
and a step is left with one product and a few element-wise operations.

A cell is two functions on arrays of shape (directions, rows, ...), the rows in time-major order:
`forward` turns the projected input into states, `backward` the gradient of the states into that of
the projected input, that of the product of the state before with the recurrent weights, and those
of any further weights. `recurrent` makes layers of them.
"""

from typing import Any, Dict, Iterator, List, Optional, Tuple, Type

import numpy as np
import torch
from torch import Tensor

from .packing import TimeMajor


class Plan:
    """The order in which a batch is read, on a device: a `TimeMajor` for each direction, which
    differ only in their rows and places.

    lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
    reverse (Tuple[bool, ...]): For each direction whether it reads a sequence from its end.
    device (torch.device): Where the rows are.
    """

    def __init__(self, lengths: np.ndarray, reverse: Tuple[bool, ...], device: torch.device):
        orders = [TimeMajor(lengths, reverse=back) for back in reverse]
        self.rows = [torch.as_tensor(order.rows, device=device) for order in orders]
        self.places = [torch.as_tensor(order.places, device=device) for order in orders]
        self.sizes = orders[0].sizes
        self.follow = orders[0].follow
        self.before = torch.as_tensor(orders[0].before, device=device)
        self.mean_size = len(orders[0].rows) / max(1, len(self.sizes))

    def steps(self, *arrays: Tensor) -> Iterator[Tuple[Tensor, ...]]:
        """The rows of each array, step by step (views)."""
        return zip(*(array.split(self.sizes, dim=1) for array in arrays))

    def steps_back(self, *arrays: Tensor) -> List[Tuple[Tensor, ...]]:
        """The same from the last step to the first; each array's rows are followed by those of the
        step before that they continue (None at the first step)."""
        parts = [array.split(self.sizes, dim=1) for array in arrays]
        pairs = []
        for part in parts:
            before = [last[:, : now.shape[1]] for last, now in zip(part, part[1:])]
            pairs += [part, [None, *before]]
        return list(zip(*pairs))[::-1]

    def state_before(self, states: Tensor) -> Tensor:
        """The state before each row, 0 at the first step: (directions, rows, width), both ways."""
        shifted = torch.zeros_like(states)
        shifted[:, self.follow] = states[:, self.before]
        return shifted

    def flat_before(self, states: Tensor) -> Tensor:
        """The same for states in flat order, which stay in flat order."""
        ordered = torch.stack([part[rows] for part, rows in zip(states, self.rows)])
        shifted = self.state_before(ordered)
        return torch.stack([part[places] for part, places in zip(shifted, self.places)])


class Cell:
    """What every cell provides."""

    # Number of gates: how many times the state's width the projected input has
    gates: int
    # PyTorch's own kernel, where it has one: its name, the number of its states (h, or h and c),
    # and which of our gates stands in each of its places
    kernel: Optional[str] = None
    n_states = 1
    torch_gates: Tuple[int, ...]
    # The gate whose bias starts at 1, so that the cell state is kept at first
    forget: Optional[int] = None
    # Which of the gates are between 0 and 1 and let something through, by name
    named: Dict[str, int] = {}
    # How many weights each unit has from its cell state to its gates
    peepholes = 0

    @staticmethod
    def forward(X: Tensor, plan: Plan, *weights: Tensor) -> Tuple[Tensor, Any]:
        """The states, shape (directions, rows, width), and what `backward` needs beside them, of
        which the first are the gates, shape (directions, rows, gates * width), if it has any.

        X (Tensor): The projected input, shape (directions, rows, gates * width); overwritten.
        *weights (Tensor): The recurrent weights U, shape (directions, width, gates * width), and
            of a cell that has any the peepholes, shape (directions, 1, peepholes * width).
        """
        raise NotImplementedError  # pragma: no cover

    @staticmethod
    def backward(
        dH: Tensor, H: Tensor, saved: Any, plan: Plan, *weights: Tensor
    ) -> Tuple[Tensor, ...]:
        """The gradients of the projected input and of h_{t-1} U, both of shape (directions, rows,
        gates * width), and those of further weights.

        dH (Tensor): The gradient of the states; overwritten.
        H (Tensor): The states.
        """
        raise NotImplementedError  # pragma: no cover


def _tanh(X: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2 x) - 1, which takes a third of the time of torch.tanh on a CPU."""
    return X.mul(2).sigmoid_().mul_(2).sub_(1)


class RNN(Cell):
    """h_t = tanh(W x_t + U h_{t-1} + b) (Elman 1990)."""

    gates = 1
    kernel = "rnn_tanh"
    torch_gates = (0,)

    @staticmethod
    def forward(X: Tensor, plan: Plan, *weights: Tensor) -> Tuple[Tensor, Any]:
        (U,) = weights
        before = None
        for (h,) in plan.steps(X):
            if before is not None:
                h.baddbmm_(before[:, : h.shape[1]], U)
            h.copy_(_tanh(h))
            before = h
        return X, ()

    @staticmethod
    def backward(
        dH: Tensor, H: Tensor, saved: Any, plan: Plan, *weights: Tensor
    ) -> Tuple[Tensor, ...]:
        (U,) = weights
        slope = 1 - H * H
        Ut = U.transpose(1, 2)
        for dh, dh_before, slope_now, _ in plan.steps_back(dH, slope):
            dh *= slope_now
            if dh_before is not None:
                dh_before.baddbmm_(dh, Ut)
        return dH, dH


class GRU(Cell):
    """r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)    z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)
    n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1}))  h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    (Cho et al. 2014, with the reset gate after the product, as cuDNN has it)."""

    gates = 3
    kernel = "gru"
    torch_gates = (0, 1, 2)
    named = {"reset": 0, "update": 1}

    @staticmethod
    def forward(X: Tensor, plan: Plan, *weights: Tensor) -> Tuple[Tensor, Any]:
        (U,) = weights
        width = U.shape[1]
        H = X.new_empty((*X.shape[:2], width))
        product = torch.zeros_like(H)  # U_n h_{t-1}
        # (directions, rows, 3 * width) -> the gates r and z side by side, and n
        rz, n = X.split([2 * width, width], dim=-1)
        r, z = rz.chunk(2, dim=-1)
        before = None
        for h, rz_now, r_now, z_now, n_now, product_now in plan.steps(H, rz, r, z, n, product):
            if before is not None:
                before = before[:, : h.shape[1]]
                UH_rz, UH_n = torch.bmm(before, U).split([2 * width, width], dim=-1)
                rz_now += UH_rz
                product_now.copy_(UH_n)
            rz_now.sigmoid_()
            n_now.copy_(_tanh(n_now.addcmul_(r_now, product_now)))
            torch.sub(n_now, n_now * z_now, out=h)
            if before is not None:
                h.addcmul_(z_now, before)
            before = h
        return H, (X, product)

    @staticmethod
    def backward(
        dH: Tensor, H: Tensor, saved: Any, plan: Plan, *weights: Tensor
    ) -> Tuple[Tensor, ...]:
        (U,) = weights
        gates, product = saved
        r, z, n = gates.chunk(3, dim=-1)
        slope_n = (1 - z) * (1 - n * n)
        slope_z = (plan.state_before(H) - n) * z * (1 - z)
        # (directions, rows, gate, width), the gates in the order r, z, n
        slopes = torch.stack([slope_n * product * r * (1 - r), slope_z, slope_n * r], dim=2)
        dA = torch.empty_like(slopes)
        Ut = U.transpose(1, 2)
        for dh, dh_before, slopes_now, _, da, _, z_now, _ in plan.steps_back(dH, slopes, dA, z):
            torch.mul(dh.unsqueeze(2), slopes_now, out=da)
            if dh_before is not None:
                # (directions, sequences, gate, width) -> (directions, sequences, gates * width)
                dh_before.baddbmm_(da.flatten(2), Ut).addcmul_(dh, z_now)
        dX = dA.clone()
        _, _, dX_n = dX.unbind(dim=2)
        torch.mul(dH, slope_n, out=dX_n)
        # (directions, rows, gate, width) -> (directions, rows, gates * width)
        return dX.flatten(2), dA.flatten(2)


class LSTM(Cell):
    """i_t, f_t, o_t = sigmoid(W x_t + U h_{t-1} + b), each with weights of its own
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t                  h_t = o_t * tanh(c_t)

    (Hochreiter and Schmidhuber 1997; Gers et al. 2000). The gates stand in the order g, i, f, o."""

    gates = 4
    kernel = "lstm"
    n_states = 2
    torch_gates = (1, 2, 0, 3)
    forget = 2
    named = {"input": 1, "forget": 2, "output": 3}

    @staticmethod
    def forward(X: Tensor, plan: Plan, *weights: Tensor) -> Tuple[Tensor, Any]:
        (U,) = weights
        width = U.shape[1]
        # So that one sigmoid serves all four gates: tanh(x) = 2 sigmoid(2 x) - 1
        double = torch.ones(4 * width, dtype=X.dtype, device=X.device)
        double[:width] = 2
        X, U = X.mul_(double), U * double
        H = X.new_empty((*X.shape[:2], width))
        C, squashed = torch.empty_like(H), torch.empty_like(H)
        before = c_before = None
        arrays = (X, *X.chunk(4, dim=-1), H, C, squashed)
        for gates, g, i, f, o, h, c, squashed_now in plan.steps(*arrays):
            if before is not None:
                gates.baddbmm_(before[:, : h.shape[1]], U)
            gates.sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(g, i, out=c)
            if c_before is not None:
                c.addcmul_(f, c_before[:, : h.shape[1]])
            squashed_now.copy_(_tanh(c))
            torch.mul(o, squashed_now, out=h)
            before, c_before = h, c
        return H, (X, C, squashed)

    @staticmethod
    def backward(
        dH: Tensor, H: Tensor, saved: Any, plan: Plan, *weights: Tensor
    ) -> Tuple[Tensor, ...]:
        (U,) = weights
        gates, C, squashed = saved
        g, i, f, o = gates.chunk(4, dim=-1)
        slopes = [i * (1 - g * g), g * i * (1 - i), plan.state_before(C) * f * (1 - f)]
        slope_c = o * (1 - squashed * squashed)
        dA = _through_cell_state(dH, slopes, squashed * o * (1 - o), slope_c, f, plan, U)
        return dA, dA


class PeepholeLSTM(Cell):
    """An LSTM whose gates see the cell state: i_t and f_t add p_i * c_{t-1} and p_f * c_{t-1} to
    what they are made of, o_t adds p_o * c_t (Gers and Schmidhuber 2000,
    https://doi.org/10.1109/IJCNN.2000.861302). Gates as in LSTM; peepholes in the order i, f, o."""

    gates = 4
    forget = 2
    named = {"input": 1, "forget": 2, "output": 3}
    peepholes = 3

    @staticmethod
    def forward(X: Tensor, plan: Plan, *weights: Tensor) -> Tuple[Tensor, Any]:
        U, P = weights
        width = U.shape[1]
        H = X.new_empty((*X.shape[:2], width))
        C, squashed = torch.empty_like(H), torch.empty_like(H)
        # (directions, rows, 4 * width) -> g, the gates i and f side by side, and o
        g, i_f, o = X.split([width, 2 * width, width], dim=-1)
        i, f = i_f.chunk(2, dim=-1)
        P_if, p_o = P.split([2 * width, width], dim=-1)
        P_if = P_if.unflatten(2, (2, width))  # (directions, 1, gate, width)
        before = c_before = None
        for gates, g_now, i_f_now, i_now, f_now, o_now, h, c, squashed_now in plan.steps(
            X, g, i_f, i, f, o, H, C, squashed
        ):
            if before is not None and c_before is not None:
                before, c_before = before[:, : h.shape[1]], c_before[:, : h.shape[1]]
                gates.baddbmm_(before, U)
                # (directions, sequences, 2 * width) -> (directions, sequences, gate, width)
                i_f_now.unflatten(2, (2, width)).addcmul_(c_before.unsqueeze(2), P_if)
            i_f_now.sigmoid_()
            g_now.copy_(_tanh(g_now))
            torch.mul(g_now, i_now, out=c)
            if c_before is not None:
                c.addcmul_(f_now, c_before)
            o_now.addcmul_(c, p_o).sigmoid_()
            squashed_now.copy_(_tanh(c))
            torch.mul(o_now, squashed_now, out=h)
            before, c_before = h, c
        return H, (X, C, squashed)

    @staticmethod
    def backward(
        dH: Tensor, H: Tensor, saved: Any, plan: Plan, *weights: Tensor
    ) -> Tuple[Tensor, ...]:
        U, P = weights
        gates, C, squashed = saved
        g, i, f, o = gates.chunk(4, dim=-1)
        p_i, p_f, p_o = P.chunk(3, dim=-1)
        C_before = plan.state_before(C)
        slope_o = squashed * o * (1 - o)
        slopes = [i * (1 - g * g), g * i * (1 - i), C_before * f * (1 - f)]
        slope_c = o * (1 - squashed * squashed) + slope_o * p_o
        # The cell state before is kept, and seen by the gates i and f
        kept = f + slopes[1] * p_i + slopes[2] * p_f
        dA = _through_cell_state(dH, slopes, slope_o, slope_c, kept, plan, U)
        width = U.shape[1]
        _, dA_ifo = dA.split([width, 3 * width], dim=2)
        # What i, f and o see, side by side: (directions, rows, 3 * width)
        seen = torch.cat([C_before, C_before, C], dim=2)
        dP = (dA_ifo * seen).sum(dim=1, keepdim=True)
        return dA, dA, dP


def _through_cell_state(
    dH: Tensor,
    slopes: List[Tensor],
    slope_o: Tensor,
    slope_c: Tensor,
    kept: Tensor,
    plan: Plan,
    U: Tensor,
) -> Tensor:
    """The backward pass of a cell with a cell state, step by step: the gradient of what its gates
    g, i, f and o are made of, shape (directions, rows, 4 * width), from the derivatives of each
    row.

    dH (Tensor): The gradient of the states; overwritten.
    slopes (List[Tensor]): Those of the cell state with respect to what g, i and f are made of.
    slope_o, slope_c (Tensor): Those of the state with respect to what o is made of and to the cell
        state.
    kept (Tensor): That of the cell state with respect to the one before.
    """
    # (directions, rows, gate, width), the gates in the order g, i, f, o
    dA = dH.new_empty((*dH.shape[:2], 4, dH.shape[2]))
    slopes_gif = torch.stack(slopes, dim=2)
    dC = torch.zeros_like(dH)
    Ut = U.transpose(1, 2)
    for step in plan.steps_back(dH, dC, dA, slope_o, slope_c, slopes_gif, kept):
        dh, dh_before, dc, dc_before, da, _, slope_o_now, _, slope_c_now, _ = step[:10]
        slopes_now, _, kept_now, _ = step[10:]
        da_gif, da_o = da[:, :, :3], da[:, :, 3]
        torch.mul(dh, slope_o_now, out=da_o)
        dc.addcmul_(dh, slope_c_now)
        torch.mul(dc.unsqueeze(2), slopes_now, out=da_gif)
        if dh_before is not None:
            torch.mul(dc, kept_now, out=dc_before)
            # (directions, sequences, gate, width) -> (directions, sequences, gates * width)
            dh_before.baddbmm_(da.flatten(2), Ut)
    return dA.flatten(2)  # (directions, rows, gates * width)


# "grid_lstm" is a layer, made of the cell "lstm"
CELL_CLASSES: Dict[str, Type[Cell]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "peephole_lstm": PeepholeLSTM,
}
