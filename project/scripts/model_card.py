"""Write the model card of a packaged pipeline, its README.md: what spaCy writes there, such as the
label scheme, and how good, how large and how fast the pipeline is, for what, and how to use it."""

import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Iterable, Iterator, Optional

import spacy
import srsly
import typer
from spacy.cli.package import generate_readme
from spacy.language import Language
from spacy.pipeline import MultiLabel_TextCategorizer, TextCategorizer
from spacy.scorer import Scorer
from spacy.tokens import DocBin
from spacy.training import Corpus, Example
from wasabi import MarkdownRenderer, msg

from spacy_birnn import evaluation
from spacy_birnn.cli.info import describe
from spacy_birnn.evaluation import Counts
from spacy_birnn.pipeline.calibration import N_BINS, reliability

# Texts that a pipeline reads before its speed is measured
WARM_UP = 20
USES = {
    "doc.ents": "print([(ent.text, ent.label_) for ent in doc.ents])",
    "token.tag": "print([(token.text, token.tag_) for token in doc])",
    "token.morph": "print([(token.text, token.pos_, str(token.morph)) for token in doc])",
    "token.lemma": "print([(token.text, token.lemma_) for token in doc])",
    "doc.cats": "print(doc.cats)",
}
CONFIDENCE = "print([(ent.text, ent.label_, ent._.confidence) for ent in doc.ents])"
LIMITS = [
    "It is for texts like those it was trained on: of that language, kind and time. On others it "
    "is worse, and its probabilities may be too high. Before you rely on it, measure it on texts "
    "of your own: `python -m spacy birnn evaluate {name} your.spacy`.",
    "It finds the labels of the label scheme and no others, and it has learned whatever is wrong "
    "or one-sided in its training data.",
    "Where a mistake harms somebody, a person has to look at each of its results.",
]


def model_card(package: Path, test: Path, parts: dict[str, Path], about: str) -> str:
    """The README.md of a package, in Markdown.

    package (Path): The directory that `spacy package` made.
    test (Path): The documents to measure the pipeline on: .spacy.
    parts (dict[str, Path]): Further documents of the corpus, by the name of the part.
    about (str): What the data is.
    """
    path = pipeline_of(package)
    nlp = spacy.load(path)
    examples = list(Corpus(test)(nlp))
    done = evaluation.predict(nlp, examples)
    scores = Scorer(nlp).score(done)
    meta = srsly.read_json(package / "meta.json")
    name = path.parent.name
    md = MarkdownRenderer()
    for title, body in (
        ("Data", data_section(nlp, {**parts, "test": test}, about)),
        ("Scores by label", label_section(nlp, done, scores)),
        ("Calibration", calibration_section(nlp, examples)),
        ("Size and speed", size_section(path, nlp, [eg.reference.text for eg in examples])),
        ("Intended use and limits", "\n".join(f"- {line.format(name=name)}" for line in LIMITS)),
        ("Install and use", use_section(nlp, name, examples[0].reference.text)),
    ):
        if body:
            md.add(md.title(3, title))
            md.add(body)
    # spaCy shows the scores that it finds in the meta data; those of training are of the dev part
    meta.update(performance=scores, description=meta["description"] or about, notes=md.text)
    return generate_readme(meta)


def pipeline_of(package: Path) -> Path:
    """Where a package has the pipeline."""
    meta = srsly.read_json(package / "meta.json")
    name = f"{meta['lang']}_{meta['name']}"
    return package / name / f"{name}-{meta['version']}"


def data_section(nlp: Language, parts: dict[str, Path], about: str) -> str:
    rows = []
    for part, path in parts.items():
        docs = list(DocBin().from_disk(path).get_docs(nlp.vocab))
        n_words = sum(not token.is_space for doc in docs for token in doc)
        rows.append((part, f"{len(docs):,}", f"{n_words:,}", f"{sum(len(d.ents) for d in docs):,}"))
    header = ("Part", "Documents", "Words", "Entities")
    note = (
        "All scores here are of the test part, also those under Accuracy. Those in `meta.json` are "
        "of the dev part, which training chose the pipeline by."
    )
    return f"{about}\n\n{_table(header, rows)}\n\n{note}"


def label_section(nlp: Language, done: list[Example], scores: dict[str, Any]) -> str:
    found = [evaluation.compare_entities(eg) for eg in done]
    tables: dict[str, dict[str, Any]] = {}
    if scores.get("ents_f") is not None:
        tables["Entities"] = evaluation.count_by_label(one for doc in found for one in doc)
    for attr, title in (("tag", "Tags"), ("pos", "Parts of speech")):
        if scores.get(f"{attr}_acc") is not None:
            tables[title] = _by_label(evaluation.token_confusion(done, attr))
    if scores.get("morph_per_feat"):
        tables["Morphology"] = scores["morph_per_feat"]
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, MultiLabel_TextCategorizer):
            tables[f"Categories of {name}"] = scores["cats_f_per_type"]
        elif isinstance(pipe, TextCategorizer):
            pairs = evaluation.category_confusion(done, pipe.labels)
            tables[f"Categories of {name}"] = _by_label(pairs)
    return "\n\n".join(_label_table(title, table) for title, table in tables.items() if table)


def _by_label(pairs: Counter) -> dict[str, Counts]:
    right, predicted, annotated = Counter(), Counter(), Counter()
    for (gold, other), n in pairs.items():
        annotated[gold] += n
        predicted[other] += n
        right[gold] += n * (gold == other)
    labels = sorted({*annotated, *predicted})
    return {label: Counts(right[label], predicted[label], annotated[label]) for label in labels}


