"""`birnn calibrate`: probabilities that hold, for a pipeline that is trained."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..files import replacing_files
from ._app import (
    Force,
    Json,
    Pipeline,
    check_output,
    command,
    load_pipeline,
    names,
    print_json,
    read_examples,
    say,
)


@command("calibrate", example="calibrate training/model-best corpus/dev.spacy calibrated")
def calibrate_cli(
    model: Pipeline,
    data: Annotated[Path, typer.Argument(help="Held-out documents, not the training data: .spacy")],
    out: Annotated[Path, typer.Argument(help="Directory for the calibrated pipeline")],
    pipes: Annotated[
        Optional[str], typer.Option(help="Components, with commas between them [default: all]")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit the probabilities of a pipeline, and the threshold of its entities, to held-out
    documents. Prints how well the probabilities hold there afterwards."""
    check_output(out, force=force, is_dir=True)
    nlp = load_pipeline(model)
    examples = read_examples(nlp, data)
    from ..pipeline.calibration import calibrate

    reports = calibrate(nlp, examples, pipes=names(pipes))
    with replacing_files(out) as new:
        nlp.to_disk(new)
    if as_json:
        print_json({name: found.to_dict() for name, found in reports.items()})
    else:
        for name, found in reports.items():
            print(f"{name}\n{found}")
    say(f"Saved the calibrated pipeline to {out}")
