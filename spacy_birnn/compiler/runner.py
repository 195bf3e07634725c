"""A graph that is ready to run."""

from typing import Any, Dict, List

import numpy as np
import onnxruntime

from ..checks import check_width
from ..errors import BirnnError, Errors
from ..models.prediction import n_threads
from .graph import Graph
from .layout import buckets
from .writer import Writer

# The oldest version that setup.cfg allows
OLDEST = "1.20.0"


def session(graph: Graph) -> onnxruntime.InferenceSession:
    """Load a graph. With one thread it runs in the one that calls it.

    RAISES (ValueError): E068 if ONNX Runtime can't.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads(), 1
    # Only errors: ONNX Runtime's warnings are of its own optimizations
    options.log_severity_level = 3
    model = graph.model().SerializeToString()
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # its own types have nothing in common
        found = onnxruntime.__version__
        reason = str(e).strip().rstrip(".")
        raise BirnnError(Errors.E068.format(found=found, oldest=OLDEST, reason=reason)) from e


class Runner:
    """Runs a graph on batches of sequences, those of like lengths together.

    writer (Writer): What has written the graph.
    """

    def __init__(self, writer: Writer):
        graph, dims = writer.graph, writer.dims
        self._feeds = writer.feeds
        self._prefix = dims.prefix
        # What an array has an entry for: a row, a sequence, or a cell of the layout
        kinds: Dict[Any, str] = {dims.rows: "rows", dims.sequences: "sequences"}
        cells = (dims.longest, dims.sequences)
        self._inputs = {
            name: "cells" if tuple(shape[:2]) == cells else kinds.get(shape[0], "all")
            for name, shape in graph.inputs.items()
        }
        self._outputs = [kinds[shape[0]] for shape in graph.outputs.values()]
        self._from_hosted = writer.from_hosted
        # Weights that are not finite, see `run`
        self.is_finite = True
        self._widths = [
            (name, node.get_dim("nI"), node.name)
            for name, node in writer.widths
            if node.has_dim("nI")
        ]
        self._session = session(graph)

    def run(self, batch: Any, lengths: np.ndarray, **arrays: np.ndarray) -> List[np.ndarray]:
        """The outputs of the graph, in the order of the batch. If weights or vectors that go in are
        not finite, nothing in the outputs is: ONNX Runtime would make finite numbers of them.

        batch (Any): What the feeds read.
        lengths (np.ndarray): The length of each sequence, int64, shape (sequences,). At least one
            is not 0; the others' outputs for whole sequences are 0.
        **arrays (np.ndarray): What is read already.
        """
        for feed in self._feeds:
            arrays.update(feed(batch, arrays))
        for name, width, node in self._widths:
            check_width(arrays[name].shape[1], width, name=node)
        vectors = (arrays[name] for name in self._from_hosted)
        is_finite = self.is_finite and all(np.isfinite(part.sum()) for part in vectors)
        whole: List[np.ndarray] = []
        for bucket in buckets(lengths):
            inputs = {}
            for name, kind in self._inputs.items():
                if name not in arrays:
                    inputs[name] = getattr(bucket, name[len(self._prefix) :])
                elif kind == "all":
                    inputs[name] = arrays[name]
                else:
                    chosen = bucket.sequences if kind == "sequences" else bucket.rows
                    own = arrays[name] if chosen is None else arrays[name][chosen]
                    inputs[name] = own[bucket.cells] if kind == "cells" else own
            outputs = self._session.run(None, inputs)
            if bucket.rows is None:
                return outputs if is_finite else [output * np.nan for output in outputs]
            if not whole:
                sizes = {"rows": int(lengths.sum()), "sequences": len(lengths)}
                whole = [
                    np.zeros((sizes[kind], *output.shape[1:]), dtype=output.dtype)
                    for kind, output in zip(self._outputs, outputs)
                ]
            for kind, part, output in zip(self._outputs, whole, outputs):
                part[bucket.sequences if kind == "sequences" else bucket.rows] = output
        return whole if is_finite else [part * np.nan for part in whole]
