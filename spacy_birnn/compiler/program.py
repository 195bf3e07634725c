"""Compiled models."""

from typing import Any, Iterator, List, NamedTuple

import numpy as np
from thinc.api import Model

from ..errors import BirnnError, Errors
from ..models.torch_wrapper import TorchShim, torch_shim
from . import ours, standard  # noqa: F401  they register their converters
from .runner import Runner
from .seq2seq import Seq2SeqProgram
from .writer import Arrays, Batch, NoConverter, Rows, Scores, Writer, param


class Watch:
    """Notices when a model is no longer the one that was compiled.

    nodes (List[Model]): The nodes that are in the graph.
    """

    def __init__(self, nodes: List[Model]):
        self._layers = [(node, list(node.layers)) for node in nodes if node.layers]
        self._own_shims = [(node, list(node.shims)) for node in nodes if node.shims]
        self._params = [
            (node, name, node.get_param(name))
            for node in nodes
            for name in node.param_names
            if node.has_param(name)
        ]
        shims = [shim for node in nodes for shim in node.shims]
        self._shims = [(shim, shim.version) for shim in shims if hasattr(shim, "version")]

    def sees_a_change(self) -> bool:
        return (
            any(shim.version != version for shim, version in self._shims)
            or any(node.get_param(name) is not value for node, name, value in self._params)
            or any(node.layers != layers for node, layers in self._layers)
            or any(node.shims != shims for node, shims in self._own_shims)
        )


class Program:
    """A compiled model.

    model (Model): From a batch to vectors, or to scores.
    reads (str): "docs" or "vectors", see `models.prediction.GraphShim`.
    RAISES (NoConverter): If a node has no converter and can't be run before the graph.

    feeds (List[Feed]): What reads the inputs off a batch.
    hosted (List[Model]): The nodes that Thinc runs before the graph.
    watched (List[Model]): Those that are in the graph.
    """

    def __init__(self, model: Model, reads: str):
        writer = Writer()
        value: Any = Batch()
        if reads == "vectors":
            shape = [writer.each, None]
            value = Rows(flat=writer.feed("vectors", "float32", shape, _concatenated))
        add_outputs(writer, writer.convert(model, value))
        self.feeds, self.hosted, self.watched = writer.feeds, writer.hosted, writer.watched
        runner = Runner(writer)
        weights = (part for node in writer.watched for part in _weights(node))
        runner.is_finite = all(np.isfinite(part).all() for part in weights)
        self.run = runner.run


def _concatenated(vectors: Any, arrays: Arrays) -> np.ndarray:
    return np.concatenate(vectors)


def add_outputs(writer: Writer, found: Any) -> None:
    """Give out vectors or scores of tokens as "scores", those of texts and the attention
    likewise."""
    graph, dims = writer.graph, writer.dims
    if isinstance(found, Scores):
        graph.output("scores", found.logits, "float32", [dims.sequences, None])
        if found.attention is not None:
            graph.output("attention", found.attention, "float32", [dims.rows])
    else:
        graph.output("scores", writer.flat(found), "float32", [dims.rows, None])


class Compiled(NamedTuple):
    """What has become of a model.

    program (Any): A `Program`, or a `seq2seq.Seq2SeqProgram`. None if there is no converter for a
        node.
    watch (Watch): Tells when the model has changed.
    missing (str): The name of the node without a converter, "" if there is none.
    """

    program: Any
    watch: Watch
    missing: str = ""


def compiled(model: Model, reads: str) -> Compiled:
    """Compile a model.

    reads (str): See `models.prediction.GraphShim`.
    RAISES (ValueError): E012 for weights that don't fit together.
    """
    nodes = list(model.walk())
    try:
        if reads == "words":
            shim = torch_shim(model)
            return Compiled(Seq2SeqProgram(shim.weights, shim.cfg), Watch(nodes))
        program = Program(model, reads)
        return Compiled(program, Watch(program.watched))
    except NoConverter as e:
        return Compiled(None, Watch(nodes), str(e))
    except BirnnError:
        raise
    except (KeyError, ValueError, IndexError) as e:
        raise BirnnError(Errors.E012.format(name=model.name, reason=repr(e))) from e


def _weights(node: Model) -> Iterator[np.ndarray]:
    """Those of a node and of the torch modules in it that are of a float type."""
    arrays = [param(node, name) for name in node.param_names if node.has_param(name)]
    for shim in node.shims:
        if isinstance(shim, TorchShim) and shim.has_weights:
            arrays += shim.weights.values()
    return (array for array in arrays if array.dtype.kind == "f")
