"""Files of annotated texts, as annotation tools and published corpora have them."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from spacy.tokens import Doc

from ..errors import BirnnError, Errors
from .conll import TAG, checked_tags, columns_of, read_conll, read_conllu, spans_of_tags
from .records import LabelledSpan, Record, malformed

FORMATS = ("jsonl", "json", "csv", "tsv", "conll", "conllu", "parquet")
# Where nothing else is said, the first of these that a record has
TEXT_KEYS = ("text", "data", "sentence")
LABEL_KEYS = ("spans", "entities", "cats", "accept", "label", "labels")
LABEL_COLUMNS = ("label", "labels", "category")
TAG_KEYS = ("ner_tags", "tags", "labels")
# Reasons for which a record, or a part of it, is left out
NO_ANNOTATION = "texts without annotation"
NO_TEXT = "annotations without a text"
NOT_ACCEPTED = "answers other than 'accept'"
OTHER_OPINION = "further annotations of the same text"
# How a file in this encoding begins
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Columns(NamedTuple):
    """What a file calls its parts.

    text (Optional[str]): The column or key of the text. None: the first of `TEXT_KEYS`.
    label (Optional[str]): That of the label, the labels or the spans. None: all of `LABEL_KEYS`
        that an object has; the first of `TAG_KEYS` beside tokens and of `LABEL_COLUMNS` in a table.
    names (Sequence[str]): The names of labels that are numbers, in order from 0.
    """

    text: Optional[str] = None
    label: Optional[str] = None
    names: Sequence[str] = ()


class Reading(NamedTuple):
    """What is in a file.

    format (str): One of `FORMATS`; of columns with the tagging scheme, such as "conll (BIOES)".
    records (List[Union[Record, Doc]]): The texts. CoNLL-U, which annotates more, as documents.
    notes (Counter): What was left out or is odd, and how often.
    """

    format: str
    records: List[Union[Record, Doc]]
    notes: Counter


def read_file(path: Path, kind: Optional[str] = None, columns: Optional[Columns] = None) -> Reading:
    """Read a file of annotated texts.

    path (Path): The file.
    kind (Optional[str]): Its format, one of `FORMATS`. None: see `detect_format`.
    columns (Optional[Columns]): What the file calls its parts.
    RAISES (ValueError): E070 to E080 for what cannot be read, with its line.
    """
    data = path.read_bytes()
    columns, notes = columns or Columns(), Counter()
    if kind == "parquet" or (kind is None and data.startswith(b"PAR1")):
        return Reading(
            "parquet", _annotated(path, _read_parquet(path, columns, notes), notes), notes
        )
    text = _decode(path, data)
    if not text.strip():
        raise BirnnError(Errors.E070.format(path=path))
    kind = kind or detect_format(path, text)
    if kind == "conllu":
        return Reading(kind, list(read_conllu(path, text, notes)), notes)
    if kind == "conll":
        scheme, found = read_conll(path, text, notes)
        return Reading(f"conll ({scheme})", _annotated(path, found, notes), notes)
    if kind in ("csv", "tsv"):
        found = list(_read_table(path, text, kind, columns, notes))
    else:
        values = _json_lines(path, text) if kind == "jsonl" else _json_array(path, text)
        parsed = (_from_json(where, value, columns, notes) for where, value in values)
        found = [record for record in parsed if record is not None]
    return Reading(kind, _annotated(path, found, notes), notes)


def detect_format(path: Path, text: str) -> str:
    """The format of a file by its first lines, and by the end of its name where they leave a doubt.

    RAISES (ValueError): E072 if both do.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix in ("csv", "conllu"):
        return suffix
    lines = [line for line in text.split("\n", 200)[:200] if line.strip()]
    rows = [line.rstrip("\r").split("\t") for line in lines if not line.startswith("#")]
    if rows and all(len(row) == 10 and re.match(r"\d+", row[0]) for row in rows[:5]):
        return "conllu"
    tagged = [columns_of(line) for line in lines if not line.startswith(("#", "-DOCSTART-"))][:20]
    if tagged and all(len(row) > 1 and TAG.fullmatch(row[-1].strip()) for row in tagged):
        return "conll"
    if suffix in ("jsonl", "ndjson") or text.lstrip().startswith("{"):
        return "jsonl"
    if text.lstrip().startswith("["):
        return "json"
    known = dict.fromkeys(("conll", "iob", "iob2", "bio", "bioes", "biluo", "ner"), "conll")
    known.update(tsv="tsv", json="json")
    if suffix not in known:
        raise BirnnError(Errors.E072.format(path=path, formats=", ".join(FORMATS)))
    return known[suffix]


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        encoding = "UTF-16" if data.startswith(UTF16) else "WINDOWS-1252"
        values = {"path": path, "line": line, "byte": data[e.start], "encoding": encoding}
        raise BirnnError(Errors.E071.format(**values)) from None


