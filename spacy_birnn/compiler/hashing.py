"""Thinc's hash functions as operators of ONNX. A value is int64 and stands for the unsigned number
that has the same bits: ONNX Runtime multiplies those, and what overflows is lost, as it should."""

from typing import Any, List

import numpy as np

from .graph import INT64, UINT64, Graph

LOW = 0xFFFFFFFF


class Bits:
    """Operators on numbers of 64 bits.

    graph (Graph): The graph that they are added to.
    """

    def __init__(self, graph: Graph):
        self.graph = graph

    def number(self, value: int) -> str:
        return self.graph.constant(np.array(value, dtype="uint64").view("int64"))

    def times(self, X: str, factor: int) -> str:
        return self.graph.op("Mul", X, self.number(factor))

    def plus(self, X: str, Y: Any) -> str:
        return self.graph.op("Add", X, Y if isinstance(Y, str) else self.number(Y))

    def xor(self, X: str, Y: Any) -> str:
        return self.graph.op("BitwiseXor", X, Y if isinstance(Y, str) else self.number(Y))

    def low(self, X: str) -> str:
        """The lower half."""
        return self.graph.op("BitwiseAnd", X, self.number(LOW))

    def right(self, X: str, n: int) -> str:
        """Moved by n bits. Zeros come in, which the shift of a signed number would not promise."""
        shift = self.graph.constant(n, "uint64")
        moved = self.graph.op("Cast", X, to=UINT64)
        moved = self.graph.op("BitShift", moved, shift, direction="RIGHT")
        return self.graph.op("Cast", moved, to=INT64)

    def mixed(self, X: str, n: int) -> str:
        """The upper bits mixed into the lower ones."""
        return self.xor(X, self.right(X, n))


def hash_embed_keys(graph: Graph, ids: str, seed: int) -> str:
    """What `Ops.hash` of Thinc computes (MurmurHash3_x64_128): four numbers of 32 bits for each id.

    ids (str): Shape (rows,).
    RETURNS (str): Shape (rows, 4).
    """
    bits = Bits(graph)
    h1 = bits.times(ids, 0x87C37B91114253D5)
    h1 = bits.plus(bits.times(h1, 2**31), bits.right(h1, 33))
    h1 = bits.xor(bits.times(h1, 0x4CF5AD432745937F), seed ^ 8)
    h1 = bits.plus(h1, seed ^ 8)
    h2 = bits.plus(h1, seed ^ 8)
    h1, h2 = _finished(bits, h1), _finished(bits, h2)
    h1 = bits.plus(h1, h2)
    h2 = bits.plus(h2, h1)
    parts = [bits.low(h1), bits.right(h1, 32), bits.low(h2), bits.right(h2, 32)]
    one = graph.constant([1])
    return graph.op("Concat", *(graph.op("Unsqueeze", part, one) for part in parts), axis=1)


def _finished(bits: Bits, X: str) -> str:
    X = bits.times(bits.mixed(X, 33), 0xFF51AFD7ED558CCD)
    return bits.mixed(bits.times(bits.mixed(X, 33), 0xC4CEB9FE1A85EC53), 33)


def ngram_keys(graph: Graph, ids: List[str]) -> str:
    """What `Ops.ngrams` of Thinc computes (MurmurHash64A).

    ids (List[str]): Those of the first words of n-grams, of the second, and so on, of one shape.
    """
    bits, factor = Bits(graph), 0xC6A4A7935BD1E995
    found = bits.number(8 * len(ids) * factor % 2**64)
    for part in ids:
        part = bits.times(bits.mixed(bits.times(part, factor), 47), factor)
        found = bits.times(bits.xor(found, part), factor)
    return bits.mixed(bits.times(bits.mixed(found, 47), factor), 47)


def linear_keys(graph: Graph, ids: str, seed: int) -> str:
    """What Thinc's SparseLinear computes of each id (MurmurHash3_x86_32): a number of 32 bits."""
    bits = Bits(graph)

    def turned(X: str, n: int) -> str:
        """The lower half, rotated to the left."""
        X = bits.times(X, 2**n)
        return bits.plus(bits.low(X), bits.right(X, 32))

    found = bits.number(seed)
    for part in (bits.low(ids), bits.right(ids, 32)):
        part = turned(bits.low(bits.times(part, 0xCC9E2D51)), 15)
        found = bits.xor(found, bits.low(bits.times(part, 0x1B873593)))
        found = bits.low(bits.plus(bits.times(turned(found, 13), 5), 0xE6546B64))
    found = bits.mixed(bits.xor(found, 8), 16)
    found = bits.mixed(bits.low(bits.times(found, 0x85EBCA6B)), 13)
    return bits.mixed(bits.low(bits.times(found, 0xC2B2AE35)), 16)
