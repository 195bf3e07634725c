"""The command line, `python -m spacy birnn COMMAND` or `spacy-birnn COMMAND`: a module for each
command. They import what they need when they run, so that `--help` is there at once."""

from spacy.cli._util import app as spacy_app

from . import (  # noqa: F401
    apply,
    calibrate,
    check,
    convert,
    evaluate,
    explain,
    export,
    info,
    init,
    learning_curve,
    serve,
    trace,
    tune,
)
from ._app import app

spacy_app.add_typer(app)


def main() -> None:
    """The console script `spacy-birnn`."""
    app(prog_name="spacy-birnn")