def _annotated(path: Path, records: List[Record], notes: Counter) -> List[Union[Record, Doc]]:
    """What is annotated in no record of a file was not a task of its annotators.

    RAISES (ValueError): E078 if that is so of all.
    """
    has_spans = any(record.spans for record in records)
    has_cats = any(record.cats for record in records)
    if not (has_spans or has_cats):
        raise BirnnError(Errors.E078.format(path=path, n=len(records)))
    kept: List[Union[Record, Doc]] = []
    for record in records:
        spans, cats = record.spans if has_spans else None, record.cats if has_cats else None
        if spans is None and cats is None:
            notes[NO_ANNOTATION] += 1
        else:
            kept.append(record._replace(spans=spans, cats=cats))
    return kept


# JSON


def _json_lines(path: Path, text: str) -> Iterator[Tuple[str, Any]]:
    # str.splitlines() would break the lines of texts, too
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"'{path}', line {number}"
            yield where, _parse_json(where, line)


def _json_array(path: Path, text: str) -> Iterator[Tuple[str, Any]]:
    value = _parse_json(f"'{path}'", text)
    if not isinstance(value, list):
        raise malformed(f"'{path}'", value, "an array of records")
    for number, item in enumerate(value, start=1):
        yield f"'{path}', record {number}", item


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        place = f"{e.msg} at character {e.colno}" + f" of line {e.lineno}" * (e.lineno > 1)
    except RecursionError:
        place = "too many brackets inside each other"
    raise BirnnError(Errors.E074.format(where=where, reason=place))


