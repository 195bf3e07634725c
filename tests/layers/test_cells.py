import numpy as np
import pytest
import torch

from spacy_birnn.checks import CELLS, KERNEL_CELLS
from spacy_birnn.layers.cells import CELL_CLASSES, Plan
from spacy_birnn.layers.recurrent import GridLSTMLayer, Recurrence, RecurrentLayer

RAGGED = np.array([3, 0, 1, 5, 3])
WIDTH = 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(x, h, c, U):
    return np.tanh(x + h @ U), c


def gru_step(x, h, c, U):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x, 3), np.split(h @ U, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h, c


def lstm_step(x, h, c, U):
    g, i, f, o = np.split(x + h @ U, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def peephole_step(x, h, c, U, P):
    (g, i, f, o), (p_i, p_f, p_o) = np.split(x + h @ U, 4), np.split(P[0], 3)
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return sigmoid(o + p_o * c) * np.tanh(c), c


STEPS = {"rnn": rnn_step, "gru": gru_step, "lstm": lstm_step, "peephole_lstm": peephole_step}


def walk(lengths, backward):
    """The rows of each sequence, in the order of reading."""
    for i, length in enumerate(lengths):
        rows = range(sum(lengths[:i]), sum(lengths[:i]) + length)
        yield reversed(rows) if backward else rows


def naive(cell, projected, weights, lengths, reverse):
    """One sequence after the other, one row after the other, one direction after the other."""
    outputs = np.zeros((len(reverse), len(projected[0]), WIDTH))
    for direction, backward in enumerate(reverse):
        for rows in walk(lengths, backward):
            h, c = np.zeros(WIDTH), np.zeros(WIDTH)
            for row in rows:
                own = [part[direction] for part in weights]
                h, c = STEPS[cell](projected[direction, row], h, c, *own)
                outputs[direction, row] = h
    return outputs


def problem(cell, n_directions, lengths):
    generator = torch.Generator().manual_seed(0)
    size = CELL_CLASSES[cell].gates * WIDTH
    shapes = [(int(sum(lengths)), size), (WIDTH, size)]
    if CELL_CLASSES[cell].peepholes:
        shapes.append((1, CELL_CLASSES[cell].peepholes * WIDTH))
    return [
        torch.randn(n_directions, *shape, generator=generator, dtype=torch.double).requires_grad_()
        for shape in shapes
    ]


def test_the_cells_that_settings_may_name_are_those_that_there_are():
    assert {*CELL_CLASSES, "grid_lstm"} == set(CELLS)
    with_kernel = {name for name, cell in CELL_CLASSES.items() if cell.kernel is not None}
    assert with_kernel == set(KERNEL_CELLS)


@pytest.mark.parametrize("cell", CELL_CLASSES)
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
@pytest.mark.parametrize("lengths", [RAGGED, np.array([1]), np.array([0, 4])])
def test_states_are_those_of_the_equations(cell, reverse, lengths):
    projected, *weights = problem(cell, len(reverse), lengths)
    given = projected.detach().clone()
    plan = Plan(lengths, reverse, projected.device)
    states = Recurrence.apply(projected, CELL_CLASSES[cell], plan, *weights)
    expected = naive(
        cell, given.numpy(), [part.detach().numpy() for part in weights], lengths, reverse
    )
    np.testing.assert_allclose(states.detach().numpy(), expected, atol=1e-12)
    assert torch.equal(projected, given), "the input is the caller's"


@pytest.mark.parametrize("cell", CELL_CLASSES)
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
def test_gradients_are_those_of_finite_differences(cell, reverse):
    inputs = problem(cell, len(reverse), RAGGED)
    plan = Plan(RAGGED, reverse, inputs[0].device)
    assert torch.autograd.gradcheck(
        lambda X, *weights: Recurrence.apply(X, CELL_CLASSES[cell], plan, *weights), inputs
    )


@pytest.mark.parametrize("cell", [*CELL_CLASSES, "grid_lstm"])
@pytest.mark.parametrize("peepholes", [0.0, 1.0])
def test_gates_are_those_of_the_equations(cell, peepholes):
    reverse = (False, True)
    plan = Plan(RAGGED, reverse, torch.device("cpu"))
    is_grid = cell == "grid_lstm"
    made = {"lowest": True} if is_grid else {"cell": cell}
    layer = (GridLSTMLayer if is_grid else RecurrentLayer)(3, WIDTH, reverse=reverse, **made)
    X = torch.randn(1, int(RAGGED.sum()), 3)
    torch.nn.init.normal_(layer.b)
    if cell == "peephole_lstm":
        torch.nn.init.constant_(layer.P, peepholes)
    gates = {name: gate.numpy() for name, gate in layer.gates(X, plan).items()}
    places = {"gru": ["reset", "update"], "rnn": []}.get(cell, ["", "input", "forget", "output"])
    assert [*gates] == [name for name in places if name]
    if not gates:
        return
    blocks = 2 if is_grid else 1
    W, U, b = (p.detach().chunk(blocks, dim=2)[0].numpy() for p in (layer.W, layer.U, layer.b))
    for direction, backward in enumerate(reverse):
        for rows in walk(RAGGED, backward):
            h, c = np.zeros(WIDTH), np.zeros(WIDTH)
            for row in rows:
                x = X[0, row].numpy() @ W[direction] + b[direction, 0]
                after = [] if not layer.cell.peepholes else [layer.P.detach().numpy()[direction]]
                step = STEPS["lstm" if is_grid else cell]
                before, (h, c) = (h, c), step(x, h, c, U[direction], *after)
                parts = np.split(x + before[0] @ U[direction], layer.cell.gates)
                # What a peephole adds: the cell state before, or after the output gate's own step
                seen = {"input": before[1], "forget": before[1], "output": c}
                for part, name in zip(parts, places):
                    extra = peepholes * seen[name] if after and name else 0.0
                    if name:
                        np.testing.assert_allclose(
                            gates[name][direction, row], sigmoid(part + extra), atol=1e-6
                        )


def test_a_grid_has_a_block_along_time_and_a_block_up_the_stack():
    reverse = (False, True)
    plan = Plan(RAGGED, reverse, torch.device("cpu"))
    layers = [GridLSTMLayer(3, WIDTH, lowest=True, reverse=reverse).double()]
    layers.append(GridLSTMLayer(WIDTH, WIDTH, lowest=False, reverse=reverse).double())
    X = torch.randn(2, int(RAGGED.sum()), 3, dtype=torch.double)
    memory, outputs = None, X
    for layer in layers:
        torch.nn.init.normal_(layer.b)
        outputs, memory = layer(outputs, plan, memory)
    for direction, backward in enumerate(reverse):
        for rows in walk(RAGGED, backward):
            states = [(np.zeros(WIDTH), np.zeros(WIDTH)) for _ in layers]
            for row in rows:
                x = X[direction, row].numpy()
                m = x @ layers[0].M[direction].detach().numpy()
                for i, layer in enumerate(layers):
                    W, U, b = (p[direction].detach().numpy() for p in (layer.W, layer.U, layer.b))
                    h, c = states[i]
                    time, depth = np.split(x @ W + b[0], 2), np.split(U, 2, axis=1)
                    up = lstm_step(time[1], h, m, depth[1])
                    states[i] = lstm_step(time[0], h, c, depth[0])
                    x, m = up
                np.testing.assert_allclose(outputs[direction, row].detach().numpy(), x, atol=1e-12)
