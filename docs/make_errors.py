"""Write errors.md beside this file: every code with its message, in which braces stand for values.

python docs/make_errors.py
"""

from pathlib import Path

from spacy_birnn.errors import Errors, Warnings

INTRODUCTION = """# Errors and warnings

Every message of the package begins with a code. Coded errors are `spacy_birnn.errors.BirnnError`, a
`ValueError` with the attribute `code`; only E016 is an `OSError`. In the messages below, names in
braces stand for what is filled in. Written by `python docs/make_errors.py`.
"""


def page() -> str:
    parts = [INTRODUCTION]
    for title, messages in (("Errors", Errors), ("Warnings", Warnings)):
        rows = [f"## {title}\n", "| code | message |", "| --- | --- |"]
        for code in [name for name in vars(messages) if not name.startswith("_")]:
            text = getattr(messages, code).partition("] ")[2].replace("|", "\\|")
            rows.append(f"| {code} | {text} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "errors.md").write_text(page(), encoding="utf8")