def _from_json(where: str, value: Any, columns: Columns, notes: Counter) -> Optional[Record]:
    """A record of Prodigy, Doccano, Label Studio or Hugging Face. None if there is nothing to learn
    from it."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict):
        value = {"text": value[0], **value[1]}  # as in the examples of spaCy 2
    if not isinstance(value, dict):
        raise malformed(where, value, "an object with a text and its annotation")
    if value.get("answer", "accept") != "accept":
        notes[NOT_ACCEPTED] += 1
        return None
    if isinstance(value.get("data"), dict):
        return _from_label_studio(where, value, columns, notes)
    tokens = value.get("tokens")
    # Prodigy's tokens are objects, beside the text
    if isinstance(tokens, list) and not any(isinstance(token, dict) for token in tokens):
        return _from_tokens(where, value, columns, notes)
    text = _text(where, value, columns)
    keys = [key for key in LABEL_KEYS if key in value]
    if columns.label is not None:
        keys = [_key(where, value, columns.label, (), "label")]
    spans: Optional[List[LabelledSpan]] = None
    cats: Union[None, List[str], Dict[str, float]] = None
    for key in keys:
        found = value[key]
        is_items = isinstance(found, list) and all(isinstance(i, (list, dict)) for i in found)
        if is_items:
            spans = (spans or []) + [s for item in found for s in _spans(where, text, item)]
        if not is_items or (found == [] and key not in ("spans", "entities")):
            cats = _cats(where, found, columns) if cats is None else cats
    return _record(where, text, spans, cats, notes)


def _record(
    where: str, text: Union[str, List[str]], spans: Any, cats: Any, notes: Counter
) -> Optional[Record]:
    if spans is None and cats is None:
        notes[NO_ANNOTATION] += 1
        return None
    if not "".join(text).strip():
        notes[NO_TEXT] += 1
        return None
    return Record(where, text, spans, cats)


def _text(where: str, value: Dict[str, Any], columns: Columns) -> str:
    text = value[_key(where, value, columns.text, TEXT_KEYS, "text")]
    if not isinstance(text, str):
        raise malformed(where, text, "a text")
    return text


def _key(
    where: str, value: Iterable[str], name: Optional[str], usual: Sequence[str], option: str
) -> str:
    """Which key or column to read. RAISES (ValueError): E076 if it is not there."""
    for key in usual if name is None else (name,):
        if key in value:
            return key
    wanted = " or ".join(f"'{key}'" for key in (usual if name is None else (name,)))
    there = ", ".join(f"'{key}'" for key in value) or "nothing"
    names = f"{there:.300}"  # of a file in another format the first line may be long
    raise BirnnError(Errors.E076.format(where=where, name=wanted, names=names, option=option))


def _spans(where: str, text: str, item: Any) -> Iterator[LabelledSpan]:
    """The span that an item stands for, once for each of its labels.

    RAISES (ValueError): E073 for another form, E075 if the text does not have it.
    """
    expected = "a span such as {'start': 0, 'end': 4, 'label': 'PERSON'} or [0, 4, 'PERSON']"
    if isinstance(item, dict):
        start = item.get("start", item.get("start_offset"))
        end = item.get("end", item.get("end_offset"))
        labels, own = item.get("label", item.get("labels")), item.get("text")
    elif len(item) == 3:
        (start, end, labels), own = item, None
    else:
        raise malformed(where, item, expected)
    labels = labels if isinstance(labels, list) else [labels]
    are_names = bool(labels) and all(isinstance(name, str) and name for name in labels)
    if not (isinstance(start, int) and isinstance(end, int) and are_names):
        raise malformed(where, item, expected)
    part = text[max(0, start) : end]
    inside = 0 <= start < end <= len(text)
    # Tools differ in the white space that they copy
    same = not isinstance(own, str) or "".join(own.split()) == "".join(part.split())
    if not (inside and same):
        reason = f"has {len(text)} characters" if not inside else f"has {part!r} there, not {own!r}"
        if start == end:
            reason = "has no characters there"
        raise BirnnError(Errors.E075.format(where=where, start=start, end=end, reason=reason))
    for label in labels:
        yield start, end, label


def _cats(where: str, value: Any, columns: Columns) -> Union[None, List[str], Dict[str, float]]:
    if value is None or value == "":
        return None
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, dict):
        if not all(isinstance(number, (int, float)) for number in value.values()):
            raise malformed(where, value, "a number, true or false for each category")
        return {label: float(number) for label, number in value.items()}
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(label, (str, int, float)) for label in values):
        raise malformed(where, value, "a label, a list of labels or a list of spans")
    return [_name(where, label, columns) for label in values]


def _name(where: str, value: Any, columns: Columns) -> str:
    """The name of a label, which may be a number."""
    if not columns.names:
        return str(value)
    number = str(value)
    if not number.isdecimal() or int(number) >= len(columns.names):
        raise BirnnError(Errors.E077.format(where=where, value=value))
    return columns.names[int(number)]


def _from_label_studio(
    where: str, value: Dict[str, Any], columns: Columns, notes: Counter
) -> Optional[Record]:
    data = value["data"]
    texts = [key for key, text in data.items() if isinstance(text, str)]
    if columns.text is None and len(texts) == 1:
        columns = columns._replace(text=texts[0])
    text = _text(where, data, columns)
    every = _objects(where, value.get("annotations", value.get("completions")))
    given = [one for one in every if not one.get("was_cancelled")]
    if not given:
        return _record(where, text, None, None, notes)
    notes[OTHER_OPINION] += len(given) - 1
    spans: List[LabelledSpan] = []
    cats: List[str] = []
    for item in _objects(where, given[0].get("result")):
        (marked,) = _objects(where, [item.get("value", {})])  # a relation has none
        if "choices" in marked:
            cats += _cats(where, marked["choices"], columns) or []
        elif "start" in marked:
            spans += _spans(where, text, marked)
    return _record(where, text, spans, cats, notes)


def _objects(where: str, value: Any) -> List[Dict[str, Any]]:
    """RAISES (ValueError): E073 unless a value is a list of objects, or null."""
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(where, value, "a list of objects, as Label Studio exports them")
    return value


def _from_tokens(
    where: str, value: Dict[str, Any], columns: Columns, notes: Counter
) -> Optional[Record]:
    tokens = value["tokens"]
    key = _key(where, value, columns.label, TAG_KEYS, "label")
    tags = value[key]
    if not all(isinstance(token, str) for token in tokens):
        raise malformed(where, tokens, "tokens as a list of texts")
    if not isinstance(tags, list) or len(tags) != len(tokens):
        raise malformed(where, tags, f"a tag for each of the {len(tokens)} tokens")
    numbers = any(isinstance(tag, int) for tag in tags)
    if numbers and not columns.names:
        number = next(tag for tag in tags if isinstance(tag, int))
        raise BirnnError(Errors.E077.format(where=where, value=number))
    names = [_name(where, tag, columns) for tag in tags] if numbers else tags
    return _record(where, tokens, spans_of_tags(checked_tags(where, names)), None, notes)


def _read_parquet(path: Path, columns: Columns, notes: Counter) -> List[Record]:
    """Rows as Hugging Face's datasets have them, with the names of labels in the metadata."""
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise BirnnError(Errors.E080.format(path=path)) from None
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as e:
        raise BirnnError(Errors.E074.format(where=f"'{path}'", reason=e)) from None
    if not columns.names:
        columns = columns._replace(names=_feature_names(table.schema.metadata or {}, columns))
    rows = enumerate(table.to_pylist(), start=1)
    parsed = (_from_json(f"'{path}', row {i}", row, columns, notes) for i, row in rows)
    return [record for record in parsed if record is not None]


