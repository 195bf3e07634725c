"""Weights of 16 and of 8 bits in the graphs by which trained pipelines predict: the size, the speed
and the score. See README.md beside this file."""

import gc
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import spacy
import typer
from common import (
    RESULTS,
    ROOT,
    check_dir,
    check_file,
    console,
    describe_markdown,
    describe_run,
    markdown_table,
    median_range,
    pin_threads,
    write_results,
)
from rich.progress import track
from spacy.tokens import Doc
from spacy.training import Corpus, Example

SCORES = {
    "birnn_ner": ["ents_f"],
    "birnn_tagger": ["tag_acc"],
    "birnn_morphologizer": ["pos_acc", "morph_acc"],
    "birnn_textcat": ["cats_micro_f"],
    "tok2vec": [],
}
# Documents to read before the time is taken
WARM_UP = 50
FORM = "NAME=PIPELINE_DIR,DOCS.spacy"


def as_it_is(model: Any) -> Any:
    return model


def with_float16(model: Any) -> Any:
    """Weights of 16 bits, which are made 32 when the graph is loaded."""
    from spacy_birnn.export import halve

    halve(model)
    return model


def with_int8(model: Any) -> Any:
    """ONNX Runtime's dynamic quantization of matrix products, LSTMs and tables of embeddings: the
    weights have 8 bits, and what they are multiplied with is rounded as it comes. It has none for
    a GRU."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantize_dynamic(model, path, weight_type=QuantType.QInt8)
        return onnx.load(path)


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "float32": as_it_is,
    "float16": with_float16,
    "int8": with_int8,
}


def parse(value: str) -> tuple[str, Path, Path]:
    """RAISES (typer.BadParameter): Unless the value names a pipeline and documents."""
    name, _, rest = value.partition("=")
    paths = [Path(path) for path in rest.split(",")]
    if len(paths) != 2:
        raise typer.BadParameter(f"{value!r}; expected {FORM}")
    pipeline = check_dir(paths[0], expected="a trained pipeline")
    return name, pipeline, check_file(paths[1], expected="annotated documents")


@contextmanager
def changed(variant: str) -> Iterator[None]:
    """Let all graphs be made with other numbers."""
    from spacy_birnn.compiler.graph import Graph

    write = Graph.model
    Graph.model = lambda graph: VARIANTS[variant](write(graph))  # type: ignore[method-assign]
    try:
        yield
    finally:
        Graph.model = write  # type: ignore[method-assign]


def recipe() -> dict[str, Any]:
    """The functions of docs/exporting.md, by which a reader runs an exported component."""
    page = (ROOT / "docs" / "exporting.md").read_text(encoding="utf8")
    block = re.compile(r"```python\n(import json\n.*?)^session = ", re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(block.findall(page)[0], names)
    return names


class Exported:
    """A component that predicts with the file that it is exported as.

    pipe (Any): The component, changed in place.
    read (Callable): Makes the inputs, see `recipe`.

    size (int): Bytes of the file.
    seconds (float): CPU time in the graph so far.
    """

    def __init__(self, pipe: Any, read: Callable[[list[list[str]]], dict[str, Any]]):
        import onnxruntime

        from spacy_birnn.export import to_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = to_onnx(pipe).SerializeToString()
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.size, self.seconds = len(model), 0.0
        self.pipe, self.read = pipe, read
        if hasattr(pipe, "n_tags"):
            pipe._scores = self.scores
        else:
            pipe.predict = self.categories

    def run(self, docs: list[Doc]) -> dict[str, Any]:
        inputs = self.read([[token.text for token in doc] for doc in docs])
        given = {node.name: inputs[node.name] for node in self.session.get_inputs()}
        begin = time.process_time()
        found = self.session.run(None, given)
        self.seconds += time.process_time() - begin
        return dict(zip([node.name for node in self.session.get_outputs()], found, strict=True))

    def scores(self, docs: list[Doc]) -> Any:
        from spacy_birnn.crf import SequenceScores

        found = self.run(docs)
        lengths = np.array([len(doc) for doc in docs])
        chain = {name: found.get(name) for name in ("transitions", "start", "end")}
        return SequenceScores(found["scores"], lengths, **chain)

    def categories(self, docs: Iterable[Doc]) -> list[Any]:
        from spacy_birnn.pipeline.textcat import Categories

        return [Categories(row, None) for row in self.run(list(docs))["probabilities"]]


def measure(path: Path, docs: Path, variant: str, functions: dict[str, Any]) -> dict[str, float]:
    """Predict the documents with the graphs of a variant: those by which the pipeline predicts, and
    those that its components are exported as."""
    nlp = spacy.load(path)
    examples = list(Corpus(docs)(nlp))
    words = sum(len(eg.x) for eg in examples)
    found: dict[str, float] = {"docs": len(examples)}
    annotated: dict[str, list[Doc]] = {}
    with changed(variant):
        for _ in nlp.pipe([eg.x.copy() for eg in examples[:WARM_UP]]):
            pass
        for way, batch in (("pipe", 256), ("single", 1)):
            chosen = [eg.x.copy() for eg in examples]
            gc.collect()
            begin = time.process_time()
            annotated[way] = list(nlp.pipe(chosen, batch_size=batch))
            found[way] = words / (time.process_time() - begin)
        pairs = zip(annotated["pipe"], annotated["single"], strict=True)
        found["differ"] = sum(said(one) != said(other) for one, other in pairs)
        found["score"] = score(nlp, examples)
        for name in nlp.pipe_names:
            if nlp.has_pipe("tok2vec") and name != "tok2vec":
                nlp.replace_listeners("tok2vec", name, ["model.tok2vec"])
        if nlp.has_pipe("tok2vec"):
            nlp.remove_pipe("tok2vec")
        exported = [Exported(pipe, functions["read"]) for _, pipe in nlp.pipeline]
        found["exported_score"] = score(nlp, examples)
    found["size"] = sum(one.size for one in exported)
    found["exported"] = words / sum(one.seconds for one in exported)
    return found


def said(doc: Doc) -> tuple:
    """What a pipeline has set on a document."""
    ents = [(ent.start, ent.end, ent.label_) for ent in doc.ents]
    tokens = [(token.tag_, token.pos_, str(token.morph)) for token in doc]
    return ents, tokens, max(doc.cats, key=doc.cats.__getitem__, default="")


def score(nlp: Any, examples: list[Example]) -> float:
    """The mean of the scores that training watches, in percent."""
    scores = nlp.evaluate(examples, batch_size=32)
    names = {
        "birnn_ner": ["ents_f"],
        "birnn_tagger": ["tag_acc"],
        "birnn_textcat": ["cats_micro_f"],
    }
    names["birnn_morphologizer"] = ["pos_acc", "morph_acc"]
    chosen = [name for pipe in nlp.pipe_names for name in names.get(pipe, [])]
    return 100 * sum(scores[name] for name in chosen) / len(chosen)


def report(data: dict[str, Any]) -> str:
    parts = ["# Weights of fewer bits"]
    for name, found in data["results"].items():
        rows = []
        for variant, rounds in found.items():
            speeds = [
                median_range([one[reading] for one in rounds], digits=0)
                for reading in ("exported", "pipe", "single")
            ]
            losses = [
                f"{rounds[0][kind]:.2f} ({rounds[0][kind] - found['float32'][0][kind]:+.2f})"
                for kind in ("exported_score", "score")
            ]
            size = f"{rounds[0]['size'] / 1e6:.1f}"
            differ = f"{rounds[0]['differ']} of {rounds[0]['docs']}"
            rows.append([variant, size, speeds[0], losses[0], *speeds[1:], losses[1], differ])
        header = ["", "MB", "exported, words/CPU s", "score"]
        header += ["`nlp.pipe`, words/CPU s", "one at a time", "score", "differ"]
        parts += [f"## {name}", markdown_table(header, rows)]
    note = (
        f"Median of {data['n_rounds']} rounds (lowest to highest); scores in percent, with the "
        "difference from float32. *differ*: documents of which the pipeline says something else "
        "alone than in a batch."
    )
    return "\n\n".join([*parts, note, describe_markdown(data["run"])])


def main(
    pipeline: Annotated[list[str], typer.Option(help=f"{FORM}; may be repeated")],
    rounds: Annotated[int, typer.Option(help="Rounds", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="Threads", min=1)] = 1,
    results: Annotated[Path, typer.Option(help="Folder for the results")] = RESULTS,
) -> None:
    """Every pipeline with each variant in turn."""
    pin_threads(threads)
    chosen = [parse(value) for value in pipeline]
    options = " ".join(f"--pipeline {name}=DIR,DOCS" for name, _, _ in chosen)
    command = f"python benchmarks/small_numbers.py {options} --rounds {rounds} --threads {threads}"
    # It says of each graph what it would rather have had
    logging.disable(logging.WARNING)
    functions, found = recipe(), {name: {v: [] for v in VARIANTS} for name, _, _ in chosen}
    out = {"run": describe_run(threads=threads, command=command), "n_rounds": rounds}
    for i in track(range(rounds), description="Rounds", console=console):
        for name, path, docs in chosen:
            for variant in list(VARIANTS)[:: 1 if i % 2 == 0 else -1]:
                found[name][variant].append(measure(path, docs, variant, functions))
    data = {**out, "results": found}
    write_results(results, "small-numbers", data=data, markdown=report(data))
    print(report(data))


if __name__ == "__main__":
    typer.run(main)
