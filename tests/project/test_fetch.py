"""The fetch script: what it leaves behind is whole and right, or as it was."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fetch import fetch


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("one\n", encoding="utf8")
    return path


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_fetch_copies_and_then_skips(source, tmp_path):
    dest = tmp_path / "new" / "dest.txt"
    assert fetch(source.as_uri(), dest, md5=md5(source))
    assert dest.read_text(encoding="utf8") == "one\n"
    assert not fetch("file:///nowhere", dest, md5=md5(source))


def test_wrong_checksum_leaves_what_was_there(source, tmp_path):
    dest = tmp_path / "dest.txt"
    dest.write_text("before", encoding="utf8")
    with pytest.raises(ValueError, match="checksum"):
        fetch(source.as_uri(), dest, md5="0" * 32)
    assert dest.read_text(encoding="utf8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dest.txt", "source.txt"]


@pytest.mark.parametrize("url", ["file:///nowhere/at/all", "no-address", "http://a b/"])
def test_unreadable_address_is_named(tmp_path, url):
    with pytest.raises(OSError, match=url):
        fetch(url, tmp_path / "dest.txt")
    assert not list(tmp_path.iterdir())


class Truncating(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"ten bytes!")

    def log_message(self, *args):
        pass


def test_a_transfer_that_breaks_off_leaves_nothing(tmp_path):
    with HTTPServer(("127.0.0.1", 0), Truncating) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(OSError, match="10 of 1000 bytes"):
            fetch(f"http://127.0.0.1:{server.server_port}/file", tmp_path / "dest.txt")
    assert not list(tmp_path.iterdir())
