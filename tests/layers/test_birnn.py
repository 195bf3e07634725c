import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from spacy_birnn.checks import CELLS
from spacy_birnn.layers.birnn import BiRNN

LENGTHS = np.array([4, 1, 0, 6, 2])
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TORCH_MODULES = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
# Where our gates (LSTM: g, i, f, o) stand among those of PyTorch (LSTM: i, f, g, o)
TORCH_ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [2, 0, 1, 3]}


def rows(width, lengths=LENGTHS, dtype=torch.float32):
    return torch.randn(int(lengths.sum()), width, dtype=dtype)


def torch_twin(birnn, cell, input_width, hidden_width, depth):
    """PyTorch's own module with the weights of ours."""
    twin = TORCH_MODULES[cell](
        input_width, hidden_width, num_layers=depth, bidirectional=True, dtype=torch.double
    )
    order = TORCH_ORDER[cell]

    def reordered(weight):  # (width, gates * hidden) -> (gates * hidden, width), in torch's order
        parts = [None] * len(order)
        for part, place in zip(weight.split(hidden_width, dim=1), order):
            parts[place] = part.T
        return torch.cat(parts)

    with torch.no_grad():
        for i, layer in enumerate(birnn.layers):
            for direction, suffix in enumerate(["", "_reverse"]):
                ours = {"weight_ih": layer.W, "weight_hh": layer.U, "bias_ih": layer.b}
                for name, param in ours.items():
                    theirs = getattr(twin, f"{name}_l{i}{suffix}")
                    theirs.copy_(reordered(param[direction]).reshape(theirs.shape))
                getattr(twin, f"bias_hh_l{i}{suffix}").zero_()
    return twin


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("depth", [1, 2])
def test_outputs_and_final_states_are_those_of_pytorch(cell, depth):
    lengths = LENGTHS[LENGTHS > 0]  # PyTorch cannot pack an empty sequence
    birnn = BiRNN(3, 5, cell=cell, depth=depth).double().eval()
    torch.nn.init.normal_(birnn.layers[0].b)
    X = rows(3, lengths, torch.double)
    outputs, finals = birnn(X, lengths)
    twin = torch_twin(birnn, cell, 3, 5, depth)
    expected, state = twin(pack_sequence(X.split(lengths.tolist()), enforce_sorted=False))
    expected_finals = (state[0] if cell == "lstm" else state)[-2:]
    assert torch.allclose(outputs, torch.cat(unpack_sequence(expected)), atol=1e-10)
    assert torch.allclose(finals, torch.cat(list(expected_finals), dim=1), atol=1e-10)


