"""PyTorch's matrix product for Thinc's own layers."""

from typing import Optional, TypeVar, cast

import numpy as np
from thinc.api import Model, NumpyOps

from .torch_wrapper import one_thread

ModelT = TypeVar("ModelT", bound=Model)
# Smaller matrices PyTorch multiplies in another way, whose rounding differs: a word alone would not
# have quite the vector that it has in a batch
MIN_SIZE = 4


class TorchProductOps(NumpyOps):
    """Thinc's operations on a CPU, with PyTorch's matrix product. Thinc's own, that of BLIS, has no
    kernel for AMD's processors since Zen 3 and takes several times as long there
    (https://github.com/explosion/cython-blis/issues/53)."""

    def gemm(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        out: Optional[np.ndarray] = None,
        trans1: bool = False,
        trans2: bool = False,
    ) -> np.ndarray:
        import torch

        x, y = self.as_contig(x), self.as_contig(y)
        matrices = all(a.dtype == "float32" and a.ndim == 2 and a.flags.writeable for a in (x, y))
        if out is not None or not matrices:
            # Thinc takes it all the same, or refuses it in its own words
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)
        X, Y = x.T if trans1 else x, y.T if trans2 else y
        n_rows, n_columns = len(X), Y.shape[1]
        if n_rows < MIN_SIZE:
            X = np.pad(X, ((0, MIN_SIZE - n_rows), (0, 0)))
        if n_columns < MIN_SIZE:
            Y = np.pad(Y, ((0, 0), (0, MIN_SIZE - n_columns)))
        product = np.empty((len(X), Y.shape[1]), dtype="f")
        with one_thread():
            # With `out`, as autocast would make the result shorter
            torch.mm(*map(torch.from_numpy, (X, Y)), out=torch.from_numpy(product))
        return self.as_contig(product[:n_rows, :n_columns])


def with_torch_product(model: ModelT) -> ModelT:
    """Let the layers of a model multiply matrices with PyTorch where Thinc would do it with BLIS:
    not on a GPU, and not where Thinc has found better operations for the machine. Thinc's
    `Model.copy` does not keep them, loading brings them back.

    model (Model): The model, changed in place.
    """
    for node in model.walk():
        if type(node.ops) is NumpyOps and cast(NumpyOps, node.ops).use_blis:
            node.ops = TorchProductOps()
    return model
