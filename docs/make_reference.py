"""Write the reference beside this file, from signatures, docstrings and help texts: settings.md for
what a config can name, python.md for functions, commands.md for the command line.

python docs/make_reference.py
"""

import importlib
import inspect
import json
import re
from configparser import ConfigParser
from pathlib import Path
from textwrap import dedent
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import typer
from spacy.language import Language
from thinc.api import Config

from spacy_birnn.cli import app

DOCS = Path(__file__).parent
WRITTEN_BY = "Written by `python docs/make_reference.py`."
SETTINGS = f"""# Settings

Everything that a config can name, with types, defaults and ranges worth trying. The settings of a
component stand in its block `[components.NAME]`, those of an architecture in
`[components.NAME.model]` and the blocks below it. The [guides](entities.md) say what each is for,
and [spaCy's documentation](https://spacy.io/usage/training#config) how a config works. `null`
stands for no value. {WRITTEN_BY}
"""
PYTHON = f"""# Python

What the package adds to spaCy's own functions. Arguments after `*` are given by name. {WRITTEN_BY}
"""
COMMANDS = f"""# Command line

Call each command as `python -m spacy birnn COMMAND` or `spacy-birnn COMMAND`. Tables go to standard
output, as JSON with `--json`. Messages and progress go to standard error. The exit code is 0, or 1
where a command failed, or 2 where it was called wrongly. {WRITTEN_BY}
"""
# The groups of entry points that a config can name, in the order of the page
GROUPS = {
    "spacy_factories": "Components",
    "spacy_architectures": "Architectures",
    "spacy_callbacks": "Callbacks",
    "spacy_loggers": "Loggers",
}
# What may be imported from each module; a method stands behind its class
PUBLIC = {
    "pipeline.ner": [
        "BiRNNEntityRecognizer.span_probabilities",
        "BiRNNEntityRecognizer.k_best",
        "BiRNNEntityRecognizer.candidates",
    ],
    "pipeline.tagger": ["BiRNNTagger.label_probabilities"],
    "pipeline.confidence": ["get_confidence"],
    "pipeline.calibration": ["calibrate", "reliability", "Reliability"],
    "explanation": ["explain", "hide"],
    "tracing": ["trace", "Trace"],
    "export": ["export_onnx"],
    "models.prediction": ["set_threads"],
    "evaluation": [
        "predict",
        "compare_entities",
        "Finding",
        "Counts",
        "count",
        "count_by_tags",
        "count_by_label",
        "count_by_seen",
        "entity_forms",
        "entity_confusion",
        "token_confusion",
        "category_confusion",
        "document_counts",
        "randomisation_test",
        "threshold_curve",
    ],
    "data.formats": ["read_file", "Columns", "Reading"],
    "data.corpus": ["to_corpus", "Corpus", "drop_duplicates", "split_docs", "write_docs"],
    "crf": [
        "SequenceScores",
        "posterior",
        "Posterior",
        "viterbi",
        "k_best",
        "KBest",
        "loss",
        "divergence",
    ],
}


class Described(NamedTuple):
    """A docstring, taken apart.

    prose (str): What it says before the arguments, as Markdown.
    entries (Dict[str, Tuple[str, str]]): The type and the description of each argument, of RETURNS
        and of RAISES.
    """

    prose: str
    entries: Dict[str, Tuple[str, str]]


def describe(thing: Any) -> Described:
    """Take the docstring of a function, a class or a module apart."""
    prose: List[str] = []
    entries: Dict[str, List[str]] = {}
    types: Dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(vars(thing).get("__doc__") or thing.__doc__ or "").splitlines():
        entry = re.match(r"(\w+) \(([\w.]+(?:\[.*\])?)\): (.*)", line)
        if entry:
            name, types[entry[1]] = entry[1], entry[2]
            entries[name] = [f"    {entry[3]}"]
        elif name and (not line or line.startswith("    ")):
            entries[name].append(line)
        else:
            name = ""
            prose.append(line)
    texts = {key: dedent("\n".join(lines)).strip() for key, lines in entries.items()}
    return Described("\n".join(prose).strip(), {key: (types[key], texts[key]) for key in entries})


def entry_points() -> Iterator[Tuple[str, str, Any]]:
    """The group, the name and the function of what setup.cfg registers, ordered by group."""
    parser = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DOCS.parent / "setup.cfg", encoding="utf8")
    points = parser["options.entry_points"]
    for group in GROUPS:
        for line in filter(None, points.get(group, "").split("\n")):
            name, _, target = line.partition(" = ")
            module, _, function = target.partition(":")
            yield group, name, getattr(importlib.import_module(module), function)


def settings_page() -> str:
    parts, group = [SETTINGS], ""
    for found, name, target in entry_points():
        if found != group:
            group = found
            parts.append(f"## {GROUPS[group]}")
        parts.append(f"### `{name}`")
        parts += component(name, target) if group == "spacy_factories" else registered(name, target)
    return joined(parts)


def component(name: str, make: Any) -> List[str]:
    """A factory: its settings are described by its class, or by one that this is made of."""
    found = getattr(importlib.import_module(make.__module__), make.__annotations__["return"])
    own = [base for base in found.__mro__ if base.__module__.startswith("spacy_birnn")]
    entries: Dict[str, Tuple[str, str]] = {}
    for base in reversed(own):
        entries.update(describe(base).entries)
    defaults = Language.get_factory_meta(name).default_config
    model = Config({"model": defaults["model"]}).to_str().strip()
    return [
        describe(found).prose,
        table("setting", entries, defaults, where=name),
        raised(entries),
        f"The default model:\n\n```ini\n{model}\n```",
    ]


