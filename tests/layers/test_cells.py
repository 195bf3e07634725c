import numpy as np
import pytest
import torch

from spacy_birnn.layers.cells import CELLS, Plan, Recurrence

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


STEPS = {"rnn": rnn_step, "gru": gru_step, "lstm": lstm_step}


def naive(cell, projected, U, lengths, reverse):
    """One sequence after the other, one row after the other, one direction after the other."""
    outputs = np.zeros((len(reverse), len(projected[0]), WIDTH))
    for direction, backward in enumerate(reverse):
        for i, length in enumerate(lengths):
            rows = range(sum(lengths[:i]), sum(lengths[:i]) + length)
            h, c = np.zeros(WIDTH), np.zeros(WIDTH)
            for row in reversed(rows) if backward else rows:
                h, c = STEPS[cell](projected[direction, row], h, c, U[direction])
                outputs[direction, row] = h
    return outputs


def problem(cell, n_directions, lengths):
    generator = torch.Generator().manual_seed(0)
    size = CELLS[cell].gates * WIDTH
    projected = torch.randn(
        n_directions, int(sum(lengths)), size, generator=generator, dtype=torch.double
    )
    U = torch.randn(n_directions, WIDTH, size, generator=generator, dtype=torch.double)
    return projected.requires_grad_(), U.requires_grad_()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
@pytest.mark.parametrize("lengths", [RAGGED, np.array([1]), np.array([0, 4])])
def test_states_are_those_of_the_equations(cell, reverse, lengths):
    projected, U = problem(cell, len(reverse), lengths)
    given = projected.detach().clone()
    plan = Plan(lengths, reverse, projected.device)
    states = Recurrence.apply(projected, U, CELLS[cell], plan)
    expected = naive(cell, given.numpy(), U.detach().numpy(), lengths, reverse)
    np.testing.assert_allclose(states.detach().numpy(), expected, atol=1e-12)
    assert torch.equal(projected, given), "the input is the caller's"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
def test_gradients_are_those_of_finite_differences(cell, reverse):
    inputs = problem(cell, len(reverse), RAGGED)
    plan = Plan(RAGGED, reverse, inputs[0].device)
    assert torch.autograd.gradcheck(lambda X, U: Recurrence.apply(X, U, CELLS[cell], plan), inputs)
