"""Layers of recurrent cells: the weights of each direction, and how a batch runs through them."""

from typing import Any, Dict, List, Optional, Tuple, Type, cast

import torch
from torch import Tensor, nn

from .cells import CELL_CLASSES, Cell, Plan


class RecurrentLayer(nn.Module):
    """One layer of a stack: the weights of its directions, W (directions, input_width, gates *
    hidden_width), U (directions, hidden_width, gates * hidden_width), b and, for a cell that has
    them, the peepholes P. A gate thus has (input_width + hidden_width) * hidden_width +
    hidden_width parameters for each direction.

    input_width (int): Width of the input.
    hidden_width (int): Width of the state of one direction.
    cell (str): Name of the cell, one of `cells.CELL_CLASSES`.
    reverse (Tuple[bool, ...]): For each direction whether it reads a sequence from its end.
    """

    # Times the width of the state that W, U and b have, where it is not the cell's gates
    blocks = 1

    def __init__(
        self, input_width: int, hidden_width: int, *, cell: str, reverse: Tuple[bool, ...]
    ):
        super().__init__()
        self.cell = CELL_CLASSES[cell]
        n, size = len(reverse), self.blocks * self.cell.gates * hidden_width
        self.W = nn.Parameter(torch.empty(n, input_width, size))
        self.U = nn.Parameter(torch.empty(n, hidden_width, size))
        self.b = nn.Parameter(torch.zeros(n, 1, size))
        if self.cell.peepholes:
            self.P = nn.Parameter(torch.zeros(n, 1, self.cell.peepholes * hidden_width))
        self._init_weights(hidden_width)
        self._torch_weights: Optional[List[List[Tensor]]] = None

    @torch.no_grad()
    def _init_weights(self, hidden_width: int) -> None:
        """Glorot for the input, orthogonal for the recurrence (Saxe et al. 2014), the rest 0 but a
        forget gate's bias (Jozefowicz et al. 2015)."""
        for W, U in zip(self.W, self.U):
            for gate in W.split(hidden_width, dim=1):
                nn.init.xavier_uniform_(gate)
            for gate in U.split(hidden_width, dim=1):
                gate.copy_(nn.init.orthogonal_(torch.empty(hidden_width, hidden_width)))
        if self.cell.forget is not None:
            # (directions, 1, blocks * gates * width) -> (directions, 1, blocks, gates, width)
            gates = self.b.unflatten(2, (self.blocks, self.cell.gates, hidden_width))
            gates[:, :, :, self.cell.forget] = 1.0

    def forward(
        self, X: Tensor, plan: Plan, cell_state: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Run the layer.

        X (Tensor): The rows in flat order, shape (directions or 1, rows, input_width).
        plan (Plan): The order of reading.
        cell_state (Optional[Tensor]): What the layer below passed up.
        RETURNS (tuple): The states, shape (directions, rows, hidden_width), and the cell state for
            the layer above.
        """
        return self._run(X, self.W, self.b, plan, self.U, *self._peepholes()), None

    @torch.no_grad()
    def gates(self, X: Tensor, plan: Plan) -> Dict[str, Tensor]:
        """The gates of each row, by their names, which are those of `Cell.named`.

        X, plan: As for `forward`.
        RETURNS (Dict[str, Tensor]): Each of shape (directions, rows, hidden_width), in flat order,
            between 0 and 1.
        """
        return self._gates(X, plan, self.W, self.b, self.U, *self._peepholes())

    def _gates(
        self, X: Tensor, plan: Plan, W: Tensor, b: Tensor, *weights: Tensor
    ) -> Dict[str, Tensor]:
        if not self.cell.named:
            return {}
        projected = torch.baddbmm(b, X.expand(len(W), -1, -1), W)
        ordered = torch.stack([part[rows] for part, rows in zip(projected, plan.rows)])
        _, (gates, *_) = self.cell.forward(ordered, plan, *weights)
        flat = torch.stack([part[places] for part, places in zip(gates, plan.places)])
        parts = flat.chunk(self.cell.gates, dim=2)
        return {name: parts[i] for name, i in self.cell.named.items()}

    def _peepholes(self) -> Tuple[Tensor, ...]:
        return (self.P,) if self.cell.peepholes else ()

    def _run(self, X: Tensor, W: Tensor, b: Tensor, plan: Plan, *weights: Tensor) -> Tensor:
        """Run the cell over a batch in the way that is faster: PyTorch's own kernel, if it has one,
        where no gradient is needed or a step has hardly more than one sequence; `Recurrence`
        elsewhere.

        X (Tensor): The rows in flat order, shape (directions or 1, rows, input_width).
        W, b (Tensor): Weights of the input, shape (directions, input_width or 1, gates * width).
        *weights (Tensor): Recurrent weights, as `Cell.forward` takes them.
        RETURNS (Tensor): The states, shape (directions, rows, width), in flat order.
        """
        X = X.expand(len(W), -1, -1)
        if self.cell.kernel is None or (torch.is_grad_enabled() and plan.mean_size > 2):
            return Recurrence.apply(torch.baddbmm(b, X, W), self.cell, plan, *weights)
        sizes = torch.as_tensor(plan.sizes, device="cpu")
        states = []
        for x, own, rows, places in zip(X, self.torch_weights(), plan.rows, plan.places):
            states.append(run_kernel(self.cell, own, x[rows], sizes)[places])
        return torch.stack(states)

    def torch_weights(self) -> List[List[Tensor]]:
        """The weights of each direction as PyTorch's own kernel takes them, see `run_kernel`. To
        bring them into its order takes longer than to run it on a short document. Where no gradient
        is needed they are therefore kept until `train` or `eval` is called, as it is between a
        change of the weights and their use."""
        if torch.is_grad_enabled():
            return self._make_torch_weights()
        if self._torch_weights is None:
            self._torch_weights = self._make_torch_weights()
        return self._torch_weights

    def train(self, mode: bool = True) -> "RecurrentLayer":
        self._torch_weights = None
        return super().train(mode)

    def _make_torch_weights(self) -> List[List[Tensor]]:
        order = list(self.cell.torch_gates)
        size = self.cell.gates * self.U.shape[1]
        made = []
        for W, U, b in zip(self.W, self.U, self.b):
            # (gates * width, input_width | width | 1) each, the gates in PyTorch's order
            parts = [
                part[:, :size].T.unflatten(0, (self.cell.gates, -1))[order].flatten(0, 1)
                for part in (W, U, b, torch.zeros_like(b))
            ]
            if W.is_cuda:
                # cuDNN reads one array in which they follow each other
                sizes = [part.numel() for part in parts]
                one = torch.cat([part.flatten() for part in parts]).split(sizes)
                parts = [flat.view(part.shape) for flat, part in zip(one, parts)]
            made.append([*parts[:2], parts[2][:, 0], parts[3][:, 0]])
        return made


class GridLSTMLayer(RecurrentLayer):
    """A layer of a Grid LSTM over time and depth (Kalchbrenner et al. 2015, two-dimensional,
    https://arxiv.org/abs/1507.01526). At each step two LSTM blocks read the same, the output x of
    the layer below and the state h of the step before, each into a cell state of its own. One
    passes its cell state on along time, the other up the stack; the output is the state y of the
    second:

        h_t, c_t = LSTM([x_t, h_{t-1}], c_{t-1})        y_t, m'_t = LSTM'([x_t, h_{t-1}], m_t)

    The cell state m of the lowest layer is a linear map of its input. Only the first block is a
    recurrence; the second is computed for all steps at once.
    """

    blocks = 2

    def __init__(
        self, input_width: int, hidden_width: int, *, lowest: bool, reverse: Tuple[bool, ...]
    ):
        super().__init__(input_width, hidden_width, cell="lstm", reverse=reverse)
        if lowest:
            self.M = nn.Parameter(torch.empty(len(reverse), input_width, hidden_width))
            for M in self.M:
                nn.init.xavier_uniform_(M)

    @torch.no_grad()
    def gates(self, X: Tensor, plan: Plan) -> Dict[str, Tensor]:
        """Those of the block along time."""
        W, U, b = (part.chunk(2, dim=2)[0] for part in (self.W, self.U, self.b))
        return self._gates(X, plan, W, b, U)

    def forward(
        self, X: Tensor, plan: Plan, cell_state: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        (W, W_up), (U, U_up), (b, b_up) = (
            part.chunk(2, dim=2) for part in (self.W, self.U, self.b)
        )
        H = self._run(X, W, b, plan, U)
        X = X.expand(len(W), -1, -1)
        if cell_state is None:
            cell_state = torch.bmm(X, self.M)
        gates = torch.baddbmm(b_up, X, W_up) + torch.bmm(plan.flat_before(H), U_up)
        g, i, f, o = gates.chunk(4, dim=2)  # (directions, rows, 4 * width) -> (.., .., width) each
        cell_state = f.sigmoid() * cell_state + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell_state.tanh(), cell_state


def run_kernel(cell: Type[Cell], weights: List[Tensor], rows: Tensor, sizes: Tensor) -> Tensor:
    """Run PyTorch's own kernel for a cell. Its module would be made anew for every batch, which for
    one short document takes longer than to run it.

    weights (List[Tensor]): Those of one direction, from `RecurrentLayer.torch_weights`.
    rows (Tensor): The rows in time-major order.
    sizes (Tensor): The number of sequences at each step, on the CPU.
    RETURNS (Tensor): The outputs in the same order.
    """
    zeros = rows.new_zeros((1, int(sizes[0]), weights[1].shape[1]))
    before = (zeros,) * cell.n_states if cell.n_states > 1 else zeros
    function = getattr(torch, cast(str, cell.kernel))
    train = torch.is_grad_enabled()
    output, *_ = function(rows, sizes, before, weights, True, 1, 0.0, train, False)
    return output


class Recurrence(torch.autograd.Function):
    """Run a cell over a batch.

    projected (Tensor): W x + b of each row for each direction, shape (directions, rows, gates *
        width), in flat order.
    *weights (Tensor): Recurrent weights, as `Cell.forward` takes them.
    RETURNS (Tensor): The states, shape (directions, rows, width), in flat order.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, cell: Type[Cell], plan: Plan, *weights: Tensor
    ) -> Tensor:
        X = torch.stack([part[rows] for part, rows in zip(projected, plan.rows)])
        H, saved = cell.forward(X, plan, *weights)
        ctx.cell, ctx.plan, ctx.saved = cell, plan, saved
        ctx.save_for_backward(H, *weights)
        return torch.stack([part[places] for part, places in zip(H, plan.places)])

    @staticmethod
    def backward(ctx: Any, dY: Tensor) -> Any:
        H, *weights = ctx.saved_tensors
        plan = ctx.plan
        dH = torch.stack([part[rows] for part, rows in zip(dY, plan.rows)])
        dX, dA, *more = ctx.cell.backward(dH, H, ctx.saved, plan, *weights)
        dU = torch.bmm(H[:, plan.before].transpose(1, 2), dA[:, plan.follow])
        d_projected = torch.stack([part[places] for part, places in zip(dX, plan.places)])
        return d_projected, None, None, dU, *more
