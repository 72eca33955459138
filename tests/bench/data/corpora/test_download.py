"""Downloading, against a server on this machine that can do less than it should."""

from __future__ import annotations

import hashlib
import re
import resource
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench.data.corpora.download import download
from bench.files import NoRoomError
from models.errors import CorpusError

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any path but /absent, and notes what it was asked for.

    Attributes:
        ranges: Whether it knows the Range header.
        cuts: After how many bytes the next connections are cut, in turn.
        asked: The Range header of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = True
        self.cuts: list[int] = []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        """Where CONTENT is found."""
        return f"http://127.0.0.1:{self.server_address[1]}/archive.tar.gz"


class Handler(BaseHTTPRequestHandler):
    """Answers as its server is set to."""

    server: Server

    def do_GET(self) -> None:
        """Sends what is asked for, or the first part of it."""
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        start = int(found[1]) if found and self.server.ranges else 0
        if self.path == "/absent" or start >= len(CONTENT):
            self.send_error(404 if self.path == "/absent" else 416)
            return
        self.send_response(206 if found and self.server.ranges else 200)
        if found and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(CONTENT)
        self.wfile.write(CONTENT[start : start + cut])

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A place in a folder that does not exist yet."""
    return tmp_path / "downloads" / "archive.tar.gz"


def part_of(target: Path) -> Path:
    """Where what has come so far is kept."""
    return target.with_name("archive.tar.gz.part")


def fetch(url: str, target: Path, sha256: str = SHA256) -> Path:
    """``download`` without a progress bar."""
    return download(url, target, sha256=sha256, progress=False)


def test_a_file_is_fetched_once(server: Server, target: Path) -> None:
    assert fetch(server.url, target) == target
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    fetch(server.url, target)
    assert server.asked == [None]


def test_it_goes_on_where_an_earlier_call_stopped(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:300_000])
    fetch(server.url, target)
    assert server.asked == ["bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_it_starts_again_where_the_server_knows_no_ranges(server: Server, target: Path) -> None:
    server.ranges = False
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:300_000])
    fetch(server.url, target)
    assert server.asked == ["bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_a_lost_connection_is_taken_up_again(server: Server, target: Path) -> None:
    server.cuts = [250_000, 100_000]
    fetch(server.url, target)
    assert server.asked == [None, "bytes=250000-", "bytes=350000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_gives_nothing_is_left_with_the_part_kept(server: Server, target: Path) -> None:
    server.cuts = [250_000, 0, 0, 0]
    with pytest.raises(
        CorpusError, match=r"250,000 bytes are kept, run again.*archive.tar.gz by hand"
    ) as caught:
        fetch(server.url, target)
    assert "\n" not in str(caught.value)
    assert part_of(target).read_bytes() == CONTENT[:250_000]
    assert not target.exists()
    fetch(server.url, target)
    assert server.asked[-1] == "bytes=250000-"
    assert target.read_bytes() == CONTENT


def test_where_there_is_no_room_what_came_stays_and_is_gone_on_from(server: Server, target: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(
            NoRoomError, match=rf"{part_of(target)}: File too large; it needs {len(CONTENT):,} bytes"
        ):
            fetch(server.url, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    assert server.asked == [None], "it is no lost connection"
    fetch(server.url, target)
    assert server.asked == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Server, target: Path) -> None:
    with pytest.raises(CorpusError, match=f"sha256 {SHA256}, expected {'0' * 64}"):
        fetch(server.url, target, "0" * 64)
    assert not target.exists()
    assert not part_of(target).exists()


def test_the_part_of_another_file_ends_in_a_wrong_checksum(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(bytes(300_000))
    with pytest.raises(CorpusError, match="run again to fetch it anew"):
        fetch(server.url, target)
    assert not part_of(target).exists()
    assert fetch(server.url, target).read_bytes() == CONTENT


def test_a_complete_part_is_taken_without_asking(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert fetch(server.url, target).read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_that_is_too_long_is_fetched_anew(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"more")
    assert fetch(server.url, target).read_bytes() == CONTENT
    assert server.asked == ["bytes=700004-", None]


def test_a_file_put_there_by_hand_is_checked(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(CorpusError, match=f"{target} is not .*expected {SHA256}; remove it"):
        fetch(server.url, target)
    assert target.exists()
    assert server.asked == []


def test_without_a_server_it_says_where_to_put_the_file(target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/archive.tar.gz"
        with pytest.raises(
            CorpusError, match=f"cannot download {url}: .*put the file at {target} by hand"
        ) as caught:
            fetch(url, target)
    assert "\n" not in str(caught.value)


def test_a_file_that_the_server_does_not_have(server: Server, target: Path) -> None:
    with pytest.raises(CorpusError, match=f"404.*put the file at {target} by hand"):
        fetch(server.url.replace("archive.tar.gz", "absent"), target)


def test_progress_is_shown_on_standard_error(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(server.url, target, sha256=SHA256, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "archive.tar.gz" in shown.err
    assert "700.0/700.0 kB" in shown.err