def _feature_names(metadata: Dict[bytes, bytes], columns: Columns) -> Sequence[str]:
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    for key in (*TAG_KEYS, *LABEL_KEYS) if columns.label is None else (columns.label,):
        feature = features.get(key, {})
        feature = feature.get("feature", feature)  # that of a sequence's items
        if "names" in feature:
            return feature["names"]
    return ()


# Columns


def _read_table(
    path: Path, text: str, kind: str, columns: Columns, notes: Counter
) -> Iterator[Record]:
    header = text.split("\n", 1)[0]
    delimiter = "\t" if kind == "tsv" else ";" if ";" in header and "," not in header else ","
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(rows)
        where = f"'{path}', line 1"
        place = {name: i for i, name in enumerate(names)}
        text_at = place[_key(where, names, columns.text, TEXT_KEYS, "text")]
        label_at = place[_key(where, names, columns.label, LABEL_COLUMNS, "label")]
        for row in rows:
            where = f"'{path}', line {rows.line_num}"
            if not any(row):
                continue
            if len(row) != len(names):
                raise malformed(where, row, f"{len(names)} columns, as in line 1")
            cats = _cats(where, row[label_at].strip(), columns)
            record = _record(where, row[text_at], None, cats, notes)
            if record is not None:
                yield record
    except csv.Error as e:
        where = f"'{path}', line {rows.line_num}"
        raise BirnnError(Errors.E079.format(where=where, reason=e)) from None
    finally:
        csv.field_size_limit(limit)
