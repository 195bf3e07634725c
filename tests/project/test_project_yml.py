"""The project files: commands say what they do, need and make, and the workflows hang together."""

from pathlib import Path, PurePosixPath

import pytest
from weasel.cli.run import load_project_config
from weasel.util.validation import validate_project_commands

ROOT = Path(__file__).parent.parent.parent
# What is in the repository beside what workflows make
SOURCES = [
    "project.yml",
    "setup.cfg",
    "pyproject.toml",
    "spacy_birnn",
    "project/scripts",
    "project/sample",
    "project/configs",
    "project/demos",
]


def resolve(folder, path):
    """The path from the root of the repository of one that a project file names."""
    return PurePosixPath((ROOT / folder / path).resolve().relative_to(ROOT.resolve()).as_posix())


def is_within(path, places):
    return any(path == place or place in path.parents for place in map(PurePosixPath, places))


class Project:
    """The commands and workflows of a project file, with paths from the root of the repository."""

    def __init__(self, folder):
        config = load_project_config(ROOT / folder)
        validate_project_commands(config)
        self.workflows = config["workflows"]
        self.commands = {command["name"]: command for command in config["commands"]}
        for command in self.commands.values():
            command["folder"] = folder
            for key in ("deps", "outputs"):
                command[key] = [resolve(folder, path) for path in command[key]]
        self.outputs = {path for command in self.commands.values() for path in command["outputs"]}


@pytest.fixture(scope="module", params=[".", "project/demos"])
def project(request):
    return Project(request.param)


def test_commands_state_help_deps_and_outputs(project):
    for name, command in project.commands.items():
        assert command["help"] and command["deps"] and command["outputs"], name


def test_every_command_belongs_to_a_workflow(project):
    assert {name for steps in project.workflows.values() for name in steps} == set(project.commands)


def test_every_dependency_is_in_the_repository_or_made_before(project):
    for workflow in project.workflows.values():
        made = set()
        for name in workflow:
            for dep in project.commands[name]["deps"]:
                # What a workflow makes must not be there beforehand by chance
                assert dep in made or is_within(dep, SOURCES), (name, dep)
                assert dep in made or (ROOT / dep).exists(), (name, dep)
            made.update(project.commands[name]["outputs"])


def test_scripts_name_every_output_of_the_commands_before_that_they_read(project):
    """A command that reads a file without naming it would be skipped when the file changes."""
    for name, command in project.commands.items():
        known = {*command["deps"], *command["outputs"]}
        for word in " ".join(command["script"]).split():
            path = word.rpartition("=")[2]
            if "/" in path and "://" not in path and not path.endswith("/"):
                path = resolve(command["folder"], path)
                assert not is_within(path, project.outputs) or is_within(path, known), (name, word)


def test_no_command_writes_into_what_another_one_made(project):
    """A folder that grows later would have the commands that made and read it run again."""
    for command in project.commands.values():
        others = project.outputs - set(command["outputs"])
        assert not any(is_within(output, others) for output in command["outputs"])


def test_the_demonstrations_use_what_the_project_makes():
    """The same paths, so that nothing is fetched or made twice."""
    main, demos = Project("."), Project("project/demos")
    for demo, name in {"treebank-fetch": "ud-fetch", "corpus": "corpus"}.items():
        assert f"project run {name} ../.." in demos.commands[demo]["script"][0]
        assert demos.commands[demo]["outputs"] == main.commands[name]["outputs"]


def test_the_folder_of_the_package_has_the_wheel_of_the_plugin():
    """Without it pip cannot install the package: spacy-birnn is in no index."""
    package = Project(".").commands["package"]
    (wheel,) = [words for words in map(str.split, package["script"]) if "wheel" in words]
    assert "." in wheel and wheel[-1] == str(package["outputs"][0])
    assert {PurePosixPath("spacy_birnn"), PurePosixPath("setup.cfg")} <= set(package["deps"])
