"""Convert named entities in the form of CoNLL (WNUT-17, BC5CDR, the Broad Twitter Corpus) to
spaCy's binary format.

A file has a token and its BIO tag on each line, with a tab between them, and a blank line after
each sentence. It does not say where the spaces were, so the text of a document is the tokens of a
sentence with one space after each.
"""

from pathlib import Path
from typing import Annotated, Iterable, Iterator

import spacy
import typer
from sources import HELP, parse_source, write_docs
from spacy.tokens import Doc
from spacy.vocab import Vocab
from wasabi import msg

Rows = list[tuple[str, str]]


def read_sentences(lines: Iterable[str], *, name: str, drop_blank: bool = False) -> Iterator[Rows]:
    """Read sentences as rows of a token and its tag in spaCy's notation.

    lines (Iterable[str]): The lines of a file.
    name (str): What to call the file in error messages.
    drop_blank (bool): Whether to leave out the rows whose token is empty or white space and whose
        tag is O. Otherwise they are errors.
    YIELDS (Rows): The rows of one sentence.
    RAISES (ValueError): On a line that is not a token and a tag, naming the line.
    """
    rows: Rows = []
    for number, line in enumerate(lines, start=1):
        if drop_blank and is_blank_row(line):
            continue
        if line.strip():
            token, tag = _split_line(line, where=f"{name}, line {number}")
            rows.append((token, _continue(tag, rows[-1][1] if rows else "O")))
        elif rows:
            yield rows
            rows = []
    if rows:
        yield rows


def is_blank_row(line: str) -> bool:
    """Whether a line has the tag O and a token of nothing but white space."""
    token, tab, tag = line.partition("\t")
    return bool(tab) and not token.strip() and tag.rstrip("\r\n") == "O"


def _split_line(line: str, *, where: str) -> tuple[str, str]:
    """The token and the tag of a line. Where a tag holds two labels, the first counts."""
    token, *rest = line.rstrip("\r\n").split("\t")
    if not token.strip() or len(rest) != 1 or not rest[0].strip():
        raise ValueError(
            f"{where}: found {line!r}, expected a token, a tab and a tag such as 'O' or 'B-person'"
        )
    tag = rest[0].split(",")[0].strip()
    prefix, _, label = tag.partition("-")
    if tag != "O" and (prefix not in ("B", "I") or not label):
        raise ValueError(
            f"{where}: found the tag {rest[0]!r}, expected 'O', or 'B-' or 'I-' and a label"
        )
    return token, tag


def _continue(tag: str, previous: str) -> str:
    """Let an entity begin where a tag goes on with one that the tag before does not belong to."""
    if tag.startswith("I-") and previous[1:] != tag[1:]:
        return f"B-{tag[2:]}"
    return tag


def to_doc(rows: Rows, vocab: Vocab) -> Doc:
    """The document of a sentence, with every token inside or outside of an entity for certain."""
    return Doc(vocab, words=[token for token, _ in rows], ents=[tag for _, tag in rows])


def main(
    in_files: Annotated[list[str], typer.Argument(help=HELP)],
    out_file: Annotated[Path, typer.Argument(help="File to write (.spacy)", dir_okay=False)],
    drop_blank: Annotated[
        bool,
        typer.Option("--drop-blank", help="Leave out rows with the tag O and no token; count them"),
    ] = False,
) -> None:
    """Convert files with tokens and BIO tags to one corpus; every sentence becomes a document."""
    vocab = spacy.blank("en").vocab
    docs: list[Doc] = []
    dropped = 0
    for source in [parse_source(value) for value in in_files]:
        with source.path.open(encoding="utf8") as file:
            lines = list(file)
        sentences = list(read_sentences(lines, name=str(source.path), drop_blank=drop_blank))
        dropped += sum(map(is_blank_row, lines)) if drop_blank else 0
        docs += [to_doc(rows, vocab) for rows in source.take(sentences)]
    write_docs(docs, out_file)
    entities = sum(len(doc.ents) for doc in docs)
    msg.good(f"{out_file}: {len(docs)} sentences, {entities} entities")
    if dropped:
        msg.warn(f"{dropped} rows of the files have no token and were left out")


if __name__ == "__main__":
    typer.run(main)
