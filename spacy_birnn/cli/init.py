"""`birnn init`: a config to train with, complete and with comments."""

import json
import re
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Iterator, Optional

import typer

from ..files import replacing
from ._app import Force, check_output, command, names, overrides_of, say

TEMPLATE = Path(__file__).parent / "templates" / "config.jinja"
COMPONENTS = (
    "birnn_ner",
    "birnn_tagger",
    "birnn_morphologizer",
    "birnn_lemmatizer",
    "birnn_textcat",
    "birnn_textcat_multilabel",
)
# In the order of spaCy's own configs
SECTIONS = (
    "paths",
    "system",
    "nlp",
    "components",
    "corpora",
    "training",
    "pretraining",
    "initialize",
)
# What stands on a line of a config: a section, or a setting in it
SECTION, SETTING = re.compile(r"\[(.+)\]"), re.compile(r"([^\s=]+) *=")


class Size(str, Enum):
    """How large the model is."""

    small = "small"
    base = "base"
    large = "large"


@command(
    "init",
    example="init config.cfg --lang en --pipeline birnn_tagger,birnn_ner --size small",
    overrides=True,
)
def init_cli(
    context: typer.Context,
    out: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="File to write, or - for standard output"),
    ],
    lang: Annotated[str, typer.Option("--lang", "-l", help="Two-letter code of the language")] = (
        "en"
    ),
    pipeline: Annotated[
        str,
        typer.Option(
            "--pipeline", "-p", help=f"Components, with commas between: {', '.join(COMPONENTS)}"
        ),
    ] = "birnn_ner",
    size: Annotated[
        Size,
        typer.Option(
            "--size",
            "-s",
            help="small: faster, for little memory; base: as measured; large: for much data",
        ),
    ] = Size.base,
    vectors: Annotated[
        Optional[str],
        typer.Option("--vectors", "-v", help="Word vectors: a directory or a package"),
    ] = None,
    pretraining: Annotated[
        bool, typer.Option("--pretraining", "-pt", help="With what `spacy pretrain` needs")
    ] = False,
    force: Force = False,
) -> None:
    """Write a config that trains as it is, with the settings that the results were measured with.
    Its first line says how it was made, and comments say what its main settings do. Any setting can
    be given another value (--training.max_steps 2000).

    Components that label tokens share one tok2vec; a classifier has one of its own."""
    overrides = overrides_of(context)
    components = names(pipeline) or []
    wrong = [name for name in components if name not in COMPONENTS]
    if wrong or not components or len(set(components)) < len(components):
        found = ", ".join(wrong) or pipeline or "none"
        reason = f"each of {', '.join(COMPONENTS)} at most once, and not: {found}"
        raise typer.BadParameter(reason, param_hint="--pipeline")
    if pretraining and components == ["birnn_lemmatizer"]:
        raise typer.BadParameter("birnn_lemmatizer has no tok2vec", param_hint="--pretraining")
    is_stdout = str(out) == "-"
    if not is_stdout:
        check_output(out, force=force)
    options = {"lang": lang, "pipeline": ",".join(components), "size": size.value}
    if vectors is not None:
        options["vectors"] = vectors
    words = ["python", "-m", "spacy", "birnn", "init", str(out)]
    words += [word for name, value in options.items() for word in (f"--{name}", value)]
    words += ["--pretraining"] * pretraining + list(context.args)
    text = make_config(
        components,
        lang=lang,
        size=size.value,
        vectors=vectors,
        pretraining=pretraining,
        overrides=overrides,
    )
    text = f"# {shlex.join(words)}\n{text}"
    if is_stdout:
        sys.stdout.write(text)
        return
    with replacing(out) as new:
        new.write_text(text, encoding="utf8")
    say(f"Wrote {out}. Train with it:")
    paths = "--paths.train train.spacy --paths.dev dev.spacy"
    print(f"python -m spacy train {out} {paths} --output training", file=sys.stderr)


def make_config(
    components: list[str],
    *,
    lang: str,
    size: str,
    vectors: Optional[str],
    pretraining: bool,
    overrides: dict[str, Any],
) -> str:
    """The text of a config with all settings, and comments above the main ones.

    overrides (dict[str, Any]): Values of settings, by their names with dots.
    RAISES (ValueError): If there is no such language, or a setting that can't be.
    """
    from jinja2 import Template
    from spacy.language import DEFAULT_CONFIG_PRETRAIN_PATH
    from spacy.schemas import ConfigSchemaPretrain, ConfigSchemaTraining
    from spacy.util import (
        load_config,
        load_config_from_str,
        load_model_from_config,
        registry,
        set_dot_to_object,
    )
    from thinc.api import Config, ConfigValidationError

    template = Template(TEMPLATE.read_text(encoding="utf8"))
    text = template.render(
        components=components, lang=lang, size=size, vectors=vectors, pretraining=pretraining
    )
    comments = _comments(text, overrides)
    config = load_config_from_str(text)
    if pretraining:
        config = load_config(DEFAULT_CONFIG_PRETRAIN_PATH).merge(config)
    try:
        filled = load_model_from_config(config, auto_fill=True).config
        for name, value in overrides.items():
            if not _has(filled, name):
                raise ValueError(f"This config has no setting '{name}'")
            set_dot_to_object(filled, name, value)
        if overrides:
            filled = load_model_from_config(filled, auto_fill=True).config
        # The rest is checked by `spacy train` and `spacy pretrain` only, which know the paths
        settings = Config({**filled, "paths": dict.fromkeys(filled["paths"], ".")}).interpolate()
        registry.resolve(settings["training"], schema=ConfigSchemaTraining)
        if pretraining:
            registry.resolve(settings["pretraining"], schema=ConfigSchemaPretrain)
    except ImportError as error:
        raise ValueError(str(error)) from None
    except ConfigValidationError as error:
        raise ValueError(ConfigValidationError.from_error(error, show_config=False).text) from None
    lines = [line for name in SECTIONS for line in _write(name, filled[name], comments)]
    return "\n".join(lines)


def _has(config: dict[str, Any], name: str) -> bool:
    found: Any = config
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def _comments(text: str, overrides: dict[str, Any]) -> dict[str, list[str]]:
    """The comments above each section and setting of a config, but for what is overridden, which
    they may not be true of any more."""
    found: dict[str, list[str]] = {}
    section, above = "", []
    for line in text.splitlines():
        if line.startswith("#"):
            above.append(line)
            continue
        if header := SECTION.fullmatch(line):
            section = name = header[1]
        elif setting := SETTING.match(line):
            name = f"{section}.{setting[1]}"
        if above and not any(f"{name}.".startswith(f"{changed}.") for changed in overrides):
            found[name] = above
        above = []
    return found


def _write(name: str, values: dict[str, Any], comments: dict[str, list[str]]) -> Iterator[str]:
    """The lines of a section and of those in it, each followed by an empty one."""
    yield from comments.get(name, ())
    yield f"[{name}]"
    # Which function it is comes first
    for key, value in sorted(values.items(), key=lambda item: item[0][0] != "@"):
        if not isinstance(value, dict):
            yield from comments.get(f"{name}.{key}", ())
            is_variable = isinstance(value, str) and value.startswith("${")
            yield f"{key} = {value if is_variable else json.dumps(value, ensure_ascii=False)}"
    yield ""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _write(f"{name}.{key}", value, comments)
