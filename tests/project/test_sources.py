import pytest
from sources import Source, parse_source, write_docs


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a@b.conll"
    path.touch()
    return path


@pytest.mark.parametrize(
    "part,bounds,taken",
    [
        ("", (None, None), "abcde"),
        ("@:2", (None, 2), "ab"),
        ("@2:", (2, None), "cde"),
        ("@-2:", (-2, None), "de"),
        ("@1:-1", (1, -1), "bcd"),
    ],
)
def test_parts_of_a_file(file, part, bounds, taken):
    source = parse_source(f"{file}{part}")
    assert source == Source(file, *bounds)
    assert source.take("abcde") == taken


@pytest.mark.parametrize("part", ["@", "@3", "@a:b", "@1:2:3", ".other"])
def test_no_such_file(file, part):
    with pytest.raises(ValueError, match="There is no file"):
        parse_source(f"{file}{part}")


def test_a_part_without_sentences(file):
    with pytest.raises(ValueError, match="sentences 5 to None of 5 are none"):
        parse_source(f"{file}@5:").take("abcde")


def test_an_input_is_not_overwritten(file):
    """Where the output is forgotten the last input stands in its place."""
    with pytest.raises(ValueError, match=r"must end in \.spacy"):
        write_docs([], file)
