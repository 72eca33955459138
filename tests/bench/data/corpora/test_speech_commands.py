"""Speech Commands out of a small archive in the layout of the real ones."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.corpora.base import Corpus
from bench.data.corpora.speech_commands import RELEASES, Release, speech_commands_corpus
from models.errors import CorpusError

WORDS = {"v0.01": ("bed", "sheila"), "v0.02": ("bed", "visual")}
SPEAKERS = ("eb67fcbc", "f953e1af", "3bc21161")
OFFLINE = "http://127.0.0.1:9"


class Quiet(SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def members(version: str) -> dict[str, bytes]:
    """What an archive holds, by path; the lists do not follow the hashing rule, so they must be read."""
    files = {"LICENSE": b"CC BY 4.0", "README.md": b"about"}
    for seed, word in enumerate(WORDS[version]):
        for speaker in SPEAKERS:
            files[f"{word}/{speaker}_nohash_0.wav"] = wav(16_000 - 100 * seed)
    files["_background_noise_/pink_noise.wav"] = wav(40_000)
    for name, speaker in (("validation_list.txt", SPEAKERS[0]), ("testing_list.txt", SPEAKERS[1])):
        files[name] = "".join(f"{word}/{speaker}_nohash_0.wav\n" for word in WORDS[version]).encode()
    return files


def wav(length: int) -> bytes:
    """A file of noise."""
    file = io.BytesIO()
    samples = np.random.default_rng(length).integers(-3_000, 3_000, length, dtype=np.int16)
    soundfile.write(file, samples, 16_000, format="WAV")
    return file.getvalue()


def extract_to(folder: Path, version: str) -> Path:
    """The archive's files, as somebody had extracted them."""
    for name, content in members(version).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archive(version: str, names: Mapping[str, bytes] | None = None) -> bytes:
    """A tar.gz whose paths start with ``./``, as the real ones do."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (names or members(version)).items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def releases(base_url: str, archives: Mapping[str, bytes]) -> dict[str, Release]:
    """Releases of the given archives below a URL."""
    return {
        version: Release(
            version,
            f"{base_url}/speech_commands_{version}.tar.gz",
            hashlib.sha256(content).hexdigest(),
        )
        for version, content in archives.items()
    }


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[dict[str, Release]]:
    """Both releases on a running server."""
    archives = {version: archive(version) for version in WORDS}
    folder = tmp_path / "served"
    folder.mkdir()
    for version, content in archives.items():
        (folder / f"speech_commands_{version}.tar.gz").write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield releases(f"http://127.0.0.1:{server.server_address[1]}", archives)
        server.shutdown()
        thread.join()


def check(corpus: Corpus, version: str) -> None:
    """The corpus holds the clips of an archive in its official splits."""
    assert corpus.name == f"speech-commands-{version}"
    assert corpus.words == list(WORDS[version])
    assert len(corpus.clips) == 6
    assert corpus.noise.shape == (40_000,)
    for split, speaker in zip(("validation", "test", "train"), SPEAKERS, strict=True):
        assert corpus.clips["speaker"][corpus.indices(split)].tolist() == [speaker] * 2


@pytest.mark.parametrize("version", ["v0.01", "v0.02"])
def test_an_archive_is_downloaded_extracted_and_found_again(
    served: dict[str, Release], cache: Path, version: str
) -> None:
    corpus = speech_commands_corpus(version, releases=served, progress=False)
    check(corpus, version)
    downloads = cache / "downloads"
    assert [entry.name for entry in downloads.iterdir() if entry.is_dir()] == [f"speech_commands_{version}"]
    assert not list(downloads.glob("*.tar.gz"))
    offline = {version: Release(version, f"{OFFLINE}/archive", served[version].sha256)}
    assert speech_commands_corpus(version, releases=offline, progress=False).hash == corpus.hash


@pytest.mark.parametrize("inner", [".", "speech_commands_v0.01", "SpeechCommands/speech_commands_v0.01"])
def test_an_extracted_archive_is_used_where_it_is(tmp_path: Path, cache: Path, inner: str) -> None:
    extract_to(tmp_path / "root" / inner, "v0.01")
    check(speech_commands_corpus(root=tmp_path / "root", progress=False), "v0.01")
    assert not (cache / "downloads").exists()


def test_a_root_without_it_is_passed_over(served: dict[str, Release], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    check(speech_commands_corpus(root=tmp_path / "root", releases=served, progress=False), "v0.01")


@pytest.mark.parametrize(("held", "asked"), [("v0.01", "v0.02"), ("v0.02", "v0.01")])
def test_a_root_with_the_other_version_is_refused(tmp_path: Path, held: str, asked: str) -> None:
    extract_to(tmp_path / "root", held)
    with pytest.raises(CorpusError, match=f"holds Speech Commands {held}, not {asked}"):
        speech_commands_corpus(asked, root=tmp_path / "root", progress=False)


def test_unknown_versions_and_absent_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no Speech Commands 'v3'; there are: v0.01, v0.02"):
        speech_commands_corpus("v3", progress=False)
    with pytest.raises(CorpusError, match=r"no folder .*absent"):
        speech_commands_corpus(root=tmp_path / "absent", progress=False)


def test_an_archive_put_there_by_hand_is_extracted(cache: Path) -> None:
    content = archive("v0.01")
    with pytest.raises(CorpusError, match=r"by hand") as caught:
        speech_commands_corpus(releases=releases(OFFLINE, {"v0.01": content}), progress=False)
    place = cache / "downloads" / "speech_commands_v0.01.tar.gz"
    assert f"put the file at {place} by hand" in str(caught.value)
    place.write_bytes(content)
    check(speech_commands_corpus(releases=releases(OFFLINE, {"v0.01": content}), progress=False), "v0.01")


def test_an_extraction_that_was_killed_starts_clean(served: dict[str, Release], cache: Path) -> None:
    leftover = cache / "downloads" / ".kws-bench-abcdef.tmp"
    extract_to(leftover, "v0.01")
    check(speech_commands_corpus(releases=served, progress=False), "v0.01")
    assert not leftover.exists()


def test_paths_that_lead_out_of_the_archive_are_refused(cache: Path) -> None:
    content = archive("v0.01", {**members("v0.01"), "../../outside.txt": b"out"})
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "speech_commands_v0.01.tar.gz").write_bytes(content)
    with pytest.raises(tarfile.OutsideDestinationError):
        speech_commands_corpus(releases=releases(OFFLINE, {"v0.01": content}), progress=False)
    assert not (cache / "downloads" / "speech_commands_v0.01").exists()
    assert not list(cache.rglob("outside.txt"))


def test_the_published_archives() -> None:
    urls = {version: release.url for version, release in RELEASES.items()}
    base = "http://download.tensorflow.org/data"
    assert urls == {version: f"{base}/speech_commands_{version}.tar.gz" for version in ("v0.01", "v0.02")}
    assert RELEASES["v0.01"].sha256.startswith("743935421bb5")
    assert RELEASES["v0.02"].sha256.startswith("af14739ee7dc")
