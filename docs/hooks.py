"""What the site has beyond docs/: the README as its start page, a page for each file of the
repository that a page links to, and formulas as MathML, which browsers draw by themselves."""

import posixpath
import re
from pathlib import Path
from typing import Any, Dict

from latex2mathml.converter import convert
from mkdocs.structure.files import File

DOCS = Path(__file__).parent
ROOT = DOCS.parent
START = ROOT / "README.md"
# The target of a link or of a picture in Markdown or HTML, without what follows "#"
LINK = re.compile(r'(?<=\]\()(?!\w+:)[^)#\s]+|(?<=src=")(?!\w+:)[^"]+')
FORMULA = re.compile(r"```math\n(.*?)\n```", re.DOTALL)
INLINE = re.compile(r"\$`(.+?)`\$")
# The file that each page is made of
sources: Dict[str, Path] = {}


def on_files(files: Any, config: Any) -> Any:
    """Add the README, and what it and other pages link to outside of docs/."""
    unread = [START, *DOCS.glob("*.md")]
    while unread:
        path = unread.pop()
        uri = uri_of(path)
        if uri in sources or not path.is_file():
            continue
        sources[uri] = path
        if path.suffix == ".md":
            unread += targets(path, path.read_text(encoding="utf8"))
        if DOCS not in path.parents:
            text = path.read_text(encoding="utf8")
            if path.suffix != ".md":
                language = {".cfg": "ini", ".py": "python", ".yml": "yaml"}.get(path.suffix, "text")
                text = f"# {path.relative_to(ROOT)}\n\n```{language}\n{text}```\n"
            files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    source = sources[page.file.src_uri]
    here = posixpath.dirname(page.file.src_uri)

    def link(found: "re.Match[str]") -> str:
        target = (source.parent / found[0]).resolve()
        return posixpath.relpath(uri_of(target), here)

    def formula(found: "re.Match[str]") -> str:
        mathml = convert(found[1], display="block").replace("\n", " ")
        return f'<div class="formula">{mathml}</div>'

    if source.suffix == ".md":
        markdown = LINK.sub(link, markdown)
        markdown = FORMULA.sub(formula, markdown)
        markdown = INLINE.sub(lambda found: f"<span>{convert(found[1])}</span>", markdown)
    return markdown


def targets(path: Path, text: str) -> list:
    """The files that a page links to."""
    return [(path.parent / found).resolve() for found in LINK.findall(text)]


def uri_of(path: Path) -> str:
    """Where a file of the repository is in the site. One that is neither Markdown nor in docs/ is
    shown on a page of its own."""
    if path == START:
        return "index.md"
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    uri = path.relative_to(ROOT).as_posix()
    return uri if path.suffix == ".md" else f"{uri}.md"
