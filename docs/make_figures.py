"""Draw the figures of the documentation into images/ beside this file, from models that are trained
here on the sample corpus. Takes some minutes.

python docs/make_figures.py [NAME ...]
"""

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import matplotlib
import numpy as np
import spacy
import srsly
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Adam, fix_random_seed

from spacy_birnn import crf
from spacy_birnn.explanation import hide
from spacy_birnn.pipeline.calibration import Reliability, calibrate, reliability
from spacy_birnn.tracing import trace

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "project" / "scripts"))

from claims_training import gradients  # noqa: E402
from make_corpus import SAMPLE_DIR, make_corpus, to_doc  # noqa: E402

# Text and lines, which change with the ground that a page has; see `save`
INK, LINE = "#010203", "#040506"
# Distinguishable without colour vision, and on light and dark grounds
BLUE, ORANGE, GREEN = "#2f86d6", "#d9730d", "#1f9e77"
STYLE = """<style>
:root { --ink: #1b1f24; --line: #8c959f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --line: #767e88 } }
</style>"""
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spacy-birnn",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# Texts to train on: all that there are, and as many as leave a model in doubt
MANY, FEW = 2500, 300
# Two texts that are the same up to a comma and a few words
COMMON = "We still remember Dorgumond, the somewhat ordinary"
PAIR = (f"{COMMON} singer from Fennock.", f"{COMMON} town near Fennock.")


def save(figure: Figure, name: str) -> None:
    """Write an SVG whose text and lines have the colour that suits a light or a dark ground, in the
    font of whoever looks at it."""
    path = HERE / "images" / f"{name}.svg"
    figure.savefig(path, transparent=True, metadata={"Date": None})
    svg = path.read_text(encoding="utf8")
    svg = svg.replace(INK, "var(--ink)").replace(LINE, "var(--line)")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    svg = svg.replace("<defs>", f"{STYLE}\n<defs>", 1)
    path.write_text(svg, encoding="utf8")


@cache
def corpus() -> Dict[str, List[Any]]:
    files = (srsly.read_yaml(SAMPLE_DIR / f"{name}.yml") for name in ("grammar", "lexicon"))
    return make_corpus(*files, sizes={"train": 2500, "dev": 400, "test": 600}, seed=0)


def examples(nlp: Language, part: str) -> List[Example]:
    docs = [to_doc(text, nlp.vocab) for text in corpus()[part]]
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


