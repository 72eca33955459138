import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import listen

# A parent that hands its work to two processes, each of which writes large files as fast as it can.
PARENT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.files import write_atomically
from bench.processes import Line, begin_work

def work(path):
    while True:
        for byte in (b"a", b"b"):
            write_atomically(path, byte * 20_000_000)

if __name__ == "__main__":
    context = get_context("spawn")
    line = Line(context.Pipe(duplex=False)[1], context.Lock())
    with ProcessPoolExecutor(2, context, initializer=begin_work, initargs=(line,)) as pool:
        for name in ("one", "two"):
            pool.submit(work, Path(sys.argv[1]) / name)
"""


@pytest.mark.parametrize("trial", range(4))
def test_workers_end_with_their_parent_and_leave_whole_files(
    trial: int, tmp_path: Path, gone: Callable[..., bool]
) -> None:
    script, out = tmp_path / "parent.py", tmp_path / "out"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    with subprocess.Popen([sys.executable, script, out], start_new_session=True, env=environment) as parent:
        while not ((out / "one").exists() and (out / "two").exists()):
            assert parent.poll() is None
        # Somewhere in the middle of writing, at another point each time.
        for _ in range(trial * 20):
            list(out.iterdir())
        parent.kill()
        assert gone(parent.pid, within_s=2)
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]
    for path in out.iterdir():
        content = path.read_bytes()
        assert len(content) == 20_000_000
        assert content.count(content[0]) == 20_000_000


class Heard:
    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def said(self, text: str, number: int) -> None:
        self.lines.append((text, number))


def test_listening_ends_when_the_last_worker_is_gone_even_in_the_middle_of_a_message() -> None:
    end, workers_end = multiprocessing.Pipe(duplex=False)
    workers_end.send(("said", ("one", 1)))
    workers_end.send(("said", ("two", 2)))
    os.write(workers_end.fileno(), (1000).to_bytes(4, "big") + b"cut")
    workers_end.close()
    heard = Heard()
    listen(end, heard)
    assert heard.lines == [("one", 1), ("two", 2)]


def test_where_the_receiver_fails_workers_do_not_wait_for_ever() -> None:
    end, workers_end = multiprocessing.Pipe(duplex=False)
    workers_end.send(("unheard_of", ()))
    with pytest.raises(AttributeError):
        listen(end, Heard())
    with pytest.raises(BrokenPipeError):
        workers_end.send(("said", ("one", 1)))
    workers_end.close()
