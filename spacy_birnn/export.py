"""Trained components as files of ONNX, for use without spaCy."""

import json
from pathlib import Path
from typing import Any, Dict, Optional, Union

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener

from . import __version__
from .compiler.standalone import StandaloneWriter
from .compiler.writer import TEXTS, Batch, NoConverter, Scores
from .crf import SequenceScores
from .errors import BirnnError, Errors
from .files import replacing
from .models.tagger import chain_scores
from .pipeline.base import BiRNNPipe
from .pipeline.morphologizer import BiRNNMorphologizer
from .pipeline.ner import BiRNNEntityRecognizer
from .pipeline.tagger import BiRNNTagger
from .pipeline.textcat import BiRNNMultiLabelTextCategorizer, BiRNNTextCategorizer

# The most that a file of ONNX can hold, less some room for what is not weights
LIMIT = 2**31 - 2**20
# Smaller weights are stored as they are: halving them saves nothing
LARGE = 1024

# What can be exported, and what a config calls it
KINDS = {
    BiRNNEntityRecognizer: "birnn_ner",
    BiRNNTagger: "birnn_tagger",
    BiRNNMorphologizer: "birnn_morphologizer",
    BiRNNTextCategorizer: "birnn_textcat",
    BiRNNMultiLabelTextCategorizer: "birnn_textcat_multilabel",
    Tok2Vec: "tok2vec",
}
ABOUT = {
    "scores": "The score of each tag of each word.",
    "transitions": "The score of each tag (column) after each tag (row); -inf: not possible.",
    "start": "The score of each tag at the first word of a text.",
    "end": "The score of each tag at the last word of a text.",
    "probabilities": "The probability of each label of each text.",
    "attention": "How much each word counts for its text, apart from n-grams; sums to 1.",
    "vectors": "The vector of each word in its text.",
}
DESCRIPTION = """The component '{name}' ({component}) of a spaCy pipeline (spacy-birnn {version}).
A hash is MurmurHash64A of a string in UTF-8 with the seed 1.

Inputs
{inputs}

Outputs
{outputs}
"""


def export_onnx(pipe: Any, path: Union[str, Path], *, float16: bool = False) -> ModelProto:
    """Write a trained component as one file of ONNX, which needs neither spaCy nor this package.
    It reads words, as hashes and code points, and gives scores, probabilities or vectors; the file
    says of each input and output what it is. The labels, the tagging scheme and the thresholds are
    in its metadata.

    pipe (TrainablePipe): A `birnn_ner`, `birnn_tagger`, `birnn_morphologizer`, `birnn_textcat`,
        `birnn_textcat_multilabel` or `tok2vec` component.
    path (Union[str, Path]): The file. What is there is replaced.
    float16 (bool): Whether to store the weights with 16 bits, in half the space. They are computed
        with as 32 bits.
    RETURNS (onnx.ModelProto): What is in the file.
    RAISES (ValueError): E010 before initialization; E100 to E103 for what can't be exported.
    """
    model = to_onnx(pipe)
    if float16:
        halve(model)
    with replacing(Path(path)) as new:
        new.write_bytes(model.SerializeToString())
    return model


def can_be_exported(pipe: Any) -> bool:
    """Whether a component is of a kind that can be exported, and has a tok2vec of its own."""
    return isinstance(pipe, tuple(KINDS)) and _listener(pipe) is None


def _listener(pipe: Any) -> Optional[Tok2VecListener]:
    nodes = pipe.model.walk()
    return next((node for node in nodes if isinstance(node, Tok2VecListener)), None)


