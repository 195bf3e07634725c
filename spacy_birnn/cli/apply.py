"""`birnn apply`: what a pipeline predicts for a file of texts."""

import base64
import codecs
import csv
import json
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import typer

from ..files import replacing
from ._app import (
    Force,
    Pipeline,
    check_installed,
    check_output,
    command,
    fail,
    load_pipeline,
    say,
    warn,
)

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

# Of lines that can't be used, those that are named
SHOWN = 10
# Of a Parquet file, those that are read or written at a time
ROWS = 1000


class Line(NamedTuple):
    """One input.

    number (int): Where it stands, or begins, in the file; the first line is 1.
    fields (Dict[str, Any]): Its text as "text", and whatever stands beside it.
    fault (str): Why it can't be used. Empty if it can.
    """

    number: int
    fields: Dict[str, Any]
    fault: str = ""


@command("apply", example="apply training/model-best texts.jsonl predicted.jsonl --text-key body")
def apply_cli(
    model: Pipeline,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="Texts, UTF-8: .txt (one a line), .jsonl, .csv, .tsv or .parquet"
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Predictions: .jsonl, .csv, .parquet or .spacy")
    ],
    text_key: Annotated[
        str, typer.Option("--text-key", "-tk", help="Field or column that has the text")
    ] = "text",
    n_process: Annotated[
        int, typer.Option("--n-process", "-n", min=1, help="Number of processes")
    ] = 1,
    batch_size: Annotated[
        Optional[int],
        typer.Option("--batch-size", "-b", min=1, help="Batch size [default: the pipeline's]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run was stopped")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out lines that can't be used, and report them")
    ] = False,
    force: Force = False,
) -> None:
    """Apply a pipeline to a file of texts.

    Each text becomes a line of JSON as spaCy's Doc.to_json makes it, with the text and the
    confidence of each entity beside it, or a row of a Parquet or CSV file with the same columns;
    in CSV lists are JSON. What stands beside a text in the input is kept, unless a prediction has
    its name. A .spacy file has the documents alone. Parquet needs spacy-birnn[parquet].

    Until all is done the output is in OUT.part. A run that was stopped goes on there with --resume,
    given the same pipeline and input.
    """
    if data.suffix.lower() not in READERS:
        fail(f"Can't read '{data}'", f"Its name must end in one of: {', '.join(READERS)}")
    if out.suffix.lower() not in FORMATS:
        fail(f"Can't write '{out}'", f"Its name must end in one of: {', '.join(FORMATS)}")
    if not data.is_file():
        fail(f"There is no file '{data}'")
    if ".parquet" in (data.suffix.lower(), out.suffix.lower()):
        check_installed("pyarrow", extra="parquet")
    check_output(out, force=force)
    if out.exists() and out.samefile(data):
        fail(f"'{out}' is the input, too", "Name another path to write.")
    part = out.with_name(f"{out.name}.part")
    if part.exists() and not (resume or force):
        fail(f"'{part}' is there, from a run that was stopped", "Go on with --resume, or --force.")
    nlp = load_pipeline(model)
    output = FORMATS[out.suffix.lower()](nlp.vocab)

    faults: List[Line] = []
    n, n_done, last_done = 0, 0, None
    if resume and part.exists():
        n_done, last_line = _complete_lines(part)
        last_done = output.text_of(last_line) if n_done else None
    last_text = None
    for line in read_lines(data, text_key, max_length=nlp.max_length):
        if line.fault:
            faults.append(line)
            continue
        n += 1
        if n == n_done:
            last_text = line.fields["text"]
    _report(data, faults, skip=skip)
    if not n:
        fail(f"'{data}' holds no texts")
    if last_text != last_done:
        fail(f"'{part}' is not of this input", "Begin anew with --force and without --resume.")

    import tqdm

    lines = read_lines(data, text_key, max_length=nlp.max_length)
    usable = (line.fields for line in lines if not line.fault)
    todo = ((fields["text"], fields) for i, fields in enumerate(usable) if i >= n_done)
    docs = nlp.pipe(todo, as_tuples=True, n_process=n_process, batch_size=batch_size)
    mode = "a" if n_done else "w"
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open(mode, encoding="utf8", newline="\n", buffering=1) as file:
            for doc, fields in tqdm.tqdm(
                docs, total=n, initial=n_done, unit=" texts", disable=None
            ):
                file.write(f"{output.line_of(doc, fields)}\n")
            os.fsync(file.fileno())
        output.finish(part, out)
    except (OSError, KeyboardInterrupt):
        say(f"What is done is in '{part}'. The same command goes on there with --resume.")
        raise
    say(f"Applied the pipeline to {n} texts: {out}")


