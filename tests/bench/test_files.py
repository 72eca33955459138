import errno
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import bench.files as subject
from bench.files import NoRoomError, replacing, temporary, write_atomically, write_text_atomically


def script(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "new \udcff")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    def make(number: int) -> None:
        with replacing(tmp_path / "folder", 0, folder=True) as made:
            (made / f"{number}").touch()
            if number == 2:
                raise ValueError("on the way")

    make(1)
    with pytest.raises(ValueError, match="on the way"):
        make(2)
    assert names(tmp_path / "folder") == ["1"]
    make(3)
    assert names(tmp_path / "folder") == ["3"]
    assert names(tmp_path) == ["folder"]


def test_a_limit_on_the_size_of_files_is_said_with_path_and_size(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from bench.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_atomically(Path(sys.argv[1]), b"new" * 10_000)
"""
    path = tmp_path / "there" / "file.txt"
    write_text_atomically(path, "old")
    done = subprocess.run(script(code, path), capture_output=True, text=True, check=False)
    assert f"NoRoomError: cannot write {path}: File too large; it needs 30,000 bytes" in done.stderr
    assert path.read_text() == "old"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_on_the_way_is_said_with_path_and_size(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "file", 12) as made:
            made.unlink()
            made.symlink_to("/dev/full")
            made.write_bytes(b"more than is")

    says = rf"{tmp_path}/file: No space left on device; it needs 12 bytes and [\d,]+ are free"
    with pytest.raises(NoRoomError, match=says):
        fill()
    assert names(tmp_path) == []


def test_nothing_is_begun_where_there_is_too_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.shutil, "disk_usage", lambda folder: SimpleNamespace(total=2000, free=999))
    with pytest.raises(NoRoomError, match=r"it needs 1,000 bytes and 999 are free there; make room"):
        write_atomically(tmp_path / "file", bytes(1000))
    assert names(tmp_path) == []
    write_atomically(tmp_path / "file", bytes(999))
    # A file system that does not say how large it is.
    monkeypatch.setattr(subject.shutil, "disk_usage", lambda folder: SimpleNamespace(total=0, free=0))
    write_atomically(tmp_path / "other", bytes(1000))


def test_a_place_that_cannot_be_written_is_named_and_not_the_scratch_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught:
        write_text_atomically(tmp_path / "file" / "below", "text")
    assert caught.value.filename == str(tmp_path / "file")
    (tmp_path / "sealed").mkdir()

    def refused(*_: object) -> str:
        raise PermissionError(
            errno.EACCES, "Permission denied", str(tmp_path / "sealed" / ".kws-bench-x.tmp")
        )

    monkeypatch.setattr(subject.tempfile, "mkstemp", refused)
    with pytest.raises(PermissionError) as caught_too:
        write_text_atomically(tmp_path / "sealed" / "below", "text")
    assert caught_too.value.filename == str(tmp_path / "sealed" / "below")


HALF = """
import sys, time
from pathlib import Path
from bench.files import replacing
with replacing(Path(sys.argv[1]), 0) as made:
    made.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_killed_writers_left_goes_with_the_next_write_and_what_others_write_stays(
    tmp_path: Path,
) -> None:
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(script(HALF, tmp_path / "killed"), **how) as killed,  # type: ignore[call-overload]
        subprocess.Popen(script(HALF, tmp_path / "alive"), **how) as alive,  # type: ignore[call-overload]
    ):
        assert killed.stdout.readline() == alive.stdout.readline() == b"ready\n"
        killed.kill()
        killed.wait()
        assert len(names(tmp_path)) == 2
        write_text_atomically(tmp_path / "next", "text")
        assert len(names(tmp_path)) == 2, "the file, and the scratch of the one that is alive"
        alive.communicate()
    assert (tmp_path / "alive").read_text() == "half"
    assert names(tmp_path) == ["alive", "next"]


def test_leaving_from_a_thread_removes_what_is_half_made(tmp_path: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
from bench.files import leave, replacing, temporary
with temporary(Path(sys.argv[1]), folder=True), replacing(Path(sys.argv[1]) / "a" / "file", 0) as made:
    made.write_text("half")
    threading.Thread(target=leave, args=(3,)).start()
    while True: pass
"""
    assert subprocess.run(script(code, tmp_path), timeout=60, check=False).returncode == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.parametrize("folder", [False, True])
def test_many_threads_of_one_process_do_not_take_each_other_for_dead(folder: bool, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                with replacing(tmp_path / f"{number}", 0, folder=folder) as made:
                    (made / "inside" if folder else made).write_text(f"{number}" * 1000)
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    found = {path.name: (path / "inside" if folder else path).read_text() for path in tmp_path.iterdir()}
    assert found == {name: name * 1000 for name in "0123"}


def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []

    def late(handle: int, how: int) -> None:
        locked.append(handle)
        if len(locked) == 1:
            for path in tmp_path.iterdir():
                path.unlink()

    monkeypatch.setattr(subject.fcntl, "flock", late)
    write_text_atomically(tmp_path / "file", "text")
    assert len(locked) == 2
    assert (tmp_path / "file").read_text() == "text"
    assert names(tmp_path) == ["file"]


def test_a_temporary_folder_is_gone_after_an_interrupt(tmp_path: Path) -> None:
    def interrupted() -> None:
        with temporary(tmp_path, folder=True) as folder:
            (folder / "inside").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


FILLING = """
import os, sys
from pathlib import Path
from bench.files import temporary
from bench.processes import leave_when
leave_when(lambda: os.read(0, 1))
with temporary(Path(sys.argv[1]), folder=True) as folder:
    for number in range(10**9):
        if number == 3000:
            print(flush=True)
        (folder / str(number)).touch()
"""


def test_a_folder_that_is_being_filled_does_not_outlive_its_process(tmp_path: Path) -> None:
    """Its thousands of files take longer to remove than their writer takes to make another one."""
    command = [sys.executable, "-c", FILLING, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdin.close()
        assert worker.wait() == 1
    assert not list(tmp_path.iterdir())
