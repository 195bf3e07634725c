"""What the endpoints take and give, as JSON."""

from typing import Annotated, Any, Dict, List, Optional, Tuple, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast


def _whole(text: str) -> str:
    """JSON may have lone surrogates, which no text has, but spaCy fails on them."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        reason = f"half of a character (a lone surrogate) at {error.start}"
        raise ValueError(reason) from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextBody(_Body):
    text: Text


class TextsBody(_Body):
    texts: Annotated[List[Text], FailFast()]


class InspectBody(TextBody):
    visible: Optional[Tuple[int, int]] = None


class StatesBody(InspectBody):
    component: Optional[Text] = None


class Token(BaseModel):
    """A token; `start` and `end` are characters of the text. What no component sets is missing."""

    model_config = ConfigDict(extra="allow")
    id: int
    start: int
    end: int
    tag: Optional[str] = None
    pos: Optional[str] = None
    morph: Optional[str] = None
    lemma: Optional[str] = None


class Entity(BaseModel):
    """An entity. Its confidence is null where no component of spacy-birnn has set it."""

    model_config = ConfigDict(extra="allow")
    start: int
    end: int
    label: str
    text: str
    confidence: Optional[float]


class Candidate(Entity):
    """What could be an entity; `given` if another component has set it."""

    given: bool


class Document(BaseModel):
    """What the pipeline sets: spaCy's `Doc.to_json`."""

    model_config = ConfigDict(extra="allow")
    text: str
    tokens: List[Token]
    ents: Optional[List[Entity]] = None
    cats: Optional[Dict[str, float]] = None


class Attention(BaseModel):
    component: str
    words: List[str]
    weights: List[float]


class Inspection(Document):
    """A document, and what could be an entity, the most probable first: with a threshold
    `birnn_ner` sets those with at least that confidence, and of those that overlap the first. Those
    that are `given` come before them and stand at any threshold, in the place of what they overlap.
    If words were hidden, `visible` is where the others are in `text`."""

    candidates: Optional[List[Candidate]]
    attention: List[Attention]
    visible: Optional[Tuple[int, int]]


class Direction(BaseModel):
    """The state after each word, its norm, and its distance from the one before in reading."""

    direction: str
    states: List[List[float]]
    norms: List[float]
    changes: List[float]


class States(BaseModel):
    component: str
    words: List[str]
    directions: List[Direction]


class Problem(BaseModel):
    detail: str


class Documents(BaseModel):
    """One for each text: the document, or why there is none."""

    documents: List[Union[Document, Problem]]


PROBLEMS: Dict[Union[int, str], Dict[str, Any]] = {
    408: {"model": Problem, "description": "The request has not arrived in time"},
    413: {"model": Problem, "description": "More text than the service takes"},
    422: {"model": Problem, "description": "Not what the endpoint takes"},
    500: {"model": Problem, "description": "The pipeline failed on the text"},
    503: {"model": Problem, "description": "Too busy: try again after the seconds in Retry-After"},
}