def test_a_traced_example():
    """A plain tanh RNN of width 2 over 6 words, worked out by hand: its first and fourth output."""
    numbers = np.random.RandomState(42)
    words = numbers.randn(6, 3)
    W_xh, W_hh = numbers.randn(2, 3) * 0.1, numbers.randn(2, 2) * 0.1
    birnn = BiRNN(3, 2, cell="rnn").double()
    (layer,) = birnn.layers
    with torch.no_grad():
        layer.W.copy_(torch.as_tensor(W_xh.T))
        layer.U.copy_(torch.as_tensor(W_hh.T))
    outputs, _ = birnn(torch.as_tensor(words), np.array([6]))
    np.testing.assert_allclose(
        outputs[[0, 3]].detach().numpy(),
        [[0.0692, -0.1040, 0.0762, -0.0889], [-0.0350, 0.0876, -0.0489, 0.0603]],
        atol=5e-5,
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("stack", ["interleaved", "independent"])
def test_a_sequence_has_the_same_output_alone_and_in_any_batch(cell, depth, stack):
    birnn = BiRNN(3, 4, cell=cell, depth=depth, stack=stack).eval()
    sequences = rows(3).split(LENGTHS.tolist())
    for order in ([0, 1, 2, 3, 4], [3, 2, 0, 4, 1], [2, 4, 4, 3]):
        lengths = LENGTHS[order]
        outputs, finals = birnn(torch.cat([sequences[i] for i in order]), lengths)
        for i, output, final in zip(order, outputs.split(lengths.tolist()), finals):
            alone, alone_final = birnn(sequences[i], LENGTHS[[i]])
            assert torch.allclose(output, alone, atol=1e-6)
            assert torch.allclose(final, alone_final[0], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@pytest.mark.parametrize(
    "depth, stack", [(1, "interleaved"), (2, "interleaved"), (2, "independent")]
)
def test_training_and_prediction_give_the_same(cell, direction, depth, stack):
    birnn = BiRNN(3, 4, cell=cell, direction=direction, depth=depth, stack=stack)
    for layer in birnn.layers:
        torch.nn.init.normal_(layer.b)
    X = rows(3)
    trained = birnn(X, LENGTHS)
    with torch.no_grad():
        predicted = birnn(X, LENGTHS)
    for ours, theirs in zip(trained, predicted):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_the_gradient_of_a_batch_is_the_sum_of_its_sequences(cell, direction):
    birnn = BiRNN(3, 4, cell=cell, direction=direction).double()
    X = rows(3, dtype=torch.double).requires_grad_()
    wanted = [X, *birnn.parameters()]

    def gradients(value):
        return torch.autograd.grad(value, wanted)

    weights = rows(birnn.output_width, dtype=torch.double).split(LENGTHS.tolist())
    outputs, finals = birnn(X, LENGTHS)
    together = gradients((outputs * torch.cat(weights)).sum() + finals.sum())
    alone = [torch.zeros_like(tensor) for tensor in wanted]
    for i, part in enumerate(X.split(LENGTHS.tolist())):
        if len(part):
            outputs, finals = birnn(part, LENGTHS[[i]])
            for total, one in zip(alone, gradients((outputs * weights[i]).sum() + finals.sum())):
                total += one
    for ours, theirs in zip(together, alone):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_an_empty_sequence_has_no_rows_and_a_final_state_of_0():
    outputs, finals = BiRNN(3, 4)(rows(3), LENGTHS)
    assert outputs.shape == (LENGTHS.sum(), 8) and finals.shape == (5, 8)
    assert not finals[2].any() and finals[[0, 1, 3, 4]].all()


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_a_batch_without_rows(lengths):
    outputs, finals = BiRNN(3, 4)(torch.zeros(0, 3), np.array(lengths, dtype="int64"))
    assert outputs.shape == (0, 8) and finals.shape == (len(lengths), 8)


@pytest.mark.parametrize(
    "direction, seen", [("forward", range(0, 3)), ("backward", range(2, 6)), ("both", range(0, 6))]
)
@pytest.mark.parametrize("cell", CELLS)
def test_the_direction_says_which_rows_an_output_knows_of(cell, direction, seen):
    birnn = BiRNN(3, 4, cell=cell, direction=direction)
    X = rows(3).requires_grad_()
    outputs, _ = birnn(X, LENGTHS)
    first = 5  # of the sequence with 6 rows
    outputs[first + 2].sum().backward()
    touched = X.grad.abs().sum(dim=1).nonzero()[:, 0].tolist()
    assert touched == [first + i for i in seen]


@pytest.mark.parametrize(
    "merge, join",
    [
        ("sum", lambda forward, backward: forward + backward),
        ("mean", lambda forward, backward: (forward + backward) / 2),
        ("mul", lambda forward, backward: forward * backward),
    ],
)
def test_the_other_merges_join_what_concat_sets_side_by_side(merge, join):
    concat, merged = BiRNN(3, 4, merge="concat"), BiRNN(3, 4, merge=merge)
    merged.load_state_dict(concat.state_dict())
    X = rows(3)
    for both, joined in zip(concat(X, LENGTHS), merged(X, LENGTHS)):
        assert torch.allclose(join(both[:, :4], both[:, 4:]), joined, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("stack, leaks", [("interleaved", True), ("independent", False)])
def test_only_independent_stacks_keep_the_two_sides_of_a_word_apart(cell, stack, leaks):
    birnn = BiRNN(3, 4, cell=cell, depth=2, stack=stack)
    X = rows(3).requires_grad_()
    outputs, _ = birnn(X, LENGTHS)
    first, third = 5, 5 + 2  # of the sequence with 6 rows
    outputs[third, :4].sum().backward()
    touched = X.grad.abs().sum(dim=1).nonzero()[:, 0].tolist()
    assert touched == list(range(first, first + 6) if leaks else range(first, third + 1))


def test_independent_stacks_are_those_of_a_forward_and_a_backward_model():
    both = BiRNN(3, 4, depth=3, stack="independent")
    X, parts = rows(3), []
    for n, direction in enumerate(["forward", "backward"]):
        one = BiRNN(3, 4, depth=3, direction=direction)
        one.load_state_dict({k: v[n : n + 1] for k, v in both.state_dict().items()})
        parts.append(one(X, LENGTHS))
    for ours, forward, backward in zip(both(X, LENGTHS), *parts):
        assert torch.allclose(ours, torch.cat([forward, backward], dim=1), atol=1e-6)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("merge, layer_input", [("concat", 10), ("sum", 5)])
def test_the_number_of_parameters_is_that_of_the_formula(cell, merge, layer_input):
    x, h = 3, 5
    per_direction = [GATES[cell] * ((width + h) * h + h) for width in (x, layer_input)]
    birnn = BiRNN(x, h, cell=cell, depth=2, merge=merge)
    assert sum(param.numel() for param in birnn.parameters()) == 2 * sum(per_direction)
    assert birnn.output_width == layer_input


def test_a_peephole_lstm_adds_three_weights_a_unit_and_a_grid_doubles_the_lstm():
    def count(**settings):
        return sum(param.numel() for param in BiRNN(3, 5, **settings).parameters())

    lstm = count()
    assert count(cell="peephole_lstm") == lstm + 2 * 3 * 5
    assert count(cell="grid_lstm") == 2 * lstm + 2 * 3 * 5
    assert count(cell="grid_lstm", depth=2) == 2 * count(depth=2) + 2 * 3 * 5


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm", "grid_lstm"])
def test_the_forget_gates_of_an_lstm_start_open(cell):
    (layer,) = BiRNN(3, 2, cell=cell).layers
    blocks = 2 if cell == "grid_lstm" else 1
    assert layer.b[:, 0].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0] * blocks] * 2


@pytest.mark.parametrize("setting", ["dropout", "locked_dropout"])
def test_dropout_is_for_training_only(setting):
    birnn = BiRNN(3, 4, depth=2, **{"dropout": 0.0, "locked_dropout": 0.0, setting: 0.5})
    X = rows(3)
    assert not torch.equal(birnn(X, LENGTHS)[0], birnn(X, LENGTHS)[0])
    birnn.eval()
    assert torch.equal(birnn(X, LENGTHS)[0], birnn(X, LENGTHS)[0])


def test_a_rate_of_its_own_goes_before_the_one_given():
    follows, own = BiRNN(3, 4), BiRNN(3, 4, dropout=0.0, locked_dropout=0.0)
    X = rows(3)
    assert torch.equal(follows(X, LENGTHS)[0], follows(X, LENGTHS)[0])
    assert not torch.equal(follows(X, LENGTHS, 0.5)[0], follows(X, LENGTHS, 0.5)[0])
    assert torch.equal(own(X, LENGTHS, 0.5)[0], own(X, LENGTHS, 0.5)[0])


def test_locked_dropout_drops_an_output_feature_for_a_whole_sequence():
    birnn = BiRNN(3, 20, cell="rnn", locked_dropout=0.5)
    outputs, _ = birnn(rows(3), LENGTHS)
    dropped = [(part == 0) for part in outputs.split(LENGTHS.tolist()) if len(part)]
    assert all((part == part[0]).all() for part in dropped)
    assert not torch.equal(dropped[0][0], dropped[1][0])


@pytest.mark.parametrize("cell", CELLS)
def test_a_prediction_is_of_the_weights_that_there_are(cell):
    """Those in PyTorch's order are kept from one prediction to the next."""
    birnn = BiRNN(3, 4, cell=cell, depth=2).eval()
    X = rows(3)
    with torch.no_grad():
        before = birnn(X, LENGTHS)[0]
        for parameter in birnn.parameters():
            parameter.mul_(0.5)
        birnn.eval()
        after = birnn(X, LENGTHS)[0]
    expected = birnn(X, LENGTHS)[0]  # with a gradient nothing is kept
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)
