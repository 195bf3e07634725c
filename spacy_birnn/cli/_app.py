"""What all commands share: the app, how they report an error, the options that several have."""

import contextlib
import functools
import json
import re
import sys
import tempfile
import textwrap
import warnings
from importlib import import_module
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    ContextManager,
    Iterable,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
)

import typer
from wasabi import Printer, table

if TYPE_CHECKING:
    from spacy.language import Language
    from thinc.api import Config

HELP = """Convert and check data for recurrent models, look into trained ones, and apply them:
bidirectional RNNs that label, classify and lemmatize."""

app = typer.Typer(name="birnn", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.callback()(lambda: None)  # a group, however many commands there are

# Rows of a table that may be long
SHOWN = 20

# Standard output is for what a command was asked for, so all else goes to standard error
_printer = Printer(no_print=True)

Pipeline = Annotated[str, typer.Argument(help="Pipeline: a directory or a package")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]
Code = Annotated[
    Optional[Path],
    typer.Option("--code", "-c", help="Python file with functions that the config names"),
]
Force = Annotated[bool, typer.Option("--force", "-F", help="Overwrite what is at the output path")]


def say(text: str) -> None:
    """Tell the user something on standard error."""
    _tell(_printer.info, text)


def warn(text: str) -> None:
    """Warn the user on standard error."""
    _tell(_printer.warn, text)


def fail(title: str, text: str = "") -> NoReturn:
    """End the command with a message on standard error and exit code 1."""
    _tell(_printer.fail, f"{title}\n{text.strip()}")
    raise typer.Exit(1)


def _tell(marked: Callable, text: str) -> None:
    """Print a text whose first line is marked. It may be a list or an example: lines stay lines."""
    first, *others = text.strip().split("\n")
    wrapped = (
        textwrap.fill(line, 80, break_long_words=False, break_on_hyphens=False) for line in others
    )
    print("\n".join((marked(first), *wrapped)), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value to standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    note: str = "",
    shown: Optional[int] = None,
) -> None:
    """Print a table to standard output, if it has rows, with texts to the left and numbers (also
    those with a unit) to the right.

    note (str): What stands below it.
    shown (Optional[int]): How many rows at most, where `--json` prints all. None: all.
    """
    if not rows:
        return
    sides = [all(map(_is_number, column)) for column in zip(*rows)]
    aligns: Any = ["r" if is_number else "l" for is_number in sides]
    drawn = table(rows[:shown], header=header, divider=True, aligns=aligns, max_col=70)
    if shown is not None and len(rows) > shown:
        note = f"... and {len(rows) - shown} more, which --json shows"
    print("\n".join(filter(None, (f"\n{title}", drawn.rstrip(), note))))


def _is_number(cell: Any) -> bool:
    return bool(re.fullmatch(r"([-+]?[\d.,]+( ?[KMGT]?B|%)?|\?)?", str(cell)))


def print_labels(labels: dict[str, dict[str, dict[str, int]]], parts: Sequence[str]) -> None:
    """Print how often each part of a corpus has each label, as `data.corpus.by_part` says it."""
    for kind, counts in labels.items():
        rows = [(label, *(count[part] for part in parts)) for label, count in counts.items()]
        print_table(f"Labels of {kind}: {len(rows)}", ("Label", *parts), rows, shown=SHOWN)


def progress(items: Sequence, label: str) -> ContextManager[Iterable]:
    """A progress bar on standard error over some items, used with `with`."""
    return typer.progressbar(items, label=label, file=sys.stderr)


def command(
    name: str, *, example: str, overrides: bool = False, **settings: Any
) -> Callable[[Callable], Callable]:
    """Register a function as a command. What it says of bad input (`ValueError`, `OSError`, or
    `ImportError` of a language that there is not) ends the command with that message and exit code
    1, without a traceback.

    name (str): The name of the command.
    example (str): How it is called, shown at the end of its help.
    overrides (bool): Whether further arguments override a config, see `overrides_of`.
    **settings (Any): Further settings of `typer.Typer.command`.
    """

    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: warn(str(message))
                try:
                    return function(*args, **kwargs)
                except (ValueError, OSError, ImportError) as error:
                    fail(f"{name} stopped", str(error))
                except KeyboardInterrupt:
                    warn(f"{name} was stopped by Ctrl+C")
                    raise

        epilog = f"Example: python -m spacy birnn {example}"
        if overrides:
            extra = {"allow_extra_args": True, "ignore_unknown_options": True}
            settings["context_settings"] = extra
        return app.command(name, epilog=epilog, **settings)(run)

    return register


def check_installed(*modules: str, extra: str) -> None:
    """Say how to get the libraries that only some commands need, if they are not there.

    extra (str): The extra of the package that brings them.
    """
    if any(not _can_import(name) for name in modules):
        way_out = f'Install it with: pip install "spacy-birnn[{extra}]"'
        fail(f"This needs {', '.join(modules)}", way_out)


def _can_import(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def load_pipeline(path: str) -> "Language":
    """Load a trained pipeline, from a directory or an installed package."""
    import spacy

    try:
        return spacy.load(path)
    except Exception as error:  # whatever a file that is damaged or missing leads to
        fail(f"Can't load a pipeline from '{path}'", str(error))


def blank_pipeline(lang: str) -> "Language":
    """The tokenizer of a language, in a pipeline without components."""
    import spacy

    try:
        return spacy.blank(lang)
    except ImportError as error:
        fail(f"Can't make a tokenizer for --lang {lang}", str(error))


def check_output(path: Path, *, force: bool = True, is_dir: bool = False) -> None:
    """Refuse a path that can't be written to before the work is done that would be lost, and one
    that would be overwritten unless that is asked for.

    is_dir (bool): Whether it is a directory that will be written.
    """
    if path.exists() and not force:
        fail(f"'{path}' is there already", "Name another path, or overwrite it with --force.")
    if path.exists() and path.is_dir() != is_dir:
        kind, wanted = ("file", "directory") if is_dir else ("directory", "file")
        fail(f"'{path}' is a {kind}", f"Name a {wanted} to write.")
    absolute = path.absolute()
    folders = [absolute] * is_dir + list(absolute.parents)
    folder = next(found for found in folders if found.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"Nothing can be written in '{folder}': {error.strerror}. Name another path."
        fail(f"Can't write '{path}'", reason)


def read_examples(nlp: "Language", path: Path, *, limit: int = 0) -> list:
    """The examples of a .spacy file, or of a directory of such files.

    limit (int): How many at most; 0: all.
    """
    from spacy.training import Corpus

    hint = "Name a .spacy file, as `birnn convert` writes it."
    if not path.exists():
        fail(f"There is no '{path}'", hint)
    if path.is_file() and path.suffix != ".spacy":
        fail(f"'{path}' is no .spacy file", hint)
    try:
        found = list(Corpus(path, limit=limit)(nlp))
    except Exception as error:  # those of zlib and msgpack, too, if the file is damaged
        fail(f"Can't read '{path}'", f"{error}\n{hint}")
    if not found:
        fail(f"'{path}' holds no documents", hint)
    return found


def read_config(path: Path, overrides: Mapping[str, Any], *, interpolate: bool) -> "Config":
    """The config of a file."""
    from spacy.util import load_config

    if not path.is_file():
        fail(f"There is no '{path}'", "Name a config, as `birnn init` writes it.")
    try:
        return load_config(path, overrides=dict(overrides), interpolate=interpolate)
    except ValueError as error:
        fail(f"'{path}' is no valid config", str(error).strip())


def import_code(path: Optional[Path]) -> None:
    """Run a Python file with functions that a config names. What it prints is no result."""
    from spacy.cli._util import import_code

    with contextlib.redirect_stdout(sys.stderr):
        import_code(path)


def overrides_of(context: typer.Context) -> dict[str, Any]:
    """The settings of a config that further arguments override, as `spacy train` takes them."""
    from click import NoSuchOption
    from spacy.cli._util import parse_config_overrides

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return parse_config_overrides(list(context.args))
    except NoSuchOption as error:
        raise typer.BadParameter(f"No such option: {error.option_name}") from None
    except SystemExit:  # it has said why
        raise typer.Exit(2) from None


def names(value: Optional[str]) -> Optional[list[str]]:
    """The names in an option, with commas between them."""
    return [name.strip() for name in value.split(",")] if value else None
