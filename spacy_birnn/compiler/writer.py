"""A walk through a Thinc model that writes it as operators: what is handed from node to node, and
the registry of converters, one for each kind of node, so that a new layer brings its own."""

from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
from thinc.api import Model
from thinc.types import Ragged

from .graph import FLOAT, INT64, Graph, Shape

# Arrays by their names, for the inputs of a graph and for later feeds, from a batch and from what
# earlier feeds have read
Arrays = Dict[str, np.ndarray]
Feed = Callable[[Any, Arrays], Arrays]


class Dims(NamedTuple):
    """Names of dimensions, and what the names of the inputs that say how sequences are laid out
    begin with."""

    rows: str
    sequences: str
    longest: str
    prefix: str


# Sequences of tokens, and words, which are sequences of characters
TEXTS = Dims("tokens", "texts", "longest_text", "")
WORDS = Dims("characters", "words", "longest_word", "word_")


class NoConverter(Exception):
    """A node cannot be written as operators."""


class Batch(NamedTuple):
    """What a graph reads: documents, words or lists of vectors."""


class Ids(NamedTuple):
    """Features that are read off a batch, not a value in the graph.

    name (str): Of the array, which has a row for each token or word.
    index (Any): What to take of it.
    """

    name: str
    index: Any = ()

    def of(self, arrays: Arrays) -> np.ndarray:
        """The features among the arrays that were read."""
        return arrays[self.name][self.index]


@dataclass
class Rows:
    """Vectors, a row for each token of the sequences (or, where there are no sequences, for each
    word), in one or both of two forms.

    flat (Optional[str]): Shape (rows, width), the rows of one sequence after the other.
    padded (Optional[str]): Shape (longest, sequences, width).
    """

    flat: Optional[str] = None
    padded: Optional[str] = None

    @property
    def any(self) -> str:
        """Whichever form there is, for what treats each row alike."""
        return self.flat or self.padded or ""

    def map(self, function: Callable[[str], str]) -> "Rows":
        """Apply what treats each row alike."""
        value = function(self.any)
        return Rows(flat=value) if self.flat else Rows(padded=value)


@dataclass
class Scores:
    """What a classifier says of each sequence.

    logits (str): Shape (sequences, labels).
    attention (Optional[str]): The weight of each token, shape (rows,).
    """

    logits: str
    attention: Optional[str]


Value = Union[Batch, Ids, Rows, Scores]


# By the module and the name of a node's forward function
CONVERTERS: Dict[str, "Converter"] = {}


