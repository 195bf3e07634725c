"""`birnn convert`: annotated texts of other tools as corpora for training."""

from pathlib import Path
from typing import Annotated, Any, Dict, Optional

import typer

from ._app import (
    Force,
    Json,
    blank_pipeline,
    check_output,
    command,
    fail,
    names,
    print_json,
    print_labels,
    print_table,
    progress,
    say,
)

PARTS = ("train", "dev", "test")


def _parse_split(value: str) -> Dict[str, float]:
    try:
        shares = [float(share) for share in value.split("/")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 < share < float("inf") for share in shares):
        raise typer.BadParameter(f"{value!r} is not like 80/10/10 or 80/20 (train/dev)")
    return dict(zip(PARTS, shares))


def _parse_format(value: Optional[str]) -> Optional[str]:
    from ..data.formats import FORMATS

    if value is not None and value not in FORMATS:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(FORMATS)}")
    return value


@command("convert", example="convert annotated.jsonl corpus --lang en --split 80/10/10")
def convert_cli(
    in_file: Annotated[Path, typer.Argument(metavar="IN", help="File of annotated texts")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Directory for train.spacy, dev.spacy and test.spacy, or one file (OUT.spacy)",
        ),
    ],
    kind: Annotated[
        Optional[str],
        typer.Option(
            "--format",
            callback=_parse_format,
            help="jsonl or json (Prodigy, Doccano, Label Studio, tokens with tags of Hugging Face, "
            "texts with a label), csv, tsv, conll (IOB, IOB2, BIOES, BILUO), conllu, parquet "
            "[default: by the file's name and first lines]",
        ),
    ] = None,
    lang: Annotated[str, typer.Option(help="Language whose tokenizer splits the texts")] = "en",
    split: Annotated[
        Any,
        typer.Option(
            parser=_parse_split,
            metavar="TEXT",
            help="Shares of train/dev or train/dev/test. Documents with the same text stay "
            "together",
        ),
    ] = "80/10/10",
    seed: Annotated[int, typer.Option(help="Seed of the split")] = 0,
    text: Annotated[
        Optional[str], typer.Option(help="Column or key of the text [default: text]")
    ] = None,
    label: Annotated[
        Optional[str],
        typer.Option(help="Column or key of the labels or spans [default: by the usual names]"),
    ] = None,
    label_names: Annotated[
        Optional[str],
        typer.Option("--names", help="Names of labels that are numbers: O,B-PER,I-PER"),
    ] = None,
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Keep documents that are the same in all, too"),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert annotated texts to .spacy files: texts with spans or categories, tokens with tags,
    or treebanks. Reports the labels, and what could not be kept."""
    is_file = out.suffix == ".spacy"
    paths = {name: out / f"{name}.spacy" for name in PARTS}
    for path in [out] if is_file else paths.values():
        check_output(path, force=force)
    if not in_file.is_file():
        fail(f"There is no file '{in_file}'")
    from ..data.corpus import (
        by_part,
        category_labels,
        count_labels,
        drop_duplicates,
        split_docs,
        to_corpus,
        write_docs,
    )
    from ..data.formats import Columns, read_file

    nlp = blank_pipeline(lang)
    read = read_file(in_file, kind, Columns(text, label, names(label_names) or ()))
    with progress(read.records, "Reading texts") as records:
        corpus = to_corpus(records, nlp, category_labels(read.records))
    docs, same = drop_duplicates(corpus.docs)
    if keep_duplicates:
        docs, same = corpus.docs, same._replace(n_dropped=0)
    parts = {"all": docs} if is_file else split_docs(docs, split, seed=seed)
    write_docs({out if is_file else paths[name]: part for name, part in parts.items()})
    for path in [] if is_file else paths.values():
        if path.stem not in parts:
            path.unlink(missing_ok=True)  # of an earlier split, so its texts are in others now
    report = {
        "format": read.format,
        "parts": {
            name: {"documents": len(part), "tokens": sum(map(len, part))}
            for name, part in parts.items()
        },
        "labels": by_part({name: count_labels(part) for name, part in parts.items()}),
        "misaligned": [span._asdict() for span in corpus.misaligned],
        "overlaps": [span._asdict() for span in corpus.overlaps],
        "trimmed": corpus.n_trimmed,
        "duplicates": same.n_dropped,
        "conflicts": same.n_conflicts,
        "notes": {note: n for note, n in sorted(read.notes.items()) if n},
    }
    if as_json:
        print_json(report)
    else:
        _print(report)
    say(f"Saved {len(docs)} documents to {out}")


def _print(report: Dict[str, Any]) -> None:
    parts = report["parts"]
    rows = [(name, part["documents"], part["tokens"]) for name, part in parts.items()]
    print_table(f"Format: {report['format']}", ("Part", "Documents", "Tokens"), rows)
    print_labels(report["labels"], list(parts))
    for key, title in (
        ("misaligned", "Spans that don't begin and end with a token (now missing annotation)"),
        ("overlaps", "Spans dropped because a longer or an earlier one overlaps them"),
    ):
        if report[key]:
            lost = [(one["label"], repr(one["text"]), one["where"]) for one in report[key]]
            print_table(f"{title}: {len(lost)}", ("Label", "Text", "Where"), lost, shown=10)
    notes = {
        "spans whose ends were white space, which was left out": report["trimmed"],
        "duplicates, dropped": report["duplicates"],
        "texts with several annotations, all kept": report["conflicts"],
        **report["notes"],
    }
    counts = [(note, n) for note, n in notes.items() if n]
    if counts:
        print_table("Notes", ("What", "How many"), counts)
