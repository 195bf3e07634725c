"""Convert classified sentences (SST-2, TREC) to spaCy's binary format.

A file has a sentence on each line: its class, a space, and its tokens with spaces between them. It
does not say where the spaces were in the text; the document notes that, so that training keeps the
tokens as they are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import spacy
import typer
from sources import HELP, parse_source, write_docs
from spacy.tokens import Doc
from spacy.vocab import Vocab
from wasabi import msg


def read_docs(
    lines: Iterable[str], vocab: Vocab, *, labels: dict[str, str], name: str
) -> Iterator[Doc]:
    """Read sentences as documents of which one category is true and the others are not.

    lines (Iterable[str]): The lines of a file. Blank ones are passed over.
    vocab (Vocab): The vocabulary of the documents.
    labels (dict[str, str]): The category that each class of the file stands for.
    name (str): What to call the file in error messages.
    YIELDS (Doc): One document a sentence.
    RAISES (ValueError): On a line that is not a class and tokens, naming the line.
    """
    expected = ", ".join(repr(label) for label in labels)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, *words = line.split()
        if label not in labels or not words:
            raise ValueError(
                f"{name}, line {number}: found {line!r}, expected a class ({expected}), a space "
                "and a tokenised sentence"
            )
        doc = Doc(vocab, words=words)
        doc.cats = {category: float(known == label) for known, category in labels.items()}
        yield doc


def parse_labels(values: list[str]) -> dict[str, str]:
    """Read CLASS=CATEGORY.

    RAISES (ValueError): On a value of another form, and on a class or category given twice.
    """
    labels: dict[str, str] = {}
    for value in values:
        label, _, category = value.partition("=")
        if not (label and category) or label in labels or category in labels.values():
            raise ValueError(f"--label {value!r}; expected CLASS=CATEGORY, each once")
        labels[label] = category
    return labels


def main(
    in_files: Annotated[list[str], typer.Argument(help=HELP)],
    out_file: Annotated[Path, typer.Argument(help="File to write (.spacy)", dir_okay=False)],
    label: Annotated[
        list[str], typer.Option(help="CLASS=CATEGORY for each class of the files; repeated")
    ],
    encoding: Annotated[str, typer.Option(help="Encoding of the files")] = "utf8",
) -> None:
    """Convert files with classes and sentences to one corpus; every sentence becomes a document."""
    vocab = spacy.blank("en").vocab
    labels = parse_labels(label)
    docs: list[Doc] = []
    for source in [parse_source(value) for value in in_files]:
        with source.path.open(encoding=encoding) as lines:
            read = list(read_docs(lines, vocab, labels=labels, name=str(source.path)))
        docs += source.take(read)
    write_docs(docs, out_file)
    counts = Counter(max(doc.cats, key=doc.cats.__getitem__) for doc in docs)
    counted = ", ".join(f"{counts[category]} {category}" for category in labels.values())
    msg.good(f"{out_file}: {len(docs)} sentences, {counted}")


if __name__ == "__main__":
    typer.run(main)
