"""The Markdown report of speed.py, and the picture of its stream."""

import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from common import describe_markdown, markdown_table, median_range

from spacy_birnn.pages.chart import STYLE, Line, chart

# How the texts come: all of them at once, or one at a time, as behind a web request
READING_WAYS = ("nlp.pipe", "nlp(text)")
READINGS = {"first": "new text", "again": "again"}
TITLES = {
    "tokenizer": "spaCy's tokenizer alone",
    "spacy": "spaCy",
    "spacy numpy": "spaCy, products by NumPy",
    "ours": "spacy-birnn",
    "flair": "Flair, SequenceTagger",
    "stanza": "Stanza, NER processor",
    "lstm": "ONNX Runtime, the LSTM alone",
}
# Those of which neither start nor memory are those of a whole pipeline
PARTS = ("tokenizer", "lstm")
SUMMARY_NOTE = (
    "How many times as fast spacy-birnn is as spaCy's pipeline, and after the slash as that with "
    "products by NumPy. Median of the rounds."
)
CPU_NOTE = "The same by the CPU time of the processes, which a busy machine distorts less."
SPEED_NOTE = "Words/s, median, and how many times as fast as spaCy, median (lowest to highest)."
START_NOTE = (
    "Seconds from starting `python` to the first answer, and resident memory in MB after it, "
    "after reading, and at most. Median of all processes on all corpora that read with `nlp.pipe`."
)
PEER_NOTE = (
    "Flair and Stanza are given the tokens of spaCy's tokenizer, so the time for finding tokens is "
    "not theirs. Their networks have the widths of ours and are not trained, as speed does not "
    "depend on what they have learnt. The LSTM has no embeddings, no characters and no output: it "
    "is a limit."
)
SOAK_NOTE = (
    "Resident memory in MB while texts of all corpora are read again and again with `nlp.pipe`, in "
    "memory zones of 2,000 texts; one word of each text was never there before."
)

Found = dict[str, list[dict[str, Any]]]


def report(data: dict[str, Any]) -> str:
    """All tables, of as many measurements as are finished."""
    results, documents, soak = data["results"], data["documents"], data["soak"]
    parts = ["# Speed of prediction", SUMMARY_NOTE, _summary_table(results, READINGS)]
    parts += [CPU_NOTE, _summary_table(results, [f"{reading}_cpu" for reading in READINGS])]
    parts.append(SPEED_NOTE)
    if any("flair" in r["found"] or "stanza" in r["found"] for r in results):
        parts.append(PEER_NOTE)
    for result in results:
        parts += [f"## {result['pair']} on {result['corpus']}", _speed_table(result["found"])]
    parts += ["## Start and memory", START_NOTE]
    for pair in dict.fromkeys(result["pair"] for result in results):
        found = [result["found"] for result in results if result["pair"] == pair]
        parts += [f"{pair}:", _start_table(found)]
    if documents:
        words = f"{documents[0]['words']:,}"
        parts += [f"## One document of {words} words", "Seconds, and at most MB. Median."]
        parts += [f"{found['pair']}:\n\n{_document_table(found['found'])}" for found in documents]
    if soak:
        parts += [f"## {soak['words']:,} words through {soak['pair']}", SOAK_NOTE]
        parts += ["![Memory by words read](speed-memory.svg)", _soak_table(soak["found"])]
    note = f"{data['n_rounds']} rounds, {data['words']:,} words a reading."
    return "\n\n".join([*parts, note, describe_markdown(data["run"])])


def _ratios(found: Found, name: str, base: str, way: str, reading: str) -> list[float]:
    """For each round how many times as fast one is as another."""
    pairs = zip(found[name], found[base], strict=True)
    return [own[way][reading] / other[way][reading] for own, other in pairs]


def _header(*titles: str) -> list[str]:
    columns = [f"`{way}`, {title}" for way in READING_WAYS for title in READINGS.values()]
    return ["", *(column for title in columns for column in (title, *titles))]


