"""The configs of the project are what `birnn init` writes."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spacy_birnn.cli  # noqa: F401
from spacy_birnn.cli._app import app

CONFIGS = Path(__file__).parent.parent.parent / "project" / "configs"


@pytest.mark.parametrize("name", ["wnut17", "ud", "ud_lemma", "sst2"])
def test_the_command_in_its_first_line_writes_it(name, tmp_path, monkeypatch):
    path = f"project/configs/{name}.cfg"
    written = (CONFIGS / f"{name}.cfg").read_text(encoding="utf8")
    start = f"# python -m spacy birnn init {path} "
    assert written.startswith(start)
    arguments = shlex.split(written.splitlines()[0][len(start) :])
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["init", path, *arguments])
    assert result.exit_code == 0, result.stderr
    assert Path(path).read_text(encoding="utf8") == written
