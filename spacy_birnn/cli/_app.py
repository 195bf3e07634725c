"""What all commands share: the app, how they report an error, the options that several have."""

import functools
import json
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Iterator, NoReturn, Optional

import typer
from wasabi import Printer

if TYPE_CHECKING:
    from spacy.language import Language

HELP = """Train, look into and serve recurrent models: bidirectional RNNs that label, classify and
lemmatize."""

app = typer.Typer(name="birnn", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.callback()(lambda: None)  # a group, however many commands there are

# Standard output is for what a command was asked for, so all else goes to standard error
_printer = Printer(no_print=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]
Force = Annotated[bool, typer.Option("--force", "-F", help="Overwrite what is at the output path")]


def say(text: str) -> None:
    """Tell the user something on standard error."""
    print(_printer.info(text), file=sys.stderr)


def warn(text: str) -> None:
    """Warn the user on standard error."""
    print(_printer.warn(text), file=sys.stderr)


def fail(title: str, text: str = "") -> NoReturn:
    """End the command with a message on standard error and exit code 1."""
    print(_printer.fail(title, text), file=sys.stderr)
    raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Print a value to standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def command(name: str, *, example: str, **settings: Any) -> Callable[[Callable], Callable]:
    """Register a function as a command. What it says of bad input (`ValueError`, `OSError`) ends
    the command with that message and exit code 1, without a traceback.

    name (str): The name of the command.
    example (str): How it is called, shown at the end of its help.
    **settings (Any): Further settings of `typer.Typer.command`.
    """

    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: warn(str(message))
                try:
                    return function(*args, **kwargs)
                except (ValueError, OSError) as error:
                    fail(f"{name} stopped", str(error))

        epilog = f"Example: python -m spacy birnn {example}"
        return app.command(name, epilog=epilog, **settings)(run)

    return register


def load_pipeline(path: str) -> "Language":
    """Load a trained pipeline, from a directory or an installed package."""
    import spacy

    try:
        return spacy.load(path)
    except OSError as error:
        fail(f"Can't load a pipeline from '{path}'", str(error))


def check_output(path: Path, *, force: bool) -> None:
    """Refuse to overwrite what is there, unless it is asked for."""
    if path.exists() and not force:
        fail(f"'{path}' is there already", "Name another path, or overwrite it with --force.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside a file, which is put in its place if all goes well."""
    new = path.with_name(f"{path.name}.new")
    try:
        yield new
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def read_examples(nlp: "Language", path: Path, *, limit: int = 0) -> list:
    """The examples of a .spacy file, or of a directory of such files.

    limit (int): How many at most; 0: all.
    """
    from spacy.training import Corpus

    if not path.exists():
        fail(f"There is no '{path}'", "Name a .spacy file, as `birnn convert` writes it.")
    found = list(Corpus(path, limit=limit)(nlp))
    if not found:
        fail(f"'{path}' holds no documents")
    return found


def names(value: Optional[str]) -> Optional[list[str]]:
    """The names in an option, with commas between them."""
    return [name.strip() for name in value.split(",")] if value else None
