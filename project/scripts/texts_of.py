"""Write the texts of corpora in spaCy's binary format as JSON lines, as `spacy pretrain` reads
them: one object with the key "text" for each document, in random order (seeded).

`spacy pretrain` reads a file from beginning to end in every epoch and does not shuffle it. Corpus
after corpus, the batches would be unlike each other and the last corpus would weigh most.
"""

import random
from pathlib import Path
from typing import Annotated, List

import spacy
import srsly
import typer
from spacy.tokens import DocBin
from wasabi import msg


def main(
    in_files: Annotated[
        List[Path], typer.Argument(help="Corpora (.spacy)", exists=True, dir_okay=False)
    ],
    out_file: Annotated[Path, typer.Argument(help="File to write (.jsonl)", dir_okay=False)],
) -> None:
    """Write the texts of the corpora in random order, without those that are only white space."""
    if out_file.suffix != ".jsonl":
        raise typer.BadParameter(f"the last file is written and must end in .jsonl: '{out_file}'")
    vocab = spacy.blank("xx").vocab
    docs = [doc for path in in_files for doc in DocBin().from_disk(path).get_docs(vocab)]
    texts = [{"text": doc.text.strip()} for doc in docs if doc.text.strip()]
    random.Random(0).shuffle(texts)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(out_file, texts)
    msg.good(f"{out_file}: {len(texts)} texts")


if __name__ == "__main__":
    typer.run(main)
