"""The house: arrows between packages, one file for what torch means to drop, files that can be read."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "models": {"models"},
    "compressors": {"compressors", "models"},
    "bench": {"bench", "compressors", "models"},
}
# The rooms of bench, from the ground up; nothing runs back up, and no room leans on another of its floor.
FLOORS = (
    ("files", "reading", "texts", "threads", "processes", "config", "device", "request", "presets"),
    ("cost", "quality"),
    ("results",),
    ("data", "comparing"),
    ("figures", "training", "plugins", "cache"),
    ("running",),
    ("studies",),
    ("terminal",),
    ("stream", "stress", "ship"),
    ("commands", "loaded"),
    ("cli", "api"),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & set(MAY_IMPORT)
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "bench").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_in_bench_runs_back_up(path: Path) -> None:
    room = path.relative_to(ROOT / "bench").with_suffix("").parts[0]
    if room == "__init__":
        return
    others = {name.split(".")[1] for name in imported(path) if name.startswith("bench.")} - {room}
    above = {other for other in others if FLOOR[other] and FLOOR[other] >= FLOOR[room]}
    assert not above


def test_what_torch_means_to_drop_is_imported_in_one_file() -> None:
    users = [path.name for path in FILES if any(name.startswith("torch.ao") for name in imported(path))]
    assert users == ["dynamic_quant.py"]


def test_torchaudio_is_imported_in_one_file() -> None:
    users = [path.name for path in FILES if "torchaudio" in {name.split(".")[0] for name in imported(path)}]
    assert users == []
    assert 'import_module("torchaudio")' in (ROOT / "bench" / "data" / "torchaudio_import.py").read_text()


def test_the_program_is_ended_in_one_file() -> None:
    """Commands raise click's Exit: a SystemExit that comes by is taken for that of a plugin."""
    users = [path.name for path in FILES if "sys.exit(" in path.read_text()]
    assert users == ["cli.py"]


def test_files_are_written_in_one_place() -> None:
    ways = r"os\.replace\(|mkstemp\(|\.write_(text|bytes)\(|open\(\"[wax]"
    users = [str(path.relative_to(ROOT)) for path in FILES if re.search(ways, path.read_text())]
    assert users == [
        "bench/data/corpora/base.py",  # inside a folder that is replaced as a whole
        "bench/data/corpora/download.py",  # goes on where it was cut off
        "bench/data/corpora/espeak.py",  # an engine's own copy of its data
        "bench/data/corpora/synthetic.py",  # logs
        "bench/files.py",
        "bench/ship/c_host.py",  # a name for the compiler
    ]


def test_every_test_file_is_named_after_the_file_it_tests() -> None:
    tests = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").glob("*/**/test_*.py")]
    c_sources = {"bench/ship/test_kws_frontend.py"}  # of bench/ship/c/kws_frontend.c
    tested = {path: ROOT / path.parent / path.name[5:] for path in tests}
    # A package is a file of its own name here.
    strange = [str(path) for path, of in tested.items() if not (of.exists() or of.with_suffix("").is_dir())]
    assert set(strange) <= c_sources


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or 0) - node.lineno - (documented or "").count("\n")
            assert lines <= 40, f"{node.name} has {lines} lines"
