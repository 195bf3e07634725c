"""NumPy's matrix product for Thinc's own layers."""

from typing import TypeVar, cast

from thinc.api import Model, NumpyOps

ModelT = TypeVar("ModelT", bound=Model)


def with_numpy_product(model: ModelT) -> ModelT:
    """Let the layers of a model multiply matrices with NumPy where Thinc would do it with BLIS,
    which has no kernel for AMD's processors since Zen 3 and takes several times as long there
    (https://github.com/explosion/cython-blis/issues/53): not on a GPU, and not where Thinc has
    found better operations for the machine. Thinc's `Model.copy` does not keep them, loading
    brings them back.

    model (Model): The model, changed in place.
    """
    for node in model.walk():
        if type(node.ops) is NumpyOps and cast(NumpyOps, node.ops).use_blis:
            node.ops = NumpyOps(use_blis=False)
    return model
