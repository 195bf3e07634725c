"""The way of prediction: through a compiled graph where there can be one."""

import contextlib
import os
from contextvars import ContextVar
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model, Optimizer
from thinc.shims import Shim
from thinc.types import Floats2d

from ..checks import check_positive, check_torch

# What a model gives, from the outputs of its graph and the length of each sequence
Finish = Callable[[Model, List[np.ndarray], np.ndarray], Any]


# Whether models are to run as they are
_is_off: ContextVar[bool] = ContextVar("spacy_birnn_without_graphs", default=False)


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Let models predict without compiled graphs in this thread, as they do in training: with
    torch. The search for lemmas goes through its graphs all the same."""
    token = _is_off.set(True)
    try:
        yield
    finally:
        _is_off.reset(token)


# How many threads a graph may use; and a number that changes when it does, and in a forked process,
# which does not have the threads of its parent
_threads, _generation = 1, 0


def set_threads(n: int) -> None:
    """Let prediction use several threads, which helps only for texts of thousands of tokens, and
    only where cores are idle. The graphs of all components are built anew.

    n (int): How many threads, at least 1. At the start it is 1.
    RAISES (ValueError): E001 for an impossible n.
    """
    global _threads
    check_positive("n", n, where="set_threads")
    _threads = n
    _begin_anew()


def n_threads() -> int:
    """What `set_threads` has set."""
    return _threads


def _begin_anew() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _begin_anew() if _threads > 1 else None)


class GraphShim(Shim):
    """Keeps the graph of the model that it belongs to. It is built when it is first needed, dropped
    when the weights change, and never saved or copied.

    reads (str): What the model reads: "docs", "vectors" (lists of them), or "words" (an
        encoder-decoder, see `compiler.seq2seq`).
    """

    def __init__(self, reads: str = "docs"):
        super().__init__(None)
        self.reads = reads
        self.version = 0
        self._compiled: Any = None
        self._built = 0

    def program(self, model: Model) -> Any:
        """The compiled model. None if it has to run as it is: on a GPU, within `without_graphs`,
        and where a part has no converter. The search for lemmas has no other way than the graph.

        model (Model): The model that this belongs to, initialized.
        """
        if self.reads != "words" and (model.ops.device_type != "cpu" or _is_off.get()):
            return None
        return self.compiled(model).program

    def compiled(self, model: Model) -> Any:
        """What has become of the model: a `compiler.program.Compiled`, built if there is none."""
        found = self._compiled
        if found is None or self._built != _generation or found.watch.sees_a_change():
            from ..compiler.program import Watch, compiled

            # Another thread may change the model meanwhile: then this one is used once
            generation, before = _generation, Watch(list(model.walk()))
            found = compiled(model, self.reads)
            if not before.sees_a_change():
                self._built, self._compiled = generation, found
        return found

    def drop(self) -> None:
        self.version += 1
        self._compiled = None

    def finish_update(self, optimizer: Optimizer) -> None:
        self.drop()

    @contextlib.contextmanager
    def use_params(self, params: Dict[Tuple[int, str], Any]) -> Iterator[None]:
        self.drop()
        try:
            yield
        finally:
            self.drop()

    def to_device(self, device_type: str, device_id: int) -> None:
        self.drop()

    def to_bytes(self) -> bytes:
        return b""

    def from_bytes(self, data: bytes) -> "GraphShim":
        self.drop()
        return self

    def copy(self) -> "GraphShim":
        return GraphShim(self.reads)

    def __reduce__(self) -> Any:
        return GraphShim, (self.reads,)


def program_of(model: Model) -> Any:
    """The graph of a model that has a `GraphShim`; see `GraphShim.program`."""
    (shim,) = (shim for shim in model.shims if isinstance(shim, GraphShim))
    return shim.program(model)


def outside_graphs(model: Model) -> Optional[List[str]]:
    """The names of the nodes of a model that Thinc or torch runs when it predicts on a CPU, because
    they have no converter. None if nothing of the model is in a graph.

    model (Model): An initialized model.
    """
    names: List[str] = []
    inside: List[Model] = []
    has_graph = False
    for node in model.walk():
        shims = [shim for shim in node.shims if isinstance(shim, GraphShim)]
        if not shims or any(node is other for other in inside):
            continue
        found = shims[0].compiled(node)
        if found.program is None:
            names.append(found.missing)
        else:
            has_graph = True
            names += [hosted.name for hosted in found.program.hosted]
            inside += node.walk()
    return list(dict.fromkeys(names)) if has_graph else None


def with_graph(layer: Model, finish: Finish) -> Model:
    """Let a model of documents predict through a graph of its whole tree.

    layer (Model[List[Doc], Any]): The model.
    finish (Callable): Makes its output from those of the graph.
    """
    return Model(
        "with_graph",
        partial(_forward, finish=finish),
        init=_init,
        layers=[layer],
        shims=[GraphShim()],
        dims={name: layer.maybe_get_dim(name) for name in layer.dim_names},
    )


def _init(model: Model, X=None, Y=None) -> None:
    (layer,) = model.layers
    if any(hasattr(shim, "module_class") for node in layer.walk() for shim in node.shims):
        # Before the weights of other layers are made anew
        check_torch(layer.name)
    layer.initialize(X=X, Y=Y)
    for name in layer.dim_names:
        if layer.has_dim(name):
            model.set_dim(name, layer.get_dim(name), force=True)


def _forward(
    model: Model, docs: List[Doc], is_train: bool, *, finish: Finish
) -> Tuple[Any, Callable]:
    if not is_train:
        lengths = np.array([len(doc) for doc in docs], dtype="int64")
        if lengths.any():
            program = program_of(model)
            if program is not None:
                return finish(model, program.run(docs, lengths), lengths), lambda dY: []
    return model.layers[0](docs, is_train)


def as_vectors(model: Model, outputs: List[np.ndarray], lengths: np.ndarray) -> List[Floats2d]:
    """The vectors of each sequence."""
    vectors: Any = np.split(outputs[0], np.cumsum(lengths)[:-1])
    return vectors
