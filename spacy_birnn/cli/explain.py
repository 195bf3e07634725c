"""`birnn explain`: why these labels."""

import unicodedata
from html import escape
from pathlib import Path
from typing import Annotated, Any, Dict, Iterator, List, Optional, Tuple

import typer

from ..files import replacing
from ._app import (
    Force,
    Json,
    Pipeline,
    check_output,
    command,
    load_pipeline,
    names,
    print_json,
    say,
)

# Words that are named for each prediction in the terminal
N_WORDS = 3
# A probability that changes by less has not changed, as far as is printed
LEAST_CHANGE = 0.005
Row = Tuple[str, ...]


@command(
    "explain", example='explain training/model-best "Ada Lund works at Velotek." --html why.html'
)
def explain_cli(
    model: Pipeline,
    text: Annotated[str, typer.Argument(help="A sentence, or a few: up to 200 words")],
    pipes: Annotated[
        Optional[str], typer.Option(help="Components, with commas between them [default: all]")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of labellings to compare")] = 3,
    html: Annotated[
        Optional[Path], typer.Option(help="Write a page to this file instead of printing tables")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Explain what a pipeline predicts of a text: the most probable labels of each word, the most
    probable labellings of the whole, and how probable each prediction is when its left context, its
    right context or a single word is hidden. In the place of a hidden word stands the character
    U+FFFD, an unknown word to the model."""
    if html:
        check_output(html, force=force)
    nlp = load_pipeline(model)
    from ..explanation import explain

    found = explain(nlp, text, pipes=names(pipes), k=k)
    if html:
        with replacing(html) as new:
            new.write_text(_page(found), encoding="utf8")
        say(f"Wrote {html}")
    if as_json:
        print_json(found)
    elif not html:
        _print(found)


def _print(found: Dict[str, Any]) -> None:
    from wasabi import table

    for name, component in found["components"].items():
        print(f"\n{name}")
        for title, header, rows in _tables(found["tokens"], component):
            print(f"\n{title}\n{table(rows, header=header, divider=True, max_col=1000)}")


def _tables(tokens: List[str], component: Dict[str, Any]) -> Iterator[Tuple[str, Row, List[Row]]]:
    """The title, the header and the rows of each table about a component."""
    predicted = component["predicted"]
    numbers = ["probability"]
    if "tokens" in component:
        numbers += ["without_left", "without_right"]
    rows: List[Row] = [
        (_fact(entry), *(_number(entry[key]) for key in numbers), _most_changed(tokens, entry))
        for entry in predicted
    ]
    columns = [key.replace("_", " ") for key in numbers]
    header = ("predicted", *columns, "what changes most when a word is hidden")
    yield "Predictions", header, rows or [("nothing",) + ("",) * (len(header) - 1)]
    if "tokens" in component:
        most = len(component["tokens"][0])
        yield (
            "Labels of each word: probability (score)",
            ("word", *(f"label {i}" for i in range(1, most + 1))),
            [
                (_shown(token), *map(_label, labels))
                for token, labels in zip(tokens, component["tokens"])
            ],
        )
        first = component["best"][0]
        yield (
            "Most probable labellings",
            ("probability", "labelling"),
            [
                (_number(best["probability"]), _labelling(tokens, best, None if not i else first))
                for i, best in enumerate(component["best"])
            ],
        )
    elif component["attention"] is not None:
        yield (
            "Attention",
            ("word", "weight"),
            [
                (_shown(token), _number(weight))
                for token, weight in zip(tokens, component["attention"])
            ],
        )


def _labelling(tokens: List[str], best: Dict[str, Any], first: Optional[Dict[str, Any]]) -> str:
    """The entities; or the labels, of a labelling that is not the first those that it has else."""
    if "entities" in best:
        return ", ".join(map(_fact, best["entities"])) or "no entity"
    places = [
        i for i, label in enumerate(best["labels"]) if first is None or label != first["labels"][i]
    ]
    return ", ".join(f"{_shown(tokens[i])} {best['labels'][i]}" for i in places)


def _most_changed(tokens: List[str], entry: Dict[str, Any]) -> str:
    def change(i: int) -> float:
        return abs(entry["without_word"][i] - entry["probability"])

    most = sorted(range(len(tokens)), key=change, reverse=True)[:N_WORDS]
    changes = [
        f"{_shown(tokens[i])} {_number(entry['without_word'][i])}"
        for i in most
        if change(i) >= LEAST_CHANGE
    ]
    return ", ".join(changes) or "nothing"


def _fact(entry: Dict[str, Any]) -> str:
    return f"{_shown(entry['text'])} {entry['label']}" if "text" in entry else entry["label"]


def _label(label: Dict[str, Any]) -> str:
    return f"{label['label']} {_number(label['probability'])} ({label['score']:.1f})"


def _number(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.3f}"


def _shown(text: str) -> str:
    """A text in one line. One that is written from right to left is isolated (Unicode's FSI and
    PDI), or else the numbers beside it would change places."""
    if not text.isprintable():
        text = repr(text)[1:-1]
    leftward = any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)
    return f"\u2068{text}\u2069" if leftward else text


def _page(found: Dict[str, Any]) -> str:
    from ..pages.html import page, table

    tokens = found["tokens"]
    parts = [
        f'<p dir="auto">{escape(found["text"])}</p>',
        '<p class="soft">In the place of a hidden word stands U+FFFD, an unknown word to the '
        "model. Under each word is the probability of the prediction without it: orange where it "
        "falls, so that the word speaks for the prediction, blue where it rises.</p>",
    ]
    for name, component in found["components"].items():
        parts.append(f"<h2>{escape(name)}</h2>")
        for title, header, rows in _tables(tokens, component):
            parts += [f"<h3>{escape(title)}</h3>", table(header, rows)]
        parts.append("<h3>When a word is hidden</h3>")
        for entry in component["predicted"]:
            p = entry["probability"]
            words = (_word(t, w, w - p) for t, w in zip(tokens, entry["without_word"]))
            parts.append(f"<div><b>{escape(_fact(entry))}</b> {_number(p)}</div>")
            parts.append(f'<div class="words">{"".join(words)}</div>')
    return page("Why these labels", *parts)


def _word(token: str, probability: float, change: float) -> str:
    color = "rises" if change > 0 else "falls"
    shade = f"background: rgba(var(--{color}), {min(abs(change), 1) * 0.6:.2f})"
    number = f"<small>{_number(probability)}</small>"
    return f'<span style="{shade}">{escape(_shown(token))}{number}</span>'
