"""Refuse impossible settings by name and value, before anything is built from them."""

import warnings
from importlib.util import find_spec
from typing import Any, Literal, Optional, Sequence, get_args

from .errors import BirnnError, Errors, Warnings

# The recurrent cells, and those that PyTorch has a kernel for; `layers.cells` says what they are
CellName = Literal["rnn", "gru", "lstm", "peephole_lstm", "grid_lstm"]
KernelCellName = Literal["rnn", "gru", "lstm"]
CELLS, KERNEL_CELLS = get_args(CellName), get_args(KernelCellName)
POOLINGS = ("last", "mean", "max", "attention")


def check_positive(name: str, value: Any, *, where: str, even: bool = False) -> None:
    """RAISES (ValueError): E001 unless value is a whole number of at least 1 (and even)."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1 or (even and value % 2):
        expected = "an even whole number of at least 2" if even else "a whole number of at least 1"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_count(name: str, value: Any, *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is a whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        expected = "a whole number of at least 0"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_rate(name: str, value: Any, *, where: str, or_null: bool = False) -> None:
    """RAISES (ValueError): E001 unless value is in [0, 1), or None if it may be."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 <= value < 1) and not (or_null and value is None):
        expected = "null, or " * or_null + "a number of at least 0 and less than 1"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_smoothing(rate: float, n: int, *, where: str) -> None:
    """RAISES (ValueError): E006 unless the right one of n labels keeps more than each other one."""
    if n > 1 and rate >= (n - 1) / n:
        raise BirnnError(Errors.E006.format(value=rate, n=n, limit=(n - 1) / n, where=where))


def check_probability(name: str, value: Any, *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is a number in [0, 1]."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1):
        expected = "a number from 0 to 1"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_temperature(name: str, value: Any, *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is a finite number above 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 < value < float("inf")):
        expected = "a finite number above 0"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_flag(name: str, value: Any, *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is True or False."""
    if not isinstance(value, bool):
        expected = "true or false"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_text(name: str, value: Any, *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is a text."""
    if not isinstance(value, str):
        expected = "a text"
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_choice(name: str, value: Any, choices: Sequence[str], *, where: str) -> None:
    """RAISES (ValueError): E001 unless value is one of the choices."""
    if value not in choices:
        expected = "one of " + ", ".join(repr(choice) for choice in choices)
        raise BirnnError(Errors.E001.format(name=name, expected=expected, value=value, where=where))


def check_width(found: int, expected: Optional[int], *, name: str) -> None:
    """RAISES (ValueError): E018 unless vectors have the width that a layer was made for, if it is
    known."""
    if expected is not None and found != expected:
        raise BirnnError(Errors.E018.format(name=name, found=found, expected=expected))


def check_heads(heads: Any, width: Optional[int], *, where: str) -> None:
    """RAISES (ValueError): E001 unless heads is a whole number of at least 0 (for no attention),
    E030 unless they can share the width, if that is known."""
    check_count("attention_heads", heads, where=where)
    if heads and width is not None and width % heads:
        raise BirnnError(Errors.E030.format(width=width, heads=heads))


def check_recurrent(
    *,
    where: str,
    depth: int,
    cell: str,
    direction: str,
    merge: str,
    stack: str,
    dropout: Optional[float],
    locked_dropout: Optional[float],
) -> None:
    """RAISES (ValueError): E001 or E002 unless a recurrent stack can be built from these. Warns of
    a stack that makes no difference (W013)."""
    check_positive("depth", depth, where=where)
    check_choice("cell", cell, CELLS, where=where)
    check_choice("direction", direction, ("both", "forward", "backward"), where=where)
    check_choice("merge", merge, ("concat", "sum", "mean", "mul"), where=where)
    check_choice("stack", stack, ("interleaved", "independent"), where=where)
    check_rate("dropout", dropout, where=where, or_null=True)
    check_rate("locked_dropout", locked_dropout, where=where, or_null=True)
    if depth == 1 and stack != "interleaved":
        warnings.warn(Warnings.W013.format(name="stack", value=stack, where=where), stacklevel=4)
    if merge != "concat" and direction != "both":
        raise BirnnError(Errors.E002.format(merge=merge, direction=direction))


def check_torch(name: str) -> None:
    """RAISES (ValueError): E069 if PyTorch can't be imported, which training needs."""
    reason: Any = "it is not installed"
    try:
        if find_spec("torch") is not None:
            return
    except ImportError as e:
        reason = e
    raise BirnnError(Errors.E069.format(name=name, reason=reason))