def _label_table(title: str, table: dict[str, Any]) -> str:
    rows = []
    for label, found in table.items():
        if isinstance(found, Counts):
            rows.append(
                (_code(label), *map(_percent, (found.p, found.r, found.f)), found.annotated)
            )
        else:
            rows.append((_code(label), *(_percent(found[key]) for key in "prf"), ""))
    header = ("Label", "Precision", "Recall", "F1", "In the test part")
    return f"**{title}**\n\n{_table(header, rows)}"


def calibration_section(nlp: Language, examples: list[Example]) -> str:
    if not any(hasattr(pipe, "evidence") for _, pipe in nlp.pipeline):
        return ""
    parts = [
        "How often what is predicted with some probability is right. The expected calibration "
        "error is the mean distance of the two."
    ]
    for name, found in reliability(nlp, examples).items():
        rows = [
            (f"{i / N_BINS:.2f} to {(i + 1) / N_BINS:.2f}", n, f"{expected:.3f}", f"{right:.3f}")
            for i, (n, expected, right) in enumerate(
                zip(found.count.tolist(), found.expected, found.observed)
            )
            if n
        ]
        table = _table(("Probability", "Number", "Mean probability", "Right"), rows)
        fitted = f"calibrated with the temperature {found.temperature:.3f}"
        if found.threshold is not None:
            fitted += f" and the threshold {found.threshold:.3f}"
        how = "not calibrated" if found.temperature == 1 else fitted
        errors = f"expected calibration error {found.ece:.4f}, Brier score {found.brier:.4f}"
        parts.append(f"**{name}**: {errors}, {how}\n\n{table}")
    return "\n\n".join(parts)


def size_section(path: Path, nlp: Language, texts: list[str]) -> str:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    sizes: Counter = Counter()
    for layer in describe(nlp)["layers"]:
        sizes[layer["component"]] += layer["parameters"]
    rows = [(_code(name), f"{n:,}") for name, n in sizes.items()]
    rows.append(("all", f"{sizes.total():,}"))
    # Each with a pipeline that knows none of the words yet
    batches = speed(spacy.load(path), texts, batched=True)
    single = speed(spacy.load(path), texts, batched=False)
    return (
        f"{size / 2**20:.1f} MiB on disk.\n\n{_table(('Component', 'Parameters'), rows)}\n\n"
        f"On the {len(texts):,} texts of the test part, as raw text and read for the first time: "
        f"{batches:,.0f} words/s with `nlp.pipe`, {single:,.0f} words/s one text at a time. "
        f"Measured once, when the package was made, on a machine with {os.cpu_count()} cores "
        f"({platform.machine()}, {platform.system()})."
    )


def speed(nlp: Language, texts: list[str], *, batched: bool) -> float:
    """Words a second, after some texts to warm up."""

    def read(texts: list[str]) -> Iterable:
        return nlp.pipe(texts) if batched else map(nlp, texts)

    for _ in read(texts[:WARM_UP]):
        pass
    start = time.perf_counter()
    n_words = sum(not token.is_space for doc in read(texts) for token in doc)
    return n_words / (time.perf_counter() - start)


def use_section(nlp: Language, name: str, text: str) -> str:
    assigned = {value for pipe in nlp.pipe_names for value in nlp.get_pipe_meta(pipe).assigns}
    lines = list(_uses(nlp, assigned))
    code = "\n".join(
        ["import spacy", "", f'nlp = spacy.load("{name}")', f"doc = nlp({text!r})", *lines]
    )
    return (
        "From a folder with the wheels of this package and of spacy-birnn:\n\n"
        f"    pip install --find-links FOLDER {name}\n\n```python\n{code}\n```"
    )


def _uses(nlp: Language, assigned: set[str]) -> Iterator[str]:
    for attribute, line in USES.items():
        if attribute in assigned:
            has_confidence = any(
                nlp.get_pipe_meta(p).factory == "birnn_ner" for p in nlp.pipe_names
            )
            yield CONFIDENCE if attribute == "doc.ents" and has_confidence else line


def _table(header: tuple, rows: list) -> str:
    """A table in Markdown with numbers to the right."""
    aligns = ["l", *"r" * (len(header) - 1)]
    return MarkdownRenderer().table([map(str, row) for row in rows], header, aligns=aligns)


def _code(label: str) -> str:
    """A label as it is in a cell of a table, also one with backticks or bars in it."""
    escaped = label.replace("|", "\\|")
    return f"```` {escaped} ````" if "`" in label else f"`{escaped}`"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main(
    package: Annotated[Path, typer.Argument(help="The directory that `spacy package` made")],
    test: Annotated[Path, typer.Argument(help="Documents to measure the pipeline on: .spacy")],
    train: Annotated[Optional[Path], typer.Option(help="What it was trained on")] = None,
    dev: Annotated[Optional[Path], typer.Option(help="What it was chosen by")] = None,
    about: Annotated[str, typer.Option(help="What the data is, in a sentence")] = "",
) -> None:
    """Write README.md of a package, where `spacy package` has written it."""
    parts = {name: path for name, path in (("train", train), ("dev", dev)) if path is not None}
    card = model_card(package, test, parts, about)
    for path in (package, pipeline_of(package)):
        (path / "README.md").write_text(card, encoding="utf8")
    msg.good(f"Wrote the model card {package / 'README.md'}")


if __name__ == "__main__":
    typer.run(main)
