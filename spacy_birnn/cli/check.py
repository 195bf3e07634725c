"""`birnn check`: what is in the data, before an hour goes into training on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Optional, Set, Tuple

import typer

from ._app import (
    SHOWN,
    Code,
    Json,
    blank_pipeline,
    command,
    fail,
    import_code,
    overrides_of,
    print_json,
    print_labels,
    print_table,
    read_config,
    read_examples,
    say,
)

if TYPE_CHECKING:
    from spacy.training import Example

    from ..data.inspection import Inspection

# The labels that components learn, by what they assign
ASSIGNED = {
    "doc.ents": "entities",
    "doc.cats": "categories",
    "token.tag": "tags",
    "token.pos": "morphology",
    "token.morph": "morphology",
}
# The usual parts, in their order; others come after them
ORDER = ("train", "dev", "test")


@command(
    "check",
    example="check config.cfg --paths.train corpus/train.spacy --paths.dev corpus/dev.spacy",
    overrides=True,
)
def check_cli(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|DATA",
            help="A config, a .spacy file, or a directory with train.spacy and others",
        ),
    ],
    lang: Annotated[
        str, typer.Option(help="Language whose tokenizer is compared; a config has its own")
    ] = "en",
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Look through the data of a config, or any data: labels, rare ones, entities with several
    labels, what is in training and evaluation, odd spans, vectors, characters that training does
    not show, and with a config those that its model cannot tell apart; and what to do about it.
    Settings of a config can be overridden (--paths.train FILE). Exits with 1 if training would
    fail."""
    overrides = overrides_of(context)
    import_code(code)
    if not path.exists():
        fail(f"There is no '{path}'", "Name a config, a .spacy file or a directory of such files.")
    kinds: Optional[Set[str]] = None
    char_rows: Optional[int] = None
    if path.suffix == ".cfg":
        parts, kinds, char_rows = _of_config(path, overrides)
    elif overrides:
        fail("Only the settings of a config can be overridden", ", ".join(overrides))
    else:
        parts = _of_data(path, lang)
    from ..data.inspection import inspect_corpus

    found = inspect_corpus(parts, kinds, char_rows=char_rows)
    if as_json:
        print_json(found._asdict())
    else:
        _print(found)


def _of_data(path: Path, lang: str) -> Dict[str, "List[Example]"]:
    """The documents of files, by their names."""
    from ..data.corpus import can_teach

    nlp = blank_pipeline(lang)
    files = sorted(path.glob("*.spacy")) if path.is_dir() else [path]
    if not files:
        fail(f"There is no .spacy file in '{path}'", "`birnn convert` writes such files.")
    files.sort(key=lambda file: ORDER.index(file.stem) if file.stem in ORDER else len(ORDER))
    parts = {file.stem: read_examples(nlp, file) for file in files}
    first, docs = next((name, [eg.y for eg in part]) for name, part in parts.items())
    if not can_teach(docs):
        fail("Training would fail", f"No document of {first} has annotation to learn from.")
    return parts


def _of_config(
    path: Path, overrides: Dict[str, Any]
) -> Tuple[Dict[str, "List[Example]"], Set[str], Optional[int]]:
    """The corpora of a config, the kinds of labels that its components learn, and the rows of its
    table of characters, the smallest one if there are several."""
    from spacy.schemas import ConfigSchemaTraining
    from spacy.training.initialize import init_nlp
    from spacy.util import registry, resolve_dot_names

    raw_config = read_config(path, overrides, interpolate=False)
    if "training" not in raw_config:
        fail(f"'{path}' has no section [training]", "Fill it in with `spacy init fill-config`.")
    say("Initializing the pipeline with the training data")
    try:
        nlp = init_nlp(raw_config)
        config = nlp.config.interpolate()
        settings: Any = registry.resolve(config["training"], schema=ConfigSchemaTraining)
        names = [settings["train_corpus"], settings["dev_corpus"]]
        corpora = resolve_dot_names(config, names)
        parts = {name: list(corpus(nlp)) for name, corpus in zip(ORDER, corpora)}
    except Exception as error:  # whatever it is, it would end training
        fail("Training would fail", f"{type(error).__name__}: {error}")
    assigned = {
        attribute
        for name in nlp.pipe_names
        if name not in settings["frozen_components"]
        for attribute in nlp.get_pipe_meta(name).assigns
    }
    kinds = {kind for attribute, kind in ASSIGNED.items() if attribute in assigned}
    models: Any = [pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model")]
    layers = [layer for model in models for layer in model.walk()]
    rows = [layer.attrs["rows"] for layer in layers if layer.name == "char_rnn"]
    return parts, kinds, min(rows, default=None)


def _print(found: "Inspection") -> None:
    from ..data.inspection import PERCENTILES

    names = ["min", *(f"{p} %" for p in PERCENTILES[1:-1]), "max"]
    sizes = [
        (name, kind, part[kind], *found.lengths[name][kind])
        for name, part in found.parts.items()
        for kind in ("documents", "entities")
        if part[kind]
    ]
    print_table("Sizes, and tokens of one", ("Part", "What", "Number", *names), sizes)
    print_labels(found.labels, list(found.parts))
    if found.ambiguous:
        rows = [
            (repr(one["text"]), ", ".join(f"{label} {n}" for label, n in one["labels"].items()))
            for one in found.ambiguous
        ]
        print_table(
            f"Entities with several labels: {len(rows)}", ("Text", "Labels"), rows, shown=SHOWN
        )
    first = next(iter(found.parts))
    known = [
        (name, kind, known[kind], found.parts[name][total])
        for name, known in found.known.items()
        for kind, total in (("texts", "documents"), ("entities", "entities"))
        if found.parts[name][total]
    ]
    if known:
        print_table(f"What is in {first}, too", ("Part", "What", "Number", "Of"), known)
    odd = [
        (name, kind.replace("_", " "), len(texts), ", ".join(map(repr, texts[:3])))
        for name, kinds in found.odd.items()
        for kind, texts in kinds.items()
        if texts
    ]
    if odd:
        print_table("Odd entities", ("Part", "What", "Number", "Such as"), odd)
    chars = found.characters
    unseen = [
        (name, len(those), chars["unseen_tokens"][name], _counted(those))
        for name, those in chars["unseen"].items()
        if those
    ]
    header = ("Part", "Characters", "Tokens with one", "The most frequent")
    print_table(f"Characters that are not in {first}", header, unseen)
    shared = [(_counted(those),) for those in chars["shared"]]
    title = f"Characters that are the same in {chars['rows']} rows: {len(shared)} times"
    print_table(title, ("Characters",), shared, shown=SHOWN)
    if found.vectors:
        vectors = found.vectors
        have = [(what, vectors[f"{what}_have"], vectors[what]) for what in ("words", "tokens")]
        print_table(f"Words of {first} with a vector", ("What", "Number", "Of"), have)
    print("\n".join(f"- {advice}" for advice in found.advice) or "Nothing to object to.")


def _counted(counts: Dict[str, int]) -> str:
    return ", ".join(f"{char!r} {n}" for char, n in list(counts.items())[:5])
