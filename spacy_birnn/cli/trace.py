"""`birnn trace`: the states of a recurrent encoder along a text."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, List, Optional

import numpy as np
import typer

from ..files import replacing
from ._app import (
    Force,
    Pipeline,
    check_installed,
    check_output,
    command,
    fail,
    load_pipeline,
    say,
    warn,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..tracing import Trace

FORMATS = {".png": "png", ".svg": "svg", ".html": "svg"}
TITLES = {
    "forward": "Forward states: read from left to right",
    "backward": "Backward states: read from right to left",
}


@command("trace", example='trace training/model-best "Ada Lund works at Velotek." -o states.svg')
def trace_cli(
    model: Pipeline,
    text: Annotated[str, typer.Argument(help="A sentence: up to 100 words")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="What to write: .png, .svg or .html")
    ] = Path("trace.png"),
    pipe: Annotated[
        Optional[str],
        typer.Option(help="Component with the encoder [default: the first that has one]"),
    ] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="Draw the gates of the cell, too, from 0 to 1")
    ] = False,
    force: Force = False,
) -> None:
    """Draw the forward and the backward states of a recurrent encoder along a text: a heat map of
    the top layer's units, and below it the norm of each state and its change from the one before it
    in reading."""
    if output.suffix.lower() not in FORMATS:
        fail(f"Can't write '{output}'", f"Its name must end in one of: {', '.join(FORMATS)}")
    check_output(output, force=force)
    check_installed("matplotlib", extra="plots")
    import matplotlib

    nlp = load_pipeline(model)
    from ..tracing import trace

    traces = trace(nlp, nlp.make_doc(text), pipe=pipe)
    if gates and not traces[0].gates:
        fail("There are no gates to draw", 'A plain recurrent cell (cell = "rnn") has none.')
    # Words stay text in an SVG: the font is that of whoever looks at it
    kind, picture = FORMATS[output.suffix.lower()], io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message="Glyph .* missing")
            draw(traces, gates=gates).savefig(picture, format=kind, dpi=150)
    found = picture.getvalue()
    if output.suffix.lower() == ".html":
        found = _page(text, found.decode("utf8")).encode("utf8")
    with replacing(output) as new:
        new.write_bytes(found)
    if caught and kind == "png":
        warn("The font has no sign for some of the characters. An .svg has no such limit.")
    say(f"Wrote {output}")


def _page(text: str, svg: str) -> str:
    from ..pages import html

    # In the dark light and dark change places, and the colours stay
    style = """.wide svg { height: auto; } @media (prefers-color-scheme: dark) {
      .wide svg { filter: invert(1) hue-rotate(180deg); } }"""
    figure = f'<div class="wide">{svg[svg.index("<svg") :]}</div>'
    return html.page(f"States along: {text}", figure, style=style)


def draw(traces: "List[Trace]", *, gates: bool = False) -> "Figure":
    """A picture of traces of the same text, side by side.

    gates (bool): Whether to draw the gates of the cell below the states.
    """
    from matplotlib.figure import Figure

    n_words = len(traces[0].words)
    width = max(5.0, 1.5 + 0.24 * n_words)
    names = [*traces[0].gates] if gates else []
    figure = Figure(figsize=(width * len(traces), 7.5 + 3 * len(names)), layout="constrained")
    axes = figure.subplots(
        2 + len(names),
        len(traces),
        squeeze=False,
        sharex=True,
        sharey="row",
        height_ratios=(3, 1, *[1.5] * len(names)),
    )
    largest = max(float(np.abs(found.states).max()) for found in traces)
    for found, (heat, line, *below) in zip(traces, axes.T):
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
        line.grid(alpha=0.3)
        for name, gate in zip(names, below):
            opened = gate.imshow(
                found.gates[name].T,
                aspect="auto",
                cmap="Greys",
                vmin=0.0,
                vmax=1.0,
                interpolation="nearest",
            )
            gate.set_ylabel(f"{name} gate, unit")
        last = [line, *below][-1]
        last.set_xlabel("word")
        # Dollars in a word are no formula
        last.set_xticks(places, map(_shown, found.words), rotation=90, parse_math=False)
    axes[1, 0].legend()
    figure.colorbar(image, ax=axes[0, :].tolist(), label="value of the unit", pad=0.01)
    if names:
        label = "0: shut, 1: open"
        figure.colorbar(opened, ax=axes[2:, :].ravel().tolist(), label=label, pad=0.01)
    return figure


def _shown(word: str) -> str:
    return word if word.isprintable() else repr(word)[1:-1]
