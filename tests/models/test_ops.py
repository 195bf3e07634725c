import numpy as np
import pytest
import torch
from thinc.api import Adam, Linear, Maxout, NumpyOps, chain

from spacy_birnn.models.ops import TorchProductOps, with_torch_product


@pytest.mark.parametrize("trans1", (False, True))
@pytest.mark.parametrize("trans2", (False, True))
@pytest.mark.parametrize("rows", (0, 1, 7))
def test_the_product_is_that_of_numpy(rows, trans1, trans2):
    # Every other column of a larger array: what Thinc hands over need not be contiguous
    x = np.random.uniform(-1, 1, (rows, 10)).astype("f")[:, ::2]
    y = np.random.uniform(-1, 1, (5, 3)).astype("f")
    expected = x @ y
    given = np.ascontiguousarray(x.T) if trans1 else x, np.ascontiguousarray(y.T) if trans2 else y
    found = TorchProductOps().gemm(*given, trans1=trans1, trans2=trans2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    out = np.full((rows, 3), 5.0, dtype="f")
    assert TorchProductOps().gemm(*given, out=out, trans1=trans1, trans2=trans2) is out
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("width", (2, 9, 96))
@pytest.mark.parametrize("n_columns", (1, 3, 8, 65))
def test_a_row_is_the_same_alone_and_among_others(width, n_columns):
    gemm = TorchProductOps().gemm
    x = np.random.uniform(-1, 1, (40, width)).astype("f")
    y = np.random.uniform(-1, 1, (width, n_columns)).astype("f")
    together = gemm(x, y)
    for n in range(1, 12):
        alone = gemm(x[:n], y)
        assert alone.shape == (n, n_columns) and alone.flags.c_contiguous
        assert np.array_equal(alone, together[:n])


def test_layers_learn_the_same_with_either_product():
    X = np.random.uniform(-1, 1, (9, 4)).astype("f")
    plain = chain(Maxout(6, 4, nP=3, normalize=True, dropout=0.0), Linear(2, 6))
    plain.initialize(X=X)
    ours = with_torch_product(plain.copy())
    assert not any(isinstance(node.ops, TorchProductOps) for node in plain.walk())
    for model in (plain, ours):
        Y, backprop = model(X, is_train=True)
        backprop(np.ones_like(Y))
        model.finish_update(Adam(0.01))
    np.testing.assert_allclose(ours.predict(X), plain.predict(X), atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::-1],
        lambda x: np.frombuffer(x.tobytes(), dtype="f").reshape(x.shape),  # read-only
        lambda x: np.asfortranarray(x),
    ],
)
def test_any_array_that_thinc_takes(change):
    x = np.random.uniform(-1, 1, (4, 5)).astype("f")
    y = np.random.uniform(-1, 1, (5, 3)).astype("f")
    np.testing.assert_allclose(TorchProductOps().gemm(change(x), y), change(x) @ y, atol=1e-6)


def test_what_thinc_refuses_is_refused_in_its_words():
    """spaCy's message about static vectors is made from that error."""
    with pytest.raises(ValueError, match="float32"):
        TorchProductOps().gemm(np.ones((2, 3)), np.ones((3, 2)))


def test_autocast_changes_nothing():
    x = np.random.uniform(-1, 1, (5, 9)).astype("f")
    expected = TorchProductOps().gemm(x, x, trans2=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(TorchProductOps().gemm(x, x, trans2=True), expected)


def test_operations_that_were_chosen_are_kept():
    class AppleOps(NumpyOps):
        pass

    chosen = AppleOps(), NumpyOps(use_blis=False)
    plain, *others = (Linear(2, 2) for _ in range(3))
    for layer, ops in zip(others, chosen):
        layer.ops = ops
    with_torch_product(chain(plain, *others))
    assert type(plain.ops) is TorchProductOps
    assert tuple(layer.ops for layer in others) == chosen
