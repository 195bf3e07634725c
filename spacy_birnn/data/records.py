"""What all formats of annotated texts are read into."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from ..errors import BirnnError, Errors

LabelledSpan = Tuple[int, int, str]


class Record(NamedTuple):
    """An annotated text.

    where (str): Its file and line, for messages.
    text (Union[str, List[str]]): The text, or its tokens where the file has no text.
    spans (Optional[List[LabelledSpan]]): The start, the end (exclusive) and the label of each
        entity, in characters of the text, or in tokens. None: not annotated.
    cats (Union[None, List[str], Dict[str, float]]): The categories that are right, of all that the
        file names, or the value of each. None: not annotated.
    """

    where: str
    text: Union[str, List[str]]
    spans: Optional[List[LabelledSpan]]
    cats: Union[None, List[str], Dict[str, float]]


def malformed(where: str, found: Any, expected: str) -> BirnnError:
    """The error for what a file has in the place of something else."""
    return BirnnError(Errors.E073.format(where=where, found=f"{found!r:.100}", expected=expected))
