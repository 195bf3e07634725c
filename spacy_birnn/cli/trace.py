"""`birnn trace`: the states of a recurrent encoder along a text."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, List, Optional

import numpy as np
import typer

from ..files import replacing
from ._app import Force, check_output, command, fail, load_pipeline, say, warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..tracing import Trace

FORMATS = {".png": "png", ".svg": "svg"}
TITLES = {
    "forward": "Forward states: read from left to right",
    "backward": "Backward states: read from right to left",
}


@command("trace", example='trace training/model-best "Ada Lund works at Velotek." -o states.svg')
def trace_cli(
    model: Annotated[str, typer.Argument(help="Pipeline: a directory or a package")],
    text: Annotated[str, typer.Argument(help="A sentence: up to 100 words")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write: .png or .svg")
    ] = Path("trace.png"),
    pipe: Annotated[
        Optional[str],
        typer.Option(help="Component with the encoder [default: the first that has one]"),
    ] = None,
    force: Force = False,
) -> None:
    """Draw the forward and the backward states of a recurrent encoder along a text: a heat map of
    the top layer's units, and below it the norm of each state and its change from the one before it
    in reading."""
    if output.suffix.lower() not in FORMATS:
        fail(f"Can't write '{output}'", f"Its name must end in one of: {', '.join(FORMATS)}")
    check_output(output, force=force)
    try:
        import matplotlib
    except ImportError:
        fail("Pictures need matplotlib", 'Install it with: pip install "spacy-birnn[plots]"')
    nlp = load_pipeline(model)
    from ..tracing import trace

    traces = trace(nlp, nlp.make_doc(text), pipe=pipe)
    # Words stay text in an SVG: the font is that of whoever looks at it
    kind = FORMATS[output.suffix.lower()]
    with matplotlib.rc_context({"svg.fonttype": "none"}), replacing(output) as new:
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message="Glyph .* missing")
            draw(traces).savefig(new, format=kind, dpi=150)
    if caught and kind == "png":
        warn("The font has no sign for some of the characters. An .svg has no such limit.")
    say(f"Wrote {output}")


def draw(traces: "List[Trace]") -> "Figure":
    """A picture of traces of the same text, side by side."""
    from matplotlib.figure import Figure

    n_words = len(traces[0].words)
    width = max(5.0, 1.5 + 0.24 * n_words)
    figure = Figure(figsize=(width * len(traces), 7.5), layout="constrained")
    axes = figure.subplots(
        2, len(traces), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1)
    )
    largest = max(float(np.abs(found.states).max()) for found in traces)
    for found, (heat, line) in zip(traces, axes.T):
        image = heat.imshow(
            found.states.T,
            aspect="auto",
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            interpolation="nearest",
        )
        heat.set_title(TITLES[found.direction])
        heat.set_ylabel("unit of the state")
        places = np.arange(n_words)
        line.plot(places, found.norms, marker="o", markersize=3, label="norm of the state")
        line.plot(places, found.changes, marker="s", markersize=3, label="change by this word")
        line.set_ylim(bottom=0)
        line.set_ylabel("Euclidean length")
        line.set_xlabel("word")
        line.grid(alpha=0.3)
        # Dollars in a word are no formula
        line.set_xticks(places, map(_shown, found.words), rotation=90, parse_math=False)
    axes[1, 0].legend()
    figure.colorbar(image, ax=axes[0, :].tolist(), label="value of the unit", pad=0.01)
    return figure


def _shown(word: str) -> str:
    return word if word.isprintable() else repr(word)[1:-1]
