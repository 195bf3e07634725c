"""project.yml: commands say what they do, need and make, and the workflows hang together."""

from pathlib import Path

import pytest
from weasel.cli.run import load_project_config
from weasel.util.validation import validate_project_commands

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def project():
    return load_project_config(ROOT)


def test_commands_state_help_deps_and_outputs(project):
    validate_project_commands(project)
    for command in project["commands"]:
        assert command["help"] and command["deps"] and command["outputs"], command["name"]


def test_every_dependency_is_in_the_repository_or_made_before(project):
    commands = {command["name"]: command for command in project["commands"]}
    for workflow in project["workflows"].values():
        made = set()
        for name in workflow:
            for dep in commands[name]["deps"]:
                assert dep in made or (ROOT / dep).exists(), (name, dep)
                # What a workflow makes must not be there beforehand by chance
                assert dep in made or dep.split("/")[1] in ("scripts", "sample", "configs")
            made.update(commands[name]["outputs"])


def test_scripts_use_every_output_of_the_commands_before(project):
    """A command that reads a file without naming it would be skipped when the file changes."""
    outputs = {output for command in project["commands"] for output in command["outputs"]}
    for command in project["commands"]:
        words = " ".join(command["script"]).split()
        read = {word for word in words if word in outputs} - set(command["outputs"])
        assert read <= set(command["deps"]), command["name"]
