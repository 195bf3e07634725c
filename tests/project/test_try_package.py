"""What an installed package requires, and how large that is, against packages that are made up."""

import pytest
from try_package import requirements_of, size_of

PACKAGES = {
    "pipeline": ["plug_in<2", "Library>=1"],
    "plug-in": ["library[fast]", "torch; extra == 'train'", "windows; sys_platform == 'none'"],
    "library": ["codec; extra == 'fast'", "docs; extra == 'docs'", "pipeline"],
    **dict.fromkeys(("codec", "torch", "docs", "windows", "other"), []),
}


@pytest.fixture
def path(tmp_path):
    for name, required in PACKAGES.items():
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {r}" for r in required)]
        (info / "METADATA").write_text("\n".join(lines))
        (tmp_path / f"{name}.py").write_bytes(b"#" * 10)
        # One of them is no longer there
        (info / "RECORD").write_text(f"{name}.py,,\nremoved.py,,\n")
    return [str(tmp_path)]


def test_what_is_required_is_found_with_the_extras_that_are_asked_for(path):
    found = requirements_of("pipeline", {}, path)
    assert set(found) == {"pipeline", "plug-in", "library", "codec"}
    assert size_of(found) == 4 * 10
    larger = requirements_of("pipeline", {"plug-in": ["train"]}, path)
    assert set(larger) == {*found, "torch"}


def test_what_is_not_installed_has_no_size(path):
    assert requirements_of("nothing", {}, path) == {}
    assert size_of({}) == 0