def read_lines(path: Path, text_key: str, *, max_length: int) -> Iterator[Line]:
    """The inputs in a file of texts.

    path (Path): A .txt, .jsonl, .csv or .tsv file, in UTF-8, or .parquet, where a line is a row.
        Lines without anything in them are no inputs but in .txt, where they are empty texts.
    text_key (str): The field or column that has the text.
    max_length (int): Characters of the longest text that can be used.
    RAISES (ValueError): If a table has no column of this name, or is no table.
    """
    for line in READERS[path.suffix.lower()](path, text_key):
        yield line if line.fault else _checked(line, max_length)


def _checked(line: Line, max_length: int) -> Line:
    text = line.fields["text"]
    try:
        # Bytes that are no UTF-8 are lone surrogates here, and JSON may state some too
        json.dumps(line.fields, ensure_ascii=False).encode("utf8")
    except UnicodeEncodeError:
        return line._replace(fault="it is not valid UTF-8; save the file in this encoding")
    if not isinstance(text, str):
        return line._replace(fault=f"its text must be a string, but is {text!r:.80}")
    if len(text) > max_length:
        limit = f"the pipeline takes {max_length} (nlp.max_length)"
        return line._replace(fault=f"its text has {len(text)} characters, but {limit}; divide it")
    return line


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as start:
        if start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"'{path}' is UTF-16: save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)")
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from file


def _read_txt(path: Path, text_key: str) -> Iterator[Line]:
    for number, line in enumerate(_lines(path), start=1):
        yield Line(number, {"text": line.rstrip("\r\n")})


def _read_jsonl(path: Path, text_key: str) -> Iterator[Line]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            yield Line(number, {}, f"it is no JSON: {error.msg} at character {error.pos + 1}")
            continue
        except (ValueError, RecursionError) as error:
            yield Line(number, {}, f"it is no JSON that can be read: {error}")
            continue
        if not isinstance(fields, dict):
            yield Line(number, {}, f'it is no JSON object, such as {{"{text_key}": "..."}}')
        elif text_key not in fields:
            has = ", ".join(fields) or "no fields"
            yield Line(number, {}, f"it has no field '{text_key}', but {has:.300}; see --text-key")
        else:
            yield Line(number, _with_text(fields, text_key))


def _read_csv(path: Path, text_key: str) -> Iterator[Line]:
    csv.field_size_limit(2**31 - 1)
    header: List[str] = []
    for number, row, fault in _rows(path):
        if fault:
            yield Line(number, {}, fault)
        elif not header:
            header = row
            _check_column(path, header, text_key)
        elif len(row) != len(header):
            yield Line(number, {}, f"it has {len(row)} cells, but the header has {len(header)}")
        else:
            yield Line(number, _with_text(dict(zip(header, row)), text_key))


def _check_column(path: Path, columns: List[str], text_key: str) -> None:
    if text_key not in columns:
        raise ValueError(
            f"'{path}' has no column '{text_key}'. It has: {', '.join(columns):.300}. Name the "
            "column that has the text with --text-key."
        )