def _summary_table(results: Sequence[dict[str, Any]], readings: Iterable[str]) -> str:
    rows = []
    for result in results:
        cells = [
            " / ".join(
                f"{statistics.median(_ratios(result['found'], 'ours', base, way, reading)):.2f}"
                for base in ("spacy", "spacy numpy")
            )
            for way in READING_WAYS
            for reading in readings
        ]
        rows.append([f"{result['pair']} on {result['corpus']}", *cells])
    return markdown_table(_header(), rows)


def _speed_table(found: Found) -> str:
    rows = []
    for name, rounds in found.items():
        cells = []
        for way in READING_WAYS:
            for reading in READINGS:
                speed = statistics.median(ways[way][reading] for ways in rounds)
                ratios = _ratios(found, name, "spacy", way, reading)
                cells += [f"{speed:,.0f}", median_range(ratios, digits=2)]
        rows.append([TITLES[name], *cells])
    return markdown_table(_header("times spaCy"), rows)


def _start_table(found: Sequence[Found]) -> str:
    rows = []
    for name in found[0]:
        if name in PARTS:
            continue
        ways = [rounds[READING_WAYS[0]] for part in found for rounds in part[name]]
        start = median_range([way["start"] for way in ways], digits=2)
        sizes = [statistics.median(way[key] for way in ways) for key in ("loaded", "read", "peak")]
        rows.append([TITLES[name], start, *(f"{size:,.0f}" for size in sizes)])
    header = ["", "seconds to the first answer", "MB after it", "MB after reading", "MB at most"]
    return markdown_table(header, rows)


def _document_table(found: Found) -> str:
    rows = []
    for name, rounds in found.items():
        seconds = median_range([result["seconds"] for result in rounds], digits=2)
        peak = statistics.median(result["peak"] for result in rounds)
        rows.append([TITLES[name], seconds, f"{peak:,.0f}"])
    return markdown_table(["", "seconds", "MB at most"], rows)


def _soak_table(found: dict[str, dict[str, Any]], *, n_rows: int = 10) -> str:
    """A row for about every tenth of the points: memory, and the time that has passed."""
    points = {name: result["points"] for name, result in found.items()}
    n_points = min(map(len, points.values()))
    shown = sorted({round(i * (n_points - 1) / n_rows) for i in range(n_rows + 1)})
    header = [
        "million words",
        *(f"{TITLES[name]}, {unit}" for name in points for unit in ("MB", "s")),
    ]
    rows = []
    for i in shown:
        here = [path[i] for path in points.values()]
        cells = [f"{value:,.0f}" for _, seconds, size in here for value in (size, seconds)]
        rows.append([f"{here[0][0] / 1e6:.2f}", *cells])
    return markdown_table(header, rows)


def picture(soak: dict[str, Any]) -> str:
    """The memory by the words that have been read, as an SVG file that stands alone."""
    lines = [
        Line(
            [(words / 1e6, size) for words, _, size in result["points"]], color=color, kind="curve"
        )
        for color, result in enumerate(soak["found"].values())
    ]
    # So that the axis begins at nothing
    zero = Line([(0, 0)], kind="curve")
    figure = chart("Memory in MB", [*lines, zero], x_label="million words read")
    svg = re.search("<svg.*</svg>", figure, re.DOTALL)[0]  # type: ignore[index]
    names = "".join(
        f'<text class="name c{color}" x="60" y="{150 + 14 * color}">{TITLES[name]}, MB</text>'
        for color, name in enumerate(soak["found"])
    )
    colors = (
        ":root { --line: #d0d7de; --soft: #59636e; } @media (prefers-color-scheme: dark) "
        "{ :root { --line: #3d444d; --soft: #9198a1; } } svg .name { fill: currentColor; }"
    )
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    svg = svg.replace("<svg ", f"<svg {namespace} ", 1).replace("</svg>", f"{names}</svg>")
    return svg.replace(">", f"><style>{STYLE}{colors}</style>", 1) + "\n"
