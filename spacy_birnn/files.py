"""Files that are written as a whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Iterator


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say which file it is that can't be written where the system doesn't, as on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside a file, which is put in its place if all goes well. There is either
    the old file or the new one, also after a power cut. Its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    try:
        with naming(path):
            yield new
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def replacing_files(path: Path) -> Iterator[Path]:
    """A directory to write to beside another one, whose files are put in the place of those there
    if all goes well. Others that are there stay."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name:
        new = Path(name)
        yield new
        for file in (found for found in new.rglob("*") if found.is_file()):
            place = path / file.relative_to(new)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
