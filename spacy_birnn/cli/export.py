"""`birnn export`: a component as a file that runs without spaCy."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ._app import Force, Pipeline, check_output, command, fail, load_pipeline, say


@command("export", example="export training/model-best ner.onnx --pipe ner")
def export_cli(
    model: Pipeline,
    out: Annotated[Path, typer.Argument(help="File to write: .onnx")],
    pipe: Annotated[
        Optional[str], typer.Option(help="Component [default: the only one that can be exported]")
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Store the weights with 16 bits, in half the space")
    ] = False,
    force: Force = False,
) -> None:
    """Write a component as a file of ONNX, which runs without spaCy, this package or PyTorch.
    Prints what goes into it and what comes out."""
    check_output(out, force=force)
    nlp = load_pipeline(model)
    from ..export import can_be_exported, export_onnx

    able = [name for name, found in nlp.pipeline if can_be_exported(found)]
    if pipe is None and not able:
        fail(
            "Nothing in this pipeline can be exported as it is",
            f"It has: {', '.join(nlp.pipe_names)}. Name one with --pipe to see why it can't.",
        )
    if pipe is None and len(able) > 1:
        fail(
            "Can't tell which component to export",
            f"Name one with --pipe. Possible: {', '.join(able)}.",
        )
    name = pipe or able[0]
    if name not in nlp.pipe_names:
        fail(f"There is no component '{name}'", f"The pipeline has: {', '.join(nlp.pipe_names)}.")
    print(export_onnx(nlp.get_pipe(name), out, float16=float16).doc_string, end="")
    say(f"Saved '{name}' to {out} ({out.stat().st_size / 1e6:.1f} MB)")