def _rows(path: Path) -> Iterator[Tuple[int, List[str], str]]:
    """The rows of a .csv or .tsv file that have cells, each with the line in which it begins."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, [], f"its cells can't be read: {error}"
        else:
            if row:
                yield number, row, ""


def _with_text(fields: Dict[str, Any], text_key: str) -> Dict[str, Any]:
    text = fields.pop(text_key)
    return {**fields, "text": text}


def _read_parquet(path: Path, text_key: str) -> Iterator[Line]:
    from pyarrow import ArrowInvalid, parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check_column(path, file.schema_arrow.names, text_key)
            batches = (batch.to_pylist() for batch in file.iter_batches(ROWS))
            rows = (row for batch in batches for row in batch)
            for number, row in enumerate(rows, start=1):
                # A cell may be what JSON doesn't have: a date becomes a text, NaN null
                as_json = json.dumps(row, default=str)
                fields = json.loads(as_json, parse_constant=lambda _: None)
                yield Line(number, _with_text(fields, text_key))
    except ArrowInvalid as error:
        raise ValueError(f"'{path}' is no Parquet file: {error}") from None


READERS = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


class JsonLines:
    """Output as .jsonl, which is what OUT.part is."""

    def __init__(self, vocab: "Vocab"):
        self.vocab = vocab

    def line_of(self, doc: "Doc", fields: Dict[str, Any]) -> str:
        """The line of OUT.part for a document, without a line break."""
        from ..pipeline.confidence import to_json

        return json.dumps({**fields, **to_json(doc)}, ensure_ascii=False)

    def text_of(self, line: str) -> str:
        """The text that a line of OUT.part is of."""
        return json.loads(line)["text"]

    def finish(self, part: Path, out: Path) -> None:
        """Make the output of OUT.part, which is complete."""
        os.replace(part, out)


class Csv(JsonLines):
    """Output as .csv: a column for each key of the lines."""

    def finish(self, part: Path, out: Path) -> None:
        with part.open(encoding="utf8", newline="\n") as lines:
            columns = list(dict.fromkeys(key for line in lines for key in json.loads(line)))
        with replacing(out) as new, part.open(encoding="utf8", newline="\n") as lines:
            with new.open("w", encoding="utf8", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                for line in lines:
                    writer.writerow({k: _cell(value) for k, value in json.loads(line).items()})
        part.unlink()


class Parquet(JsonLines):
    """Output as .parquet: a column for each key of the lines, of lists and structures too."""

    def finish(self, part: Path, out: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        try:
            # The type of a column is one that suits all rows, so they are read twice
            tables = (pyarrow.table(columns) for columns in _columns(part))
            schema = pyarrow.unify_schemas(
                [table.schema for table in tables], promote_options="permissive"
            )
            with replacing(out) as new, parquet.ParquetWriter(new, schema) as writer:
                for columns in _columns(part):
                    n = len(columns["text"])
                    every = {name: columns.get(name, [None] * n) for name in schema.names}
                    writer.write_table(pyarrow.table(every, schema=schema))
        except (pyarrow.ArrowException, OverflowError) as error:
            raise ValueError(
                f"{error}: Parquet can't hold this. '{part}' has all of it as lines of JSON."
            ) from None
        part.unlink()


def _columns(part: Path) -> Iterator[Dict[str, List[Any]]]:
    """What is in OUT.part as columns, some rows at a time."""
    with part.open(encoding="utf8", newline="\n") as lines:
        while rows := [json.loads(line) for line in islice(lines, ROWS)]:
            names = dict.fromkeys(name for row in rows for name in row)
            yield {name: [row.get(name) for row in rows] for name in names}


class DocBinLines(JsonLines):
    """Output as .spacy. Here a line of OUT.part is a document in spaCy's bytes, as base64."""

    def line_of(self, doc: "Doc", fields: Dict[str, Any]) -> str:
        return base64.b64encode(doc.to_bytes(exclude=["tensor"])).decode("ascii")

    def text_of(self, line: str) -> str:
        return self._doc(line).text

    def finish(self, part: Path, out: Path) -> None:
        from spacy.tokens import DocBin

        with replacing(out) as new, part.open(encoding="ascii") as lines:
            DocBin(store_user_data=True, docs=map(self._doc, lines)).to_disk(new)
        part.unlink()

    def _doc(self, line: str) -> "Doc":
        from spacy.tokens import Doc

        return Doc(self.vocab).from_bytes(base64.b64decode(line))


FORMATS = {".jsonl": JsonLines, ".csv": Csv, ".parquet": Parquet, ".spacy": DocBinLines}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _complete_lines(part: Path) -> Tuple[int, str]:
    """How many lines OUT.part has, and the last of them. What was being written when the run was
    stopped is cut off."""
    n, size, last = 0, 0, b""
    with part.open("r+b") as file:
        for line in file:
            if line.endswith(b"\n"):
                n, size, last = n + 1, size + len(line), line
        file.truncate(size)
    return n, last.decode("utf8")


def _report(data: Path, faults: List[Line], *, skip: bool) -> None:
    """Tell of the lines that can't be used, and end the command unless they are to be skipped."""
    if not faults:
        return
    named = [f"line {line.number}: {line.fault}" for line in faults[:SHOWN]]
    if len(faults) > SHOWN:
        named.append(f"and {len(faults) - SHOWN} more")
    title = f"'{data}' has lines that can't be used: {len(faults)}"
    if not skip:
        named.append("Correct them, or leave them out with --skip.")
        fail(title, "\n".join(named))
    for message in (title, *named):
        warn(message)
