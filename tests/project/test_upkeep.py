"""What is written down twice says the same."""

import configparser
import re
from importlib.metadata import metadata
from pathlib import Path

import srsly
from packaging.requirements import Requirement

import spacy_birnn
from spacy_birnn.compiler.runner import OLDEST

ROOT = Path(__file__).parent.parent.parent


def requirements(extra=""):
    """Of the package, or of an extra, by their names."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf8")
    options = setup["options.extras_require"] if extra else setup["options"]
    lines = options[extra or "install_requires"].strip().splitlines()
    return {found.name: found for found in map(Requirement, lines)}


def test_only_the_extras_for_training_and_tests_bring_torch():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf8")
    assert "torch" not in requirements()
    bringing = {name for name in setup["options.extras_require"] if "torch" in requirements(name)}
    assert bringing == {"train", "tests"}
    assert requirements("train")["torch"] == requirements("tests")["torch"]


def test_what_is_required_is_pinned_to_a_version_in_its_range():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pins = [Requirement(line) for line in constraints if not line.startswith("#")]
    for name, required in {**requirements(), **requirements("train")}.items():
        versions = [str(pin.specifier)[2:] for pin in pins if pin.name.lower() == name]
        assert versions and all(map(required.specifier.contains, versions)), name


def test_the_error_names_the_least_onnxruntime_that_is_required():
    assert str(requirements()["onnxruntime"].specifier) == f">={OLDEST}"


def test_pre_commit_has_the_versions_that_the_checks_run_with():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf8")
    tested = set(re.findall(r"^[\w-]+==[^\s;]+", constraints, re.MULTILINE))
    (local,) = srsly.read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    pinned = {pin for hook in local["hooks"] for pin in hook["additional_dependencies"]}
    assert {pin.split("==")[0] for pin in pinned} == {"ruff", "mypy", "numpy"}
    assert pinned <= tested


def test_the_changelog_has_the_version_or_says_that_it_is_unreleased():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
    newest = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)[0]
    assert newest in ("Unreleased", spacy_birnn.__version__)


def test_the_readme_says_which_pythons_setup_cfg_allows():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf8")
    first, after = re.findall(r"3\.(\d+)", setup["options"]["python_requires"])
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    assert f"Python 3.{first} to 3.{int(after) - 1}" in readme
    listed = re.findall(r"Python :: 3\.(\d+)", setup["metadata"]["classifiers"])
    assert [int(minor) for minor in listed] == list(range(int(first), int(after)))


def test_the_package_shows_the_readme_on_its_page():
    shown = metadata("spacy-birnn")
    assert shown["Description-Content-Type"] == "text/markdown"
    assert shown.get_payload().startswith("# spacy-birnn")
