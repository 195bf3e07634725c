"""Evaluate several pipelines on the same corpus and write their scores side by side, as JSON and as
a Markdown table."""

from pathlib import Path
from typing import Annotated

import spacy
import srsly
import typer
from spacy.training import Corpus
from wasabi import msg


def main(
    corpus: Annotated[Path, typer.Argument(help="Corpus (.spacy)", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Argument(help="Files to write, without .json and .md")],
    pipelines: Annotated[list[str], typer.Argument(help="NAME=FOLDER of each pipeline")],
    score: Annotated[str, typer.Option(help="Name of the score to compare")],
) -> None:
    """Compare pipelines by one of spaCy's scores."""
    scores = {}
    for pipeline in pipelines:
        name, _, folder = pipeline.partition("=")
        if not Path(folder or "?").is_dir():
            raise typer.BadParameter(f"'{pipeline}'; expected NAME=FOLDER of a trained pipeline")
        nlp = spacy.load(folder)
        scores[name] = nlp.evaluate(list(Corpus(corpus)(nlp)))[score]
    rows = [f"| {name} | {100 * value:.1f} |" for name, value in scores.items()]
    table = "\n".join([f"| pipeline | {score} |", "| --- | ---: |", *rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(out.with_suffix(".json"), {score: scores})
    out.with_suffix(".md").write_text(table + "\n", encoding="utf8")
    msg.good(f"{out}: {scores}")


if __name__ == "__main__":
    typer.run(main)
