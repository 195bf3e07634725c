"""ONNX graphs while they are being written."""

from copy import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

# The oldest that has all operators in use (BitwiseXor)
OPSET, IR_VERSION = 18, 8
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
UINT64 = TensorProto.UINT64
TYPES = {"float32": FLOAT, "int64": INT64, "int32": INT32, "uint64": UINT64}

Shape = Sequence[Union[int, str, None]]


class Graph:
    """A graph to which operators are added. A value in it is known by its name.

    prefix (str): Of all names that the graph gives. A graph inside another needs one, because it
        sees the values of the other.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: List[Any] = []
        self._weights: List[Any] = []
        # The shape of each, of numbers and names of dimensions
        self.inputs: Dict[str, Shape] = {}
        self.outputs: Dict[str, Shape] = {}
        self._infos: Dict[str, Any] = {}
        self._n_names = 0

    def copy(self) -> "Graph":
        """The graph as it is now."""
        copied = Graph(self._prefix)
        copied.__dict__.update({name: copy(value) for name, value in self.__dict__.items()})
        return copied

    def _name(self, kind: str) -> str:
        self._n_names += 1
        return f"{self._prefix}{kind}_{self._n_names}"

    def input(self, name: str, dtype: str, shape: Shape, about: str = "") -> str:
        """What is handed in under a name; asked for again it is the same.

        about (str): What it is, for those who use the graph elsewhere.
        """
        self._declare(name, dtype, shape, about)
        self.inputs[name] = shape
        return name

    def output(self, name: str, value: str, dtype: str, shape: Shape, about: str = "") -> None:
        """Give a value out under a name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._declare(name, dtype, shape, about)
        self.outputs[name] = shape

    def _declare(self, name: str, dtype: str, shape: Shape, about: str) -> None:
        self._infos[name] = helper.make_tensor_value_info(name, TYPES[dtype], shape, about)

    def constant(self, value: Any, dtype: Optional[str] = None) -> str:
        """An array, or a number or list of them."""
        array = np.asarray(value, dtype=dtype)
        name = self._name("weight")
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        return self.ops(kind, *inputs, n_outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, n_outputs: int, **attributes: Any) -> Tuple[str, ...]:
        """Add an operator with several outputs."""
        if kind == "Split":
            attributes["num_outputs"] = n_outputs
        names = tuple(self._name(kind) for _ in range(n_outputs))
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    @property
    def size(self) -> int:
        """The bytes of its constants."""
        return sum(len(weight.raw_data) for weight in self._weights)

    def proto(self) -> GraphProto:
        """The graph as ONNX has it."""
        return helper.make_graph(
            self._nodes,
            "spacy-birnn",
            [self._infos[name] for name in self.inputs],
            [self._infos[name] for name in self.outputs],
            self._weights,
        )

    def model(self) -> ModelProto:
        """The whole as a model of ONNX."""
        return helper.make_model(
            self.proto(),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="spacy-birnn",
        )
