"""`birnn trace`: the states of a recurrent encoder along a text."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, List, NamedTuple, Optional, cast

import numpy as np
import typer

from ._app import Force, check_output, command, fail, load_pipeline, replacing, say, warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from spacy.language import Language

# Words of the longest text that a picture has room for
LONGEST = 100
FORMATS = {".png": "png", ".svg": "svg"}
TITLES = {
    "forward": "Forward states: read from left to right",
    "backward": "Backward states: read from right to left",
}


class Trace(NamedTuple):
    """The states of one direction of an encoder's top layer along a text.

    direction (str): "forward" or "backward".
    words (List[str]): The tokens.
    states (np.ndarray): Shape (tokens, width).
    """

    direction: str
    words: List[str]
    states: np.ndarray

    @property
    def norms(self) -> np.ndarray:
        """The length of each state (Euclidean), shape (tokens,)."""
        return np.linalg.norm(self.states, axis=1)

    @property
    def changes(self) -> np.ndarray:
        """How far each state is from the one that was before it in reading, shape (tokens,). The
        first one's is its norm: a direction begins at 0."""
        in_order = self.states if self.direction == "forward" else self.states[::-1]
        steps = np.diff(in_order, axis=0, prepend=np.zeros_like(in_order[:1]))
        found = np.linalg.norm(steps, axis=1)
        return found if self.direction == "forward" else found[::-1]


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
    traces = trace(load_pipeline(model), text, pipe=pipe)
    # Words stay text in an SVG: the font is that of whoever looks at it
    kind = FORMATS[output.suffix.lower()]
    with matplotlib.rc_context({"svg.fonttype": "none"}), replacing(output) as new:
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message="Glyph .* missing")
            draw(traces).savefig(new, format=kind, dpi=150)
    if caught and kind == "png":
        warn("The font has no sign for some of the characters. An .svg has no such limit.")
    say(f"Wrote {output}")


def trace(nlp: "Language", text: str, *, pipe: Optional[str] = None) -> List[Trace]:
    """The states of the encoder (`spacy-birnn.BiRNNEncoder.v1`) of a component along a text.

    nlp (Language): The pipeline, trained.
    text (str): The text, of 1 to 100 tokens.
    pipe (Optional[str]): The component's name. None takes the first that has an encoder.
    RETURNS (List[Trace]): One for each direction, forward first.
    RAISES (ValueError): If there is no such encoder, or the text has no tokens or too many.
    """
    from ..models.encoder import recorded_states

    encoders = {name: found for name, p in nlp.pipeline if (found := _encoder_of(p)) is not None}
    name = next(iter(encoders), "") if pipe is None else pipe
    if name not in encoders:
        have = ", ".join(encoders) or "none"
        where = "The pipeline" if pipe is None else f"'{pipe}'"
        raise ValueError(f"{where} has no recurrent encoder. Components that have one: {have}.")
    doc = nlp.make_doc(text)
    if not 1 <= len(doc) <= LONGEST:
        raise ValueError(
            f"The text has {len(doc)} words, but a picture has room for 1 to {LONGEST}."
        )
    for earlier, component in nlp.pipeline:
        if earlier == name:
            break
        doc = component(doc)
    encoder = encoders[name]
    with recorded_states(encoder) as recorded:
        nlp.get_pipe(name).predict([doc])  # type: ignore[attr-defined]
    direction = encoder.shims[0].settings["direction"]
    directions = ["forward", "backward"] if direction == "both" else [direction]
    words = [token.text for token in doc]
    states = cast(np.ndarray, recorded[0])
    return [Trace(d, words, part) for d, part in zip(directions, states)]


def _encoder_of(pipe: Any) -> Any:
    nodes = pipe.model.walk() if hasattr(pipe, "model") else ()
    return next((node for node in nodes if node.name == "birnn_encoder"), None)


def draw(traces: List[Trace]) -> "Figure":
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
