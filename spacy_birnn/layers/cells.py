"""The recurrent cells, run over all sequences of a batch and in all directions at once.

PyTorch's own modules spend most of a CPU's time between the small operations of each step, and in
autograd's record of them. Here what does not depend on the step before is done for all steps in one
product (the projections of the input, the derivatives of the gates, the gradients of the weights),
and a step is left with one product and a few element-wise operations.

A cell is two functions on arrays of shape (directions, rows, ...), the rows in time-major order:
`forward` turns the projected input into states, `backward` the gradient of the states into that of
the projected input and that of the product of the state before with the recurrent weights.
"""

from typing import Any, Dict, Iterator, List, Tuple, Type

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .packing import invert, time_major


class Plan:
    """The order in which a batch is read.

    lengths (np.ndarray): The length of each sequence, shape (sequences,), each >= 0.
    reverse (Tuple[bool, ...]): For each direction whether it reads a sequence from its end.
    device (torch.device): Where the rows are.
    """

    def __init__(self, lengths: np.ndarray, reverse: Tuple[bool, ...], device: torch.device):
        rows, batch_sizes, _ = time_major(lengths)
        all_rows = [time_major(lengths, reverse=True)[0] if back else rows for back in reverse]
        self.rows = [torch.as_tensor(r, device=device) for r in all_rows]
        self.places = [torch.as_tensor(invert(r), device=device) for r in all_rows]
        self.sizes: List[int] = batch_sizes.tolist()
        self.n_first = self.sizes[0] if self.sizes else 0
        shift = np.repeat(batch_sizes[:-1], batch_sizes[1:])
        before = np.arange(self.n_first, len(rows)) - shift
        self.before = torch.as_tensor(before, device=device)
        self.mean_size = len(rows) / max(1, len(batch_sizes))

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
        shifted[:, self.n_first :] = states[:, self.before]
        return shifted