@dataclass
class Writer:
    """A model that is being written. Large tables stay where they are, and word vectors are kept.

    graph (Graph): The graph.
    dims (Dims): What the sequences are.
    feeds (List[Feed]): What reads the inputs off a batch.
    watched (List[Model]): The nodes that are in the graph.
    hosted (List[Model]): The nodes that Thinc runs; their output is an input of the graph.
    from_hosted (List[str]): The names of these inputs.
    widths (List[Tuple[str, Model]]): Inputs, and the nodes that expect vectors of a certain width
        of them.
    """

    converters: ClassVar[Mapping[str, "Converter"]] = CONVERTERS

    graph: Graph = field(default_factory=Graph)
    dims: Dims = TEXTS
    feeds: List[Feed] = field(default_factory=list)
    watched: List[Model] = field(default_factory=list)
    hosted: List[Model] = field(default_factory=list)
    from_hosted: List[str] = field(default_factory=list)
    widths: List[Tuple[str, Model]] = field(default_factory=list)
    _n_read: Dict[str, int] = field(default_factory=dict)

    def convert(self, node: Model, value: Value) -> Value:
        """Write a node.

        RAISES (NoConverter): If there is no converter for it, or for one of its layers.
        """
        converter = self.converters.get(kind_of(node))
        if converter is None:
            raise NoConverter(node.name)
        self.watched.append(node)
        if isinstance(value, Rows) and value.flat in self.graph.inputs:
            self.widths.append((value.flat, node))
        return converter(self, node, value)

    def convert_all(self, nodes: Sequence[Model], value: Value) -> Value:
        """Write nodes that follow each other."""
        for node in nodes:
            value = self.convert(node, value)
        return value

    def convert_or_host(self, node: Model, value: Batch) -> Value:
        """Write a node that reads a batch. Where that is impossible Thinc runs it."""
        lists: List[Any] = [self.feeds, self.watched, self.hosted, self.from_hosted, self.widths]
        before = [(part, len(part)) for part in lists]
        graph = self.graph.copy()
        try:
            return self.convert(node, value)
        except NoConverter:
            self.graph = graph
            for part, n in before:
                del part[n:]
            return self.host(node)

    def host(self, node: Model) -> Rows:
        """Let Thinc run a node that makes vectors of a batch."""
        self.hosted.append(node)

        def read(batch: Any, arrays: Arrays) -> np.ndarray:
            found = node.predict(batch)
            if isinstance(found, list):
                found = node.ops.xp.concatenate(found)
            elif isinstance(found, Ragged):
                found = found.data
            return node.ops.to_numpy(found)

        name = self.feed("vectors", "float32", [self.each, None], read)
        self.from_hosted.append(name)
        return Rows(flat=name)

    def feed(
        self, kind: str, dtype: str, shape: Shape, read: Callable[[Any, Arrays], np.ndarray]
    ) -> str:
        """An input that is read off a batch. If another has its name, it gets a number."""
        name = self.read(kind, lambda *args: np.asarray(read(*args), dtype=dtype))
        return self.graph.input(name, dtype, shape)

    def read(self, kind: str, read: Callable[[Any, Arrays], np.ndarray]) -> str:
        """An array that is read off a batch for other feeds, named likewise."""
        n = self._n_read.get(kind, 0)
        self._n_read[kind] = n + 1
        name = f"{kind}_{n + 1}" if n else kind
        self.feeds.append(lambda batch, arrays: {name: read(batch, arrays)})
        return name

    @property
    def lengths(self) -> str:
        """The length of each sequence, shape (sequences,)."""
        return self._place("lengths", "int32", self.dims.sequences)

    def flat(self, rows: Rows) -> str:
        """The rows in flat form."""
        if rows.flat is None:
            width = self.last_dim(rows.any)
            cells = self.graph.op("Reshape", rows.any, self.join(self.graph.constant([-1]), width))
            places = self._place("places", "int64", self.dims.rows)
            rows.flat = self.graph.op("Gather", cells, places, axis=0)
        return rows.flat

    def padded(self, rows: Rows) -> str:
        """The rows in padded form."""
        if rows.padded is None:
            cells = self._place("cells", "int64", self.dims.longest, self.dims.sequences)
            rows.padded = self.graph.op("Gather", rows.any, cells, axis=0)
        return rows.padded

    def _place(self, name: str, dtype: str, *dims: str) -> str:
        return self.graph.input(self.dims.prefix + name, dtype, dims)

    @property
    def each(self) -> str:
        """What an embedding has a row for."""
        return self.dims.sequences if self.dims is WORDS else self.dims.rows

    def inside(self, value: Rows) -> str:
        """1 for each cell with a row, 0 for padding, shape (longest, sequences, 1)."""
        graph = self.graph
        longest = graph.op("Shape", self.padded(value), start=0, end=1)
        zero, one = graph.constant(0), graph.constant(1)
        steps = graph.op("Range", zero, graph.op("Squeeze", longest), one)
        steps = graph.op("Unsqueeze", steps, graph.constant([1]))
        lengths = graph.op("Cast", self.lengths, to=INT64)
        within = graph.op("Cast", graph.op("Less", steps, lengths), to=FLOAT)
        return graph.op("Unsqueeze", within, graph.constant([2]))

    def last_dim(self, value: str) -> str:
        """The width of a value, shape (1,)."""
        return self.graph.op("Shape", value, start=-1)

    def join(self, *parts: str, axis: int = 0) -> str:
        """Values side by side."""
        return parts[0] if len(parts) == 1 else self.graph.op("Concat", *parts, axis=axis)

    def linear(self, value: str, W: np.ndarray, b: Optional[np.ndarray] = None) -> str:
        """x W + b for each row. W has the shape (input width, output width)."""
        product = self.graph.op("MatMul", value, self.graph.constant(W, "float32"))
        if b is None:
            return product
        return self.graph.op("Add", product, self.graph.constant(b, "float32"))


# It takes a writer
Converter = Callable[[Any, Model, Any], Any]


def converter(
    *names: str, converters: Dict[str, Converter] = CONVERTERS
) -> Callable[[Converter], Converter]:
    """Register what writes a kind of node.

    names (str): What `kind_of` says of the nodes.
    """

    def register(function: Converter) -> Converter:
        converters.update(dict.fromkeys(names, function))
        return function

    return register


def kind_of(node: Model) -> str:
    """The module and the name of a node's forward function: what kind of node it is."""
    own = getattr(node._func, "func", node._func)
    return f"{own.__module__}.{own.__name__}"


def param(node: Model, name: str) -> np.ndarray:
    """A parameter of a node, on the CPU."""
    return node.ops.to_numpy(node.get_param(name))