def registered(name: str, target: Any) -> List[str]:
    """Another function that a config names."""
    found = describe(target)
    parameters = inspect.signature(target).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    return [
        found.prose,
        table("setting", found.entries, defaults, where=name),
        raised(found.entries),
    ]


def python_page() -> str:
    parts = [PYTHON]
    for module, names in PUBLIC.items():
        imported = importlib.import_module(f"spacy_birnn.{module}")
        parts += [f"## `spacy_birnn.{module}`", describe(imported).prose]
        for name in names:
            target: Any = imported
            for part in name.split("."):
                target = getattr(target, part)
            parts += [f"### `{name}`", *importable(name, target)]
    return joined(parts)


def importable(name: str, target: Any) -> List[str]:
    """A function, or a class whose fields are described."""
    found = describe(target)
    signature = inspect.signature(target)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    if inspect.isclass(target):
        defaults: Dict[str, Any] = {p.name: p.default for p in parameters}
        return [found.prose, table("field", found.entries, defaults, where=name)]
    shown = [str(p.replace(annotation=p.empty)) for p in parameters]
    by_name = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    if by_name:
        shown.insert(by_name[0], "*")
    described = [p for p in parameters if p.name in found.entries]
    unknown = set(found.entries) - {p.name for p in described} - {"RETURNS", "RAISES"}
    if unknown:
        raise ValueError(f"The docstring of {name} describes {unknown}, which it does not take")
    parts = [f"```text\n{name.rpartition('.')[2]}({', '.join(shown)})\n```", found.prose]
    if described:
        defaults = {p.name: p.default for p in described}
        parts.append(table("argument", found.entries, defaults, where=name))
    if "RETURNS" in found.entries:
        kind, text = found.entries["RETURNS"]
        first, _, more = text.partition("\n\n")
        parts.append(f"Returns `{kind}`: {first}")
        # What stands in columns stays as it is
        parts.append(f"```text\n{more}\n```" if more else "")
    return [*parts, raised(found.entries)]


def table(
    head: str, entries: Dict[str, Tuple[str, str]], defaults: Dict[str, Any], *, where: str
) -> str:
    """A table of arguments: the name, the type, the default where there is one, the description."""
    write = as_in_config if head == "setting" else as_in_python
    missing = defaults.keys() - entries.keys()
    if missing:
        raise ValueError(f"The docstring of {where} does not say what {sorted(missing)} are")
    lines = [f"| {head} | type | default | |", "| --- | --- | --- | --- |"]
    for name, default in defaults.items():
        kind, text = entries[name]
        lines.append(row(f"`{name}`", f"`{kind}`", write(default), " ".join(text.split())))
    return "\n".join(lines)


def row(*cells: str) -> str:
    """A row of a table, in which a bar would begin another cell."""
    return f"| {' | '.join(cell.replace('|', ' or ') for cell in cells)} |"


def as_in_config(default: Any) -> str:
    """A default as a config writes it."""
    if default is inspect.Parameter.empty:
        return ""
    if isinstance(default, dict):
        return next(f"`{value}`" for key, value in default.items() if key.startswith("@"))
    return f"`{json.dumps(default)}`"


def as_in_python(default: Any) -> str:
    """A default as Python writes it."""
    return "" if default is inspect.Parameter.empty else f"`{default!r}`"


def raised(entries: Dict[str, Tuple[str, str]]) -> str:
    kind, text = entries.get("RAISES", ("", ""))
    return f"Raises `{kind}`: {' '.join(text.split())}" if text else ""


def commands_page() -> str:
    group: Any = typer.main.get_command(app)
    parts = [COMMANDS]
    for name, command in group.commands.items():
        usage, rows = [f"birnn {name}"], []
        for parameter in command.params:
            text = " ".join((parameter.help or "").split())
            if parameter.param_type_name == "argument":
                shown = parameter.metavar or parameter.name.upper()
                usage.append(shown if parameter.required else f"[{shown}]")
                rows.append(row(f"`{shown}`", text, ""))
            else:
                is_set = not (parameter.is_flag or parameter.default in (None, (), []))
                default = getattr(parameter.default, "value", parameter.default)
                shown = f"`{default}`" if is_set else ""
                rows.append(row(f"`{', '.join(parameter.opts)}`", text, shown))
        parts += [
            f"## `{name}`",
            f"```text\n{' '.join(usage)}\n```",
            # click keeps the lines of a paragraph with this mark as they are
            re.sub(
                r"\x08\n(.+?)(?=\n\n)",
                r"```ini\n\1\n```",
                inspect.cleandoc(command.help),
                flags=re.S,
            ),
            "\n".join(["| argument | | default |", "| --- | --- | --- |", *rows]),
            f"{command.epilog.replace(': ', ': `', 1)}`",
        ]
    return joined(parts)


def joined(parts: List[str]) -> str:
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


PAGES = {"settings.md": settings_page, "python.md": python_page, "commands.md": commands_page}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make(), encoding="utf8")