class Cell:
    """What every cell provides."""

    # Number of gates: how many times the state's width the projected input has
    gates: int
    # PyTorch's own module, and where it has each of our gates
    module: Type[Any]
    torch_gates: Tuple[int, ...]

    @staticmethod
    def forward(X: Tensor, U: Tensor, plan: Plan) -> Tuple[Tensor, Any]:
        """The states, shape (directions, rows, width), and what `backward` needs beside them.

        X (Tensor): The projected input, shape (directions, rows, gates * width); overwritten.
        U (Tensor): Recurrent weights, shape (directions, width, gates * width).
        """
        raise NotImplementedError  # pragma: no cover

    @staticmethod
    def backward(dH: Tensor, H: Tensor, saved: Any, U: Tensor, plan: Plan) -> Tuple[Tensor, Tensor]:
        """The gradients of the projected input and of h_{t-1} U, both of shape (directions, rows,
        gates * width).

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
    module = nn.RNN
    torch_gates = (0,)

    @staticmethod
    def forward(X: Tensor, U: Tensor, plan: Plan) -> Tuple[Tensor, Any]:
        before = None
        for (h,) in plan.steps(X):
            if before is not None:
                h.baddbmm_(before[:, : h.shape[1]], U)
            h.copy_(_tanh(h))
            before = h
        return X, ()

    @staticmethod
    def backward(dH: Tensor, H: Tensor, saved: Any, U: Tensor, plan: Plan) -> Tuple[Tensor, Tensor]:
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
    module = nn.GRU
    torch_gates = (0, 1, 2)

    @staticmethod
    def forward(X: Tensor, U: Tensor, plan: Plan) -> Tuple[Tensor, Any]:
        width = U.shape[1]
        H = X.new_empty((*X.shape[:2], width))
        product = torch.zeros_like(H)  # U_n h_{t-1}
        rz, n = X[..., : 2 * width], X[..., 2 * width :]
        r, z = rz.chunk(2, dim=-1)
        before = None
        for h, rz_now, r_now, z_now, n_now, product_now in plan.steps(H, rz, r, z, n, product):
            if before is not None:
                before = before[:, : h.shape[1]]
                UH = torch.bmm(before, U)
                rz_now += UH[..., : 2 * width]
                product_now.copy_(UH[..., 2 * width :])
            rz_now.sigmoid_()
            n_now.copy_(_tanh(n_now.addcmul_(r_now, product_now)))
            torch.sub(n_now, n_now * z_now, out=h)
            if before is not None:
                h.addcmul_(z_now, before)
            before = h
        return H, (X, product)

    @staticmethod
    def backward(dH: Tensor, H: Tensor, saved: Any, U: Tensor, plan: Plan) -> Tuple[Tensor, Tensor]:
        gates, product = saved
        r, z, n = gates.chunk(3, dim=-1)
        slope_n = (1 - z) * (1 - n * n)
        slope_z = (plan.state_before(H) - n) * z * (1 - z)
        slopes = torch.stack([slope_n * product * r * (1 - r), slope_z, slope_n * r], dim=2)
        dA = torch.empty_like(slopes)
        Ut = U.transpose(1, 2)
        for dh, dh_before, slopes_now, _, da, _, z_now, _ in plan.steps_back(dH, slopes, dA, z):
            torch.mul(dh.unsqueeze(2), slopes_now, out=da)
            if dh_before is not None:
                dh_before.baddbmm_(da.flatten(2), Ut).addcmul_(dh, z_now)
        dX = dA.clone()
        torch.mul(dH, slope_n, out=dX[:, :, 2])
        return dX.flatten(2), dA.flatten(2)


class LSTM(Cell):
    """i_t, f_t, o_t = sigmoid(W x_t + U h_{t-1} + b), each with weights of its own
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t                  h_t = o_t * tanh(c_t)

    (Hochreiter and Schmidhuber 1997; Gers et al. 2000). The gates stand in the order g, i, f, o."""

    gates = 4
    module = nn.LSTM
    torch_gates = (1, 2, 0, 3)

    @staticmethod
    def forward(X: Tensor, U: Tensor, plan: Plan) -> Tuple[Tensor, Any]:
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
    def backward(dH: Tensor, H: Tensor, saved: Any, U: Tensor, plan: Plan) -> Tuple[Tensor, Tensor]:
        gates, C, squashed = saved
        width = U.shape[1]
        g, i, f, o = gates.chunk(4, dim=-1)
        slope_o = squashed * o * (1 - o)
        slope_c = o * (1 - squashed * squashed)
        slopes = torch.stack(
            [i * (1 - g * g), g * i * (1 - i), plan.state_before(C) * f * (1 - f)], dim=2
        )
        dA = gates.new_empty((*gates.shape[:2], 4, width))
        dC = torch.zeros_like(C)
        Ut = U.transpose(1, 2)
        arrays = (dH, dC, dA, slope_o, slope_c, slopes, f)
        for step in plan.steps_back(*arrays):
            dh, dh_before, dc, dc_before, da, _, slope_o_now, _, slope_c_now, _ = step[:10]
            slopes_now, _, f_now, _ = step[10:]
            torch.mul(dh, slope_o_now, out=da[:, :, 3])
            dc.addcmul_(dh, slope_c_now)
            torch.mul(dc.unsqueeze(2), slopes_now, out=da[:, :, :3])
            if dh_before is not None:
                torch.mul(dc, f_now, out=dc_before)
                dh_before.baddbmm_(da.flatten(2), Ut)
        return dA.flatten(2), dA.flatten(2)


CELLS: Dict[str, Type[Cell]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


def run(cell: Type[Cell], X: Tensor, W: Tensor, U: Tensor, b: Tensor, plan: Plan) -> Tensor:
    """Run a cell over a batch, in the way that is faster: PyTorch's own kernel where no gradient is
    needed or where a step has hardly more than one sequence, `Recurrence` elsewhere.

    X (Tensor): The rows, shape (rows, input_width), in flat order.
    W, U, b (Tensor): Weights, shape (directions, input_width | width | 1, gates * width).
    RETURNS (Tensor): The states, shape (directions, rows, width), in flat order.
    """
    if torch.is_grad_enabled() and plan.mean_size > 2:
        projected = torch.baddbmm(b, X.expand(len(W), -1, -1), W)
        return Recurrence.apply(projected, U, cell, plan)
    n_directions, width, _ = U.shape
    weights = {}
    for part, name in ((W, "weight_ih"), (U, "weight_hh"), (b, "bias_ih"), (0 * b, "bias_hh")):
        gates = part.unflatten(2, (cell.gates, width))[:, :, cell.torch_gates, :].flatten(2)
        for values, suffix in zip(gates, ("_l0", "_l0_reverse")):
            weights[name + suffix] = values.flatten() if "bias" in name else values.T
    kernel = cell.module(X.shape[1], width, bidirectional=n_directions == 2, device="meta")
    packed = PackedSequence(X[plan.rows[0]], torch.as_tensor(plan.sizes))
    states = torch.func.functional_call(kernel, weights, (packed,))[0].data
    return states[plan.places[0]].unflatten(1, (n_directions, width)).transpose(0, 1)


class Recurrence(torch.autograd.Function):
    """Run a cell over a batch.

    projected (Tensor): W x + b of each row for each direction, shape (directions, rows, gates *
        width), in flat order.
    U (Tensor): Recurrent weights, shape (directions, width, gates * width).
    RETURNS (Tensor): The states, shape (directions, rows, width), in flat order.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, U: Tensor, cell: Type[Cell], plan: Plan) -> Tensor:
        X = torch.stack([part[rows] for part, rows in zip(projected, plan.rows)])
        H, saved = cell.forward(X, U, plan)
        ctx.cell, ctx.plan, ctx.saved = cell, plan, saved
        ctx.save_for_backward(U, H)
        return torch.stack([part[places] for part, places in zip(H, plan.places)])

    @staticmethod
    def backward(ctx: Any, dY: Tensor) -> Any:
        U, H = ctx.saved_tensors
        plan = ctx.plan
        dH = torch.stack([part[rows] for part, rows in zip(dY, plan.rows)])
        dX, dA = ctx.cell.backward(dH, H, ctx.saved, U, plan)
        dU = torch.bmm(H[:, plan.before].transpose(1, 2), dA[:, plan.n_first :])
        d_projected = torch.stack([part[places] for part, places in zip(dX, plan.places)])
        return d_projected, dU, None, None
