"""The README and the documentation: code runs, defaults are the real ones, links lead somewhere."""

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest
import spacy

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_quickstart_finds_the_entities_it_was_trained_on():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf8"), re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    for text, label in (("Ada Lund", "PERSON"), ("Velotek", "ORG")):
        assert f"('{text}', '{label}', 0." in printed.getvalue()


def test_option_tables_state_the_real_defaults():
    spacy.blank("xx")  # reads the entry points
    pages = [ROOT / "docs" / name for name in ("components.md", "architectures.md")]
    text = "\n".join(page.read_text(encoding="utf8") for page in pages)
    tables = {
        "## `birnn_ner`": spacy.Language.get_factory_meta("birnn_ner").default_config,
        "## `birnn_textcat`": spacy.Language.get_factory_meta("birnn_textcat").default_config,
        "**`spacy-birnn.TextClassifier.v1`**": _defaults("spacy-birnn.TextClassifier.v1"),
        "**`spacy-birnn.BiRNNTok2Vec.v1`**": _defaults("spacy-birnn.BiRNNTok2Vec.v1"),
        "**`spacy-birnn.CharRNN.v1`**": _defaults("spacy-birnn.CharRNN.v1"),
        "**`spacy-birnn.PretrainBiLM.v1`**": _defaults("spacy-birnn.PretrainBiLM.v1"),
    }
    written = {"null": None, "true": True, "false": False}
    for title, defaults in tables.items():
        section = re.split(r"\n\n\*\*|\n#", text.split(title)[1])[0]
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.M)
        stated = {
            name: value
            for name, value in rows
            if name in defaults and name not in ("model", "scorer")
        }
        assert stated.keys() >= set(defaults) - {"model", "tok2vec", "scorer"}
        for name, value in stated.items():
            assert written.get(value, value.strip('"')) == _plain(defaults[name]), (title, name)


def test_the_readme_is_a_front_page():
    assert len(README.read_text(encoding="utf8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """To files of the repository, and to headings."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf8"))
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target


def _defaults(architecture):
    parameters = inspect.signature(spacy.registry.architectures.get(architecture)).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _plain(value):
    return value if value is None or isinstance(value, bool) else str(value)
