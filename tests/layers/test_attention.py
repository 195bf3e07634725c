import math

import numpy as np
import pytest
import torch

from spacy_birnn.checks import POOLINGS
from spacy_birnn.layers.attention import Pooling, SelfAttention
from spacy_birnn.layers.birnn import BiRNN

LENGTHS = np.array([3, 0, 1, 5, 3, 0])


def rows(width=6):
    return torch.randn(int(LENGTHS.sum()), width)


def sequences(X):
    return torch.split(X, LENGTHS.tolist())


def attend_naively(layer, X):
    """Each head, each row and each other row by itself."""
    found = X.clone()
    d = X.shape[1] // layer.heads
    for t, x in enumerate(X):
        heads = []
        for head in range(layer.heads):
            Q, K, V = (
                layer.project(X)[:, i * X.shape[1] + head * d : i * X.shape[1] + (head + 1) * d]
                for i in range(3)
            )
            scores = torch.stack([(Q[t] * k).sum() / math.sqrt(d) for k in K])
            heads.append(sum(a * v for a, v in zip(scores.exp() / scores.exp().sum(), V)))
        found[t] = x + layer.output(torch.cat(heads))
    return found


@pytest.mark.parametrize("heads", [1, 2, 6])
@torch.no_grad()
def test_self_attention_is_that_of_naive_loops(heads):
    layer, X = SelfAttention(6, heads).eval(), rows()
    expected = torch.cat([attend_naively(layer, part) for part in sequences(X)])
    torch.testing.assert_close(layer(X, LENGTHS), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_self_attention_of_a_sequence_alone_and_in_a_batch():
    layer, X = SelfAttention(6, 3).eval(), rows()
    together = layer(X, LENGTHS)
    alone = [layer(part, np.array([len(part)])) for part in sequences(X)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)
    assert layer(X[:0], np.array([0, 0])).shape == (0, 6)


def test_gradients_of_self_attention():
    layer = SelfAttention(4, 2).double()
    X = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda X: layer(X, np.array([2, 0, 1, 2, 1])), X)
    layer(X, np.array([4, 2])).square().sum().backward()
    assert all(param.grad.abs().sum() > 0 for param in layer.parameters())


def test_dropout_leaves_the_rows_themselves():
    layer, X = SelfAttention(6, 2), rows()
    added = layer(X, LENGTHS, drop=0.5) - X
    assert 0.3 < (added == 0).float().mean() < 0.7
    assert not (layer(X, LENGTHS) - X == 0).any()


def test_heads_that_cannot_share_the_width():
    with pytest.raises(ValueError, match=r"BIRNN-E030.*width = 6.*4 heads"):
        SelfAttention(6, 4)


def pool_naively(layer, X):
    if not len(X):
        return torch.zeros(X.shape[1])
    if layer.kind == "last":
        half = X.shape[1] // 2
        return torch.cat([X[-1, :half], X[0, half:]])
    if layer.kind == "mean":
        return sum(X) / len(X)
    if layer.kind == "max":
        return torch.stack([max(column) for column in X.T])
    scores = [float(layer.query(torch.tanh(layer.hidden(x)))) for x in X]
    total = sum(math.exp(score) for score in scores)
    return sum(math.exp(score) / total * x for score, x in zip(scores, X))


@pytest.mark.parametrize("kind", POOLINGS)
@torch.no_grad()
def test_pooling_is_that_of_naive_loops(kind):
    layer, X = Pooling(6, kind).eval(), rows()
    pooled, _ = layer(X, LENGTHS)
    expected = torch.stack([pool_naively(layer, part) for part in sequences(X)])
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=1e-5)
    nothing, _ = layer(X[:0], np.array([0, 0]))
    assert nothing.shape == (2, 6) and not nothing.any()


@pytest.mark.parametrize("kind", POOLINGS)
@torch.no_grad()
def test_pooling_of_a_sequence_alone_and_in_a_batch(kind):
    layer, X = Pooling(6, kind).eval(), rows()
    alone = [layer(part, np.array([len(part)]))[0] for part in sequences(X)]
    torch.testing.assert_close(layer(X, LENGTHS)[0], torch.cat(alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", POOLINGS)
def test_gradients_of_pooling(kind):
    layer = Pooling(4, kind).double()
    X = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda X: layer(X, np.array([2, 0, 1, 3]))[0], X)


@torch.no_grad()
def test_attention_weights_sum_to_one_whatever_the_scores():
    layer, X = Pooling(6, "attention"), rows()
    layer.query.weight *= 1e4  # exp() of such a score alone would overflow
    pooled, weights = layer(X, LENGTHS)
    sums = [float(part.sum()) for part in torch.split(weights, LENGTHS.tolist())]
    assert sums == pytest.approx([1, 0, 1, 1, 1, 0])
    assert pooled.isfinite().all() and (weights >= 0).all()


def test_final_states_are_those_of_the_recurrent_layer():
    rnn, X = BiRNN(6, 4, cell="gru").eval(), rows()
    states, final = rnn(X, LENGTHS)
    torch.testing.assert_close(Pooling(8, "last")(states, LENGTHS)[0], final)
