"""What gives each vector its context: the recurrent encoder, and self-attention above it."""

import warnings
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from thinc.api import Model, chain
from thinc.types import Floats2d

from ..checks import check_heads, check_positive, check_recurrent, check_width
from ..errors import BirnnError, Errors, Warnings
from .prediction import GraphShim, as_vectors, program_of, without_graphs
from .torch_wrapper import RECURRENT_RATE, TorchShim, run_module, torch_shim
from .types import DocsToVectors, Encoder


def build_birnn_encoder(
    *,
    width: int,
    depth: int = 1,
    cell: str = "lstm",
    direction: str = "both",
    merge: str = "concat",
    stack: str = "interleaved",
    dropout: Optional[float] = None,
    locked_dropout: Optional[float] = None,
) -> Encoder:
    """Encode each document's vectors in context with a stack of recurrent layers (see
    `layers.birnn.BiRNN`). Fits the `encode` slot of `spacy.Tok2Vec.v2`. A document's vectors
    are the same alone and in any batch.

    width (int): Width of the output. With direction "both" and merge "concat" each direction has
        half of it, so it is even. Recommended: 64 to 300.
    depth (int): Number of layers. Recommended: 1 to 3; more need more data.
    cell (str): "rnn", "gru", "lstm", "peephole_lstm" or "grid_lstm".
    direction (str): "both", "forward" or "backward".
    merge (str): How the two directions become one vector: "concat", "sum", "mean" or "mul".
    stack (str): "interleaved": a layer reads both directions of the one below. "independent": each
        direction has a stack of its own, as a language model needs.
    dropout (Optional[float]): Dropout between layers. null follows [training] dropout.
    locked_dropout (Optional[float]): Dropout on the input and the output, with one mask for a whole
        document. null follows [training] dropout. Recommended: 0.2 to 0.5.
    RAISES (ValueError): E001, E002, E003 for impossible settings.
    """
    where = "spacy-birnn.BiRNNEncoder.v1"
    check_positive("width", width, where=where)
    recurrent: Dict[str, Any] = {
        "depth": depth,
        "cell": cell,
        "direction": direction,
        "merge": merge,
        "stack": stack,
        "dropout": dropout,
        "locked_dropout": locked_dropout,
    }
    check_recurrent(where=where, **recurrent)
    shared = direction == "both" and merge == "concat"
    if shared and width % 2:
        raise BirnnError(Errors.E003.format(width=width))
    if depth == 1 and dropout is not None:
        values = {"name": "dropout", "value": dropout, "where": where}
        warnings.warn(Warnings.W013.format(**values), stacklevel=2)
    settings = {"hidden_width": width // 2 if shared else width, **recurrent}
    return Model(
        "birnn_encoder",
        _forward_encoder,
        init=_init,
        attrs={"dropout_rate": 0.0},
        dims={"nI": None, "nO": width},
        shims=[
            TorchShim("birnn_encoder", "birnn.BiRNN", settings, rate_scale=RECURRENT_RATE),
            GraphShim("vectors"),
        ],
    )


def with_self_attention(tok2vec: DocsToVectors, heads: int, *, where: str) -> DocsToVectors:
    """Let each document's vectors see one another (see `layers.attention.SelfAttention`).

    tok2vec (Model[List[Doc], List[Floats2d]]): The token vectors.
    heads (int): Number of heads. 0 leaves the vectors as they are.
    where (str): The architecture, for error messages.
    RAISES (ValueError): E001, E030 for impossible settings.
    """
    width = tok2vec.maybe_get_dim("nO")
    check_heads(heads, width, where=where)
    if not heads:
        return tok2vec
    attention: Encoder = Model(
        "self_attention",
        _forward,
        init=_init_attention,
        attrs={"dropout_rate": 0.0},
        dims={"nI": width, "nO": width},
        shims=[TorchShim("self_attention", "attention.SelfAttention", {"heads": heads})],
    )
    return chain(tok2vec, attention)


class Recorded(NamedTuple):
    """What the top layer of an encoder did with a batch.

    states (np.ndarray): Shape (directions, tokens, width of one direction).
    gates (Dict[str, np.ndarray]): The same of each gate, by its name.
    """

    states: np.ndarray
    gates: Dict[str, np.ndarray]


@contextmanager
def recorded(encoder: Encoder) -> Iterator[List[Recorded]]:
    """Record the states and the gates of the top layer of a `birnn_encoder` in all that it reads
    meanwhile, batch by batch. Of two directions the first is forward. It records what other threads
    let it read, too.

    encoder (Model[List[Floats2d], List[Floats2d]]): The encoder, initialized.
    RAISES (ValueError): E010 before initialization.
    """
    batches: List[Recorded] = []

    def record(layer: Any, inputs: Any, output: Any) -> None:
        # A layer also gives, and is given, what is passed up the stack
        X, plan, *_ = inputs
        gates = {name: gate.cpu().numpy() for name, gate in layer.gates(X, plan).items()}
        batches.append(Recorded(output[0].detach().cpu().numpy(), gates))

    hook = torch_shim(encoder).module.layers[-1].register_forward_hook(record)
    try:
        with without_graphs():
            yield batches
    finally:
        hook.remove()


def _init(model: Encoder, X=None, Y=None) -> None:
    torch_shim(model).build(input_width=_input_width(model, X))


def _init_attention(model: Encoder, X=None, Y=None) -> None:
    width = _input_width(model, X)
    model.set_dim("nO", width, force=True)
    torch_shim(model).build(width=width)


def _input_width(model: Encoder, X: Optional[List[Floats2d]]) -> int:
    if X:
        model.set_dim("nI", X[0].shape[1], force=True)
    if not model.has_dim("nI"):
        raise BirnnError(Errors.E015.format(name=model.name))
    return model.get_dim("nI")


def _forward_encoder(
    model: Encoder, Xs: List[Floats2d], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    lengths = np.array([len(X) for X in Xs], dtype="int64")
    if not is_train and lengths.any():
        check_width(Xs[0].shape[1], model.maybe_get_dim("nI"), name=model.name)
        program = program_of(model)
        if program is not None:
            return as_vectors(model, program.run(Xs, lengths), lengths), lambda dYs: Xs
    return _forward(model, Xs, is_train, output=0, final=False)


def _forward(
    model: Encoder, Xs: List[Floats2d], is_train: bool, **settings: Any
) -> Tuple[List[Floats2d], Callable]:
    ops: Any = model.ops
    lengths = np.array([len(X) for X in Xs], dtype="int64")
    if not lengths.sum():
        return [ops.alloc2f(0, model.get_dim("nO")) for _ in Xs], lambda dYs: Xs
    X = ops.flatten(Xs)
    check_width(X.shape[1], model.maybe_get_dim("nI"), name=model.name)
    Y, backprop_module = run_module(model, X, lengths, is_train=is_train, **settings)

    def backprop(dYs: List[Floats2d]) -> List[Floats2d]:
        return ops.unflatten(backprop_module(ops.flatten(dYs)), lengths)

    return ops.unflatten(Y, lengths), backprop
