"""Fetch a file and check it: https:// or file://, MD5 before it takes its place."""

import hashlib
import os
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import typer
from wasabi import msg


def fetch(url: str, dest: Path, *, md5: str = "") -> bool:
    """Fetch `url` to `dest`. What is there and has the right checksum is not fetched again.

    url (str): The address, https:// or file://.
    dest (Path): Where the file goes; its folder is made.
    md5 (str): The expected checksum. Empty: not checked.
    RETURNS (bool): Whether anything was fetched.
    RAISES (ValueError): If the checksum differs; `dest` is then as it was.
    RAISES (OSError): If the address cannot be read.
    """
    if dest.exists() and md5 and hashlib.md5(dest.read_bytes()).hexdigest() == md5:
        return False
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = dest.with_name(dest.name + ".part")
    try:
        try:
            with urlopen(url, timeout=60) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
                announced = source.headers["Content-Length"]
            if announced and part.stat().st_size != int(announced):
                raise ValueError(f"it ended after {part.stat().st_size} of {announced} bytes")
        except (HTTPException, URLError, ValueError) as e:
            raise OSError(
                f"Can't read {url}: {e}. Give another address with --vars, for instance one that "
                "starts with file://."
            ) from e
        found = hashlib.md5(part.read_bytes()).hexdigest()
        if md5 and found != md5:
            raise ValueError(f"{url} has the MD5 checksum {found}, but {md5} was expected.")
        os.replace(part, dest)
    finally:
        part.unlink(missing_ok=True)
    return True


def main(url: str, dest: Path, md5: str = typer.Option("", help="Expected checksum")) -> None:
    """Fetch a file and check it."""
    try:
        fetched = fetch(url, dest, md5=md5)
    except (OSError, ValueError) as e:
        msg.fail(str(e), exits=1)
    msg.good(f"{'Fetched' if fetched else 'Already there'}: {dest}")


if __name__ == "__main__":
    typer.run(main)
