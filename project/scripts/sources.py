"""What the converters share: input files of which a part may be taken, and writing documents."""

import re
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, TypeVar

from spacy.tokens import Doc, DocBin

Item = TypeVar("Item")
HELP = "A file, or FILE@START:STOP for a part of its sentences, such as h.conll@:1000 or @-500:"


class Source(NamedTuple):
    """A file, and which of its sentences are wanted.

    path (Path): The file.
    start (Optional[int]): The first sentence; a negative number counts from the end. None: the
        first of the file.
    stop (Optional[int]): The sentence to stop before, as in a slice of Python. None: the end.
    """

    path: Path
    start: Optional[int] = None
    stop: Optional[int] = None

    def take(self, sentences: Sequence[Item]) -> Sequence[Item]:
        """RAISES (ValueError): If that leaves no sentence."""
        taken = sentences[self.start : self.stop]
        if not taken:
            raise ValueError(
                f"{self.path}: sentences {self.start} to {self.stop} of {len(sentences)} are none"
            )
        return taken


def parse_source(value: str) -> Source:
    """Read FILE or FILE@START:STOP.

    RAISES (ValueError): If there is no such file.
    """
    match = re.fullmatch(r"(.+)@(-?\d+)?:(-?\d+)?", value)
    path, *bounds = match.groups() if match else (value, None, None)
    source = Source(Path(path), *(None if bound is None else int(bound) for bound in bounds))
    if not source.path.is_file():
        raise ValueError(f"There is no file '{source.path}'")
    return source


def write_docs(docs: Sequence[Doc], out_file: Path) -> None:
    """Write documents to a .spacy file; its folder is made.

    RAISES (ValueError): If the file's name ends otherwise, as that of a forgotten output would.
    """
    if out_file.suffix != ".spacy":
        raise ValueError(f"The name of the output, '{out_file}', must end in .spacy")
    out_file.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs, store_user_data=False).to_disk(out_file)
