"""Convert a file of the Stanford Sentiment Treebank, two classes, to spaCy's binary format.

The file has a sentence on each line: its class, `0` (negative) or `1` (positive), a space, and its
tokens with spaces between them. It does not say where the spaces were in the text; the document
notes that, so that training keeps the tokens as they are.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import spacy
import typer
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from wasabi import msg


def read_docs(lines: Iterable[str], vocab: Vocab, *, name: str) -> Iterator[Doc]:
    """Read sentences as documents with the categories POSITIVE and NEGATIVE.

    lines (Iterable[str]): The lines of a file. Blank ones are passed over.
    vocab (Vocab): The vocabulary of the documents.
    name (str): What to call the file in error messages.
    YIELDS (Doc): One document a sentence.
    RAISES (ValueError): On a line that is not a class and tokens, naming the line.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, *words = line.split()
        if label not in ("0", "1") or not words:
            raise ValueError(
                f"{name}, line {number}: found {line!r}, expected '0' or '1', a space and a "
                "tokenised sentence"
            )
        doc = Doc(vocab, words=words)
        doc.cats = {"POSITIVE": float(label == "1"), "NEGATIVE": float(label == "0")}
        yield doc


def main(
    in_file: Annotated[
        Path, typer.Argument(help="Classes and sentences of SST-2", exists=True, dir_okay=False)
    ],
    out_file: Annotated[Path, typer.Argument(help="File to write (.spacy)", dir_okay=False)],
) -> None:
    """Convert a file of SST-2; every sentence becomes a document."""
    vocab = spacy.blank("en").vocab
    with in_file.open(encoding="utf8") as lines:
        docs = list(read_docs(lines, vocab, name=str(in_file)))
    out_file.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs, store_user_data=False).to_disk(out_file)
    positive = sum(int(doc.cats["POSITIVE"]) for doc in docs)
    msg.good(f"{out_file}: {len(docs)} sentences, {positive} positive")


if __name__ == "__main__":
    typer.run(main)