def to_onnx(pipe: Any) -> ModelProto:
    """A trained component as a model of ONNX; see `export_onnx`."""
    kind = next((kind for kind in KINDS if isinstance(pipe, kind)), None)
    if kind is None:
        values = {"name": getattr(pipe, "name", repr(pipe)), "found": type(pipe).__name__}
        raise BirnnError(Errors.E100.format(**values, able=", ".join(KINDS.values())))
    listener = _listener(pipe)
    if listener is not None:
        shared = "tok2vec" if listener.upstream_name == "*" else listener.upstream_name
        raise BirnnError(Errors.E101.format(name=pipe.name, tok2vec=shared))
    if isinstance(pipe, BiRNNPipe):
        pipe._check_ready()
    elif not all(node.has_param(name) for node in pipe.model.walk() for name in node.param_names):
        raise BirnnError(Errors.E010.format(name=pipe.name))
    writer = StandaloneWriter()
    try:
        found = writer.convert(pipe.model, Batch())
    except NoConverter as e:
        raise BirnnError(Errors.E102.format(name=pipe.name, node=e)) from None
    metadata = {"spacy_birnn": __version__, "component": KINDS[kind], "name": pipe.name}
    metadata.update(_add_outputs(writer, pipe, found))
    size = writer.graph.size
    if size > LIMIT:
        values = {"name": pipe.name, "size": f"{size / 2**30:.1f} GB"}
        raise BirnnError(Errors.E103.format(**values))
    model = writer.graph.model()
    helper.set_model_props(model, metadata)
    model.doc_string = DESCRIPTION.format(
        version=__version__,
        inputs=_listed(model.graph.input),
        outputs=_listed(model.graph.output),
        **metadata,
    )
    return model


def _add_outputs(writer: StandaloneWriter, pipe: Any, found: Any) -> Dict[str, str]:
    """Give out what a component says. RETURNS (Dict[str, str]): What else belongs to it, for the
    metadata: a text, or JSON."""
    graph = writer.graph

    def output(name: str, value: str, *dims: Any) -> None:
        graph.output(name, value, "float32", dims, ABOUT[name])

    if isinstance(pipe, Tok2Vec):
        output("vectors", writer.flat(found), TEXTS.rows, pipe.model.get_dim("nO"))
        return {}
    temperature = pipe.cfg["temperature"]
    labels = {"labels": json.dumps(pipe.labels)}
    if isinstance(found, Scores):
        logits = graph.op("Div", found.logits, graph.constant(temperature, "float32"))
        if isinstance(pipe, BiRNNTextCategorizer):
            probabilities = graph.op("Softmax", logits, axis=-1)
        else:
            probabilities = graph.op("Sigmoid", logits)
        output("probabilities", probabilities, TEXTS.sequences, len(pipe.labels))
        if found.attention is not None:
            output("attention", found.attention, TEXTS.rows)
        return {**labels, "threshold": json.dumps(pipe.threshold)}
    scores = graph.op("Div", writer.flat(found), graph.constant(temperature, "float32"))
    output("scores", scores, TEXTS.rows, pipe.n_tags)
    none = np.zeros((0, pipe.n_tags)), np.zeros(0, dtype="int64")
    own = SequenceScores(*none, **chain_scores(pipe.model.get_ref("output_layer")))
    own = pipe.constrain(own.tempered(temperature))
    if own.transitions is not None:
        for name, part in zip(("transitions", "start", "end"), own.chain):
            output(name, graph.constant(part, "float32"), *part.shape)
    if not isinstance(pipe, BiRNNEntityRecognizer):
        return labels
    threshold = pipe.fitted_threshold if pipe.threshold is None else pipe.threshold
    return {
        **labels,
        "tags": json.dumps(pipe.tag_names),
        "scheme": pipe.scheme.name,
        "threshold": json.dumps(threshold),
        "confidence_map": json.dumps(pipe.confidence_map),
    }


def _listed(infos: Any) -> str:
    """What the inputs or outputs of a graph are."""
    lines = []
    for info in infos:
        tensor = info.type.tensor_type
        dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        lines.append(f"- {info.name}, {dtype} ({dims}): {info.doc_string}")
    return "\n".join(lines)


def halve(model: ModelProto) -> None:
    """Store the weights of a model with 16 bits, and make them 32 when it is loaded."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= LARGE:
            name, array = weight.name, numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(array.astype("float16"), f"{name}_stored"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