@cache
def trained(n_texts: int) -> Tuple[Language, Reliability, Reliability]:
    """An entity recognizer that learned from so many texts, and how well its probabilities hold on
    the test part before and after they are calibrated on the development part."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy-birnn.BiRNNTok2Vec.v1",
        "width": 128,
        "dropout": 0.3,
        "locked_dropout": 0.3,
    }
    nlp.add_pipe("birnn_ner", name="ner", config={"model": {"tok2vec": tok2vec}})
    train = examples(nlp, "train")[:n_texts]
    nlp.initialize(lambda: train)
    optimizer = Adam(0.002, L2=0.0, grad_clip=1.0)
    rng = np.random.default_rng(0)
    for _ in range(30_000 // n_texts):
        rng.shuffle(train)  # type: ignore[arg-type]
        for batch in minibatch(train, 32):
            nlp.update(batch, sgd=optimizer)
    test = examples(nlp, "test")
    before = reliability(nlp, test)["ner"]
    calibrate(nlp, examples(nlp, "dev"))
    return nlp, before, reliability(nlp, test)["ner"]


def heat(axes: Axes, values: np.ndarray, *, largest: float, numbers: bool = False) -> None:
    """A heat map without a ground of its own: orange above 0, blue below, nothing at 0."""
    shade = np.clip(np.abs(values) / largest, 0, 1)
    colors = np.where((values > 0)[..., None], to_rgba(ORANGE), to_rgba(BLUE))
    colors[..., 3] = shade
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            if shade[i, j] > 0.01:
                axes.add_patch(
                    matplotlib.patches.Rectangle(
                        (j - 0.5, i - 0.5), 1, 1, color=colors[i, j], lw=0, aa=False
                    )
                )
            if numbers and values[i, j] >= 0.005:
                axes.text(
                    j,
                    i,
                    f"{values[i, j]:.2f}"[1:] if values[i, j] < 0.995 else "1",
                    ha="center",
                    va="center",
                    size=8,
                )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.tick_params(length=0)


def word_axis(axes: Axes, words: Sequence[str]) -> None:
    axes.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")


def front() -> Figure:
    """What a word is, with the whole text and with a part of it."""
    nlp = trained(MANY)[0]
    ner: Any = nlp.get_pipe("ner")
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    labels, colors = ("PERSON", "GPE"), (BLUE, ORANGE)
    for axes, text in zip(figure.subplots(2, 1), PAIR):
        doc = nlp(text)
        place = next(ent for ent in doc.ents if ent.text == "Dorgumond")
        whole = nlp.make_doc(text)
        asked = {
            "the whole text": [],
            "only up to Dorgumond": range(place.end, len(doc)),
            "only from Dorgumond on": range(place.start),
        }
        for row, hidden in enumerate(asked.values()):
            seen = hide(whole, hidden)
            spans = [Span(seen, place.start, place.end, label) for label in labels]
            left = 0.0
            for label, color, p in zip(labels, colors, ner.span_probabilities(seen, spans)):
                axes.barh(
                    row, p, left=left, color=color, height=0.62, label=label if not row else None
                )
                if p > 0.08:
                    axes.text(
                        left + p / 2,
                        row,
                        f"{p:.2f}",
                        ha="center",
                        va="center",
                        color="white",
                        size=10,
                    )
                left += p
        axes.set_yticks(range(3), list(asked))
        axes.set_xlim(0, 1)
        axes.set_ylim(2.6, -0.6)
        axes.tick_params(length=0)
        axes.set_title(text, loc="left", x=-0.38, weight="bold", size=10.5)
        if text == PAIR[0]:
            axes.set_xticks([])
            axes.legend(
                ncols=2,
                loc="lower right",
                bbox_to_anchor=(1, 1.08),
                columnspacing=1.2,
                handlelength=1,
            )
        else:
            axes.set_xlabel("confidence that Dorgumond is a person, or a place (GPE)")
    return figure


def unrolled() -> Figure:
    """A bidirectional network, unrolled along a sentence."""
    words = ["Ebony", "opened", "a", "second", "office"]
    tags = ["U-ORG", "O", "O", "O", "O"]
    figure = Figure(figsize=(8.6, 4.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-1.25, len(words) - 0.4)
    axes.set_ylim(-0.55, 4.5)
    heights = {"x": 0.0, "forward": 1.15, "backward": 2.15, "y": 3.2, "tag": 4.15}

    def box(x: float, y: float, text: str, color: str) -> None:
        shape = FancyBboxPatch(
            (x - 0.3, y - 0.25),
            0.6,
            0.5,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            fc=(*to_rgba(color)[:3], 0.22),
            ec=color,
        )
        axes.add_patch(shape)
        axes.text(x, y, text, ha="center", va="center")

    def arrow(
        start: Tuple[float, float], end: Tuple[float, float], color: str, bend: float = 0
    ) -> None:
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=11,
                color=color,
                lw=1.3,
                connectionstyle=f"arc3,rad={bend}",
            )
        )

    subscripts = "₁₂₃₄₅"
    for i, (word, tag) in enumerate(zip(words, tags)):
        n = subscripts[i]
        box(i, heights["x"], f"x{n}", LINE)
        axes.text(i, heights["x"] - 0.42, word, ha="center", va="center", weight="bold")
        box(i, heights["forward"], f"f{n}", BLUE)
        box(i, heights["backward"], f"b{n}", ORANGE)
        box(i, heights["y"], f"[f{n} ; b{n}]", LINE)
        axes.text(i, heights["tag"], tag, ha="center", va="center", weight="bold")
        arrow((i, 0.28), (i, 0.87), LINE)
        arrow((i - 0.34, 0.2), (i - 0.34, 1.95), LINE, bend=-0.25)
        arrow((i, 2.43), (i, 2.92), ORANGE)
        arrow((i + 0.34, 1.35), (i + 0.34, 3.0), BLUE, bend=0.25)
        arrow((i, 3.48), (i, 3.98), LINE)
        if i + 1 < len(words):
            arrow((i + 0.33, heights["forward"]), (i + 0.67, heights["forward"]), BLUE)
            arrow((i + 0.67, heights["backward"]), (i + 0.33, heights["backward"]), ORANGE)
    for name, key in (
        ("words", "x"),
        ("reads on", "forward"),
        ("reads back", "backward"),
        ("side by side", "y"),
        ("labels", "tag"),
    ):
        axes.text(-1.2, heights[key], name, va="center", size=10)
    return figure


def gates() -> Figure:
    """The gates of the forward direction along a text."""
    nlp = trained(MANY)[0]
    doc = nlp.make_doc(PAIR[1])
    found, _ = trace(nlp, doc)
    i, f, o = (found.gates[name].T for name in ("input", "forget", "output"))
    # The units whose state changes most along the text
    units = np.argsort(-found.states.T.std(axis=1))[:14]
    units = units[np.argsort(-f[units].mean(axis=1))]
    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    panels = {"input gate: write": i, "forget gate: keep": f, "output gate: show": o}
    for axes, (title, gate) in zip(figure.subplots(1, 3), panels.items()):
        heat(axes, gate[units], largest=1.0)
        word_axis(axes, [token.text for token in doc])
        axes.set_yticks([])
        axes.set_title(title)
    figure.supylabel("unit of the state", size=11, color=INK)
    return figure


def marginals() -> Figure:
    """What the network says of each token, and what follows of all of it."""
    nlp = trained(FEW)[0]
    ner: Any = nlp.get_pipe("ner")
    docs = [nlp.make_doc(eg.text) for eg in examples(nlp, "test")]
    # The short text that it is the least sure of
    short = [doc for doc in docs if 5 <= len(doc) <= 9]
    doc = min(short, key=lambda doc: ner.k_best([doc], 1)[0][0][1])
    scores = ner._scores([doc])
    found = crf.posterior(scores, ner.allowed_mask([doc])).marginals
    shown = [i for i, name in enumerate(ner.tag_names) if name == "O" or name[0] in "BLU"]
    names = [ner.tag_names[i] for i in shown]
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    first, second = figure.subplots(1, 2)
    emissions = scores.emissions[:, shown].T
    heat(first, emissions, largest=float(np.abs(emissions).max()))
    heat(second, found[:, shown].T, largest=1.0, numbers=True)
    for axes, title in (
        (first, "emissions: orange above 0, blue below"),
        (second, "marginals: probabilities"),
    ):
        word_axis(axes, [token.text for token in doc])
        axes.set_yticks(range(len(names)), names)
        axes.set_title(title)
    return figure


def gradient_distance() -> Figure:
    """How much of a change of a word is left some words on, before training."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for cell, color, marker in (("rnn", BLUE, "o"), ("gru", GREEN, "^"), ("lstm", ORANGE, "s")):
        runs = []
        for seed in range(5):
            fix_random_seed(seed)
            runs.append(list(gradients(seed, cell=cell).values()))
        mean = np.mean(runs, axis=0)
        axes.plot(mean, color=color, marker=marker, markevery=5, ms=5, label=cell.upper())
    axes.set_yscale("log")
    axes.set_xlabel("words between the change and the state")
    axes.set_ylabel("norm of the gradient,\n1 at the word itself")
    axes.legend()
    return figure


def calibration() -> Figure:
    """Confidence and how often it is right, before and after calibration."""
    _, before, after = trained(FEW)
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=LINE, ls="--", lw=1)
    for name, found, color, marker in (
        ("as trained", before, BLUE, "o"),
        ("calibrated", after, ORANGE, "s"),
    ):
        some = found.count >= 10
        axes.plot(
            found.expected[some],
            found.observed[some],
            color=color,
            marker=marker,
            label=f"{name}, error {found.ece:.3f}",
        )
    axes.set_xlabel("mean confidence of the entities")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.03)
    axes.legend(loc="upper left")
    return figure


FIGURES: Dict[str, Callable[[], Figure]] = {
    "front": front,
    "unrolled": unrolled,
    "gates": gates,
    "marginals": marginals,
    "gradient-distance": gradient_distance,
    "calibration": calibration,
}

if __name__ == "__main__":
    with matplotlib.rc_context(SETTINGS):
        for chosen in sys.argv[1:] or FIGURES:
            save(FIGURES[chosen](), chosen)
            print(f"Drew {chosen}")
