"""The codes of messages, and that what is raised can be told apart by them."""

import ast
import pickle
import re
import runpy
from pathlib import Path

import pytest

import spacy_birnn
from spacy_birnn.checks import check_positive
from spacy_birnn.errors import BirnnError, ReportOnce, Warnings

PACKAGE = Path(spacy_birnn.__file__).parent
SOURCES = {path: path.read_text(encoding="utf8") for path in sorted(PACKAGE.rglob("*.py"))}


def codes_of(name):
    """The codes of `Errors` or `Warnings`, as they stand in the file."""
    for node in ast.parse(SOURCES[PACKAGE / "errors.py"]).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return [line.targets[0].id for line in node.body if isinstance(line, ast.Assign)]
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["Errors", "Warnings"])
def test_codes_are_in_order_and_each_is_used(name):
    codes = codes_of(name)
    assert codes == sorted(set(codes)) and all(re.fullmatch("[EW][0-9]{3}", c) for c in codes)
    used = {code for text in SOURCES.values() for code in re.findall(rf"{name}\.(\w+)", text)}
    assert used == set(codes)


def test_an_error_knows_its_code():
    with pytest.raises(ValueError, match="BIRNN-E001.*'width'.*-1") as caught:
        check_positive("width", -1, where="model")
    error = caught.value
    assert isinstance(error, BirnnError) and error.code == "E001"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code) == (str(error), "E001")


def test_what_is_reported_once_is_reported_by_each_owner():
    for report in (ReportOnce(Warnings.W005), ReportOnce(Warnings.W005)):
        with pytest.warns(UserWarning, match="BIRNN-W005.*7 texts"):
            report(n=7)
        report(n=8)  # a second warning would be an error


def test_the_documentation_has_each_message():
    docs = Path(__file__).parents[1] / "docs"
    script = runpy.run_path(str(docs / "make_errors.py"))
    assert (docs / "errors.md").read_text(encoding="utf8") == script["page"]()


def test_every_message_is_raised_with_its_code():
    assert not any("ValueError(Errors." in text for text in SOURCES.values())
