"""How probable each entity is, kept with the document."""

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from spacy.tokens import Doc, Span

from ..errors import BirnnError, Errors

# The name of the extensions through which it is read
EXTENSION = "confidence"
# An entity's probability is in doc.user_data, in the form in which spaCy keeps the extensions of a
# span: {("._.", name, start_char, end_char): value}. So it goes wherever spaCy takes those, and by
# characters it survives the merging and splitting of tokens. The value is a dict by label, so that
# another entity that is set in the same place does not have it. The name is another than that of
# the extension, so that it does not mix with a "confidence" of the user's own.
DATA = "birnn_confidence"


def get_confidence(span: Span) -> Optional[float]:
    """The confidence of an entity; `ent._.confidence` reads it here.

    span (Span): The entity.
    RETURNS (Optional[float]): Between 0 and 1: the probability of an entity that `birnn_ner` found;
        1 for one that was set before it. None for any other span: one set later (by a ruler, by
        hand), or where the document has lost its user data. Check for None before comparing it.
    """
    data: Dict[Any, Any] = span.doc.user_data
    return data.get(_key(span), {}).get(span.label_)


def set_confidence(doc: Doc, ents: Iterable[Span], values: Iterable[Optional[float]]) -> None:
    """Keep the confidence of some entities of a document, and forget that of all others.

    doc (Doc): The document.
    ents (Iterable[Span]): The entities.
    values (Iterable[Optional[float]]): The confidence of each; None if it has none.
    """
    data: Dict[Any, Any] = doc.user_data
    for key in [key for key in data if isinstance(key, tuple) and key[:2] == ("._.", DATA)]:
        del data[key]
    data.update((_key(ent), {ent.label_: v}) for ent, v in zip(ents, values) if v is not None)


def to_json(doc: Doc) -> Dict[str, Any]:
    """`Doc.to_json` with the text and the confidence of each entity.

    doc (Doc): The document.
    """
    found = doc.to_json()
    for ent, entry in zip(doc.ents, found.get("ents", [])):
        entry.update(text=ent.text, confidence=get_confidence(ent))
    return found


def register_extensions() -> List[str]:
    """Make `ent._.confidence` and `doc._.confidence` (that of each of doc.ents, in their order)
    available. An extension of this name that is there already is left alone.

    RETURNS (List[str]): What has another extension of this name: "Span", "Doc", both or neither.
    """
    extensions: List[Tuple[Any, Any, Any]] = [
        (Span, get_confidence, _set_one),
        (Doc, _of_all, _set_all),
    ]
    taken = []
    for kind, getter, setter in extensions:
        if not kind.has_extension(EXTENSION):
            kind.set_extension(EXTENSION, getter=getter, setter=setter)
        elif kind.get_extension(EXTENSION)[2] is not getter:
            taken.append(kind.__name__)
    return taken


def _key(ent: Span) -> Tuple[str, str, int, int]:
    return ("._.", DATA, ent.start_char, ent.end_char)


def _set_one(ent: Span, value: float) -> None:
    data: Dict[Any, Any] = ent.doc.user_data
    data[_key(ent)] = {ent.label_: value}


def _of_all(doc: Doc) -> List[Optional[float]]:
    return [get_confidence(ent) for ent in doc.ents]


def _set_all(doc: Doc, values: Sequence[Optional[float]]) -> None:
    """As `Doc.from_json` does. RAISES (ValueError): E039 unless each entity has a value."""
    if not isinstance(values, (list, tuple)) or len(values) != len(doc.ents):
        raise BirnnError(Errors.E039.format(n=len(doc.ents), value=values))
    set_confidence(doc, doc.ents, values)
