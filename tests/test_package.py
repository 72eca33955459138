"""What is shipped: built from a clean copy of the tree, installed and run where no checkout is."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "compressors", "models")
pytestmark = pytest.mark.slow


def version() -> str:
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg")
    return read["metadata"]["version"]


def ran(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """The output of a program that sees nothing of the checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY"))}
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, less what git ignores."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split("\n") if line[:1] != "#"]
    target = tmp_path_factory.mktemp("package") / "tree"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", *filter(None, ignored)))
    return target


def build(tree: Path, name: str, *kinds: str) -> Path:
    """The folder of what the tools of this environment build, in a copy of the tree."""
    copy = shutil.copytree(tree, tree.with_name(name))
    ran(sys.executable, "-m", "build", "--no-isolation", *kinds, cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    """A wheel lies beside it, which was built from it, and not from the tree."""
    return build(tree, "both") / f"kws_bench-{version()}.tar.gz"


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    (built,) = sdist.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def outside(tree: Path, wheel: Path) -> Path:
    """An empty folder with, beside it, a new environment: our wheel, and the libraries that are here."""
    python = tree.parent / "venv" / "bin" / "python"
    ran(sys.executable, "-m", "venv", "--without-pip", python.parents[1], cwd=tree.parent)
    install = ("install", "--no-deps", "--no-index", wheel)
    ran(sys.executable, "-m", "pip", "--python", python, *install, cwd=tree.parent)
    # Folders named in a .pth file are searched, but the .pth files in them, of a checkout, are not followed.
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    folder = tree.parent / "empty"
    folder.mkdir()
    return folder


def bench(outside: Path, *words: str | Path, status: int = 0) -> str:
    return ran(outside.parent / "venv" / "bin" / "bench", *words, cwd=outside, status=status)


def test_the_sdist_is_the_tree(tree: Path, sdist: Path) -> None:
    exported = files(tree)
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert exported <= held
    assert {name.split("/")[0] for name in held - exported} == {"PKG-INFO", "kws_bench.egg-info"}


def test_the_wheel_holds_the_packages_whole_and_nothing_else(tree: Path, wheel: Path) -> None:
    information = f"kws_bench-{version()}.dist-info"
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in files(tree) if name.split("/")[0] in PACKAGES} == {
        name for name in held if not name.startswith(information)
    }
    assert f"{information}/licenses/LICENSE" in held
    assert {f"{package}/py.typed" for package in PACKAGES} | {"bench/presets/kws-hw.toml"} <= held
    assert "bench/ship/c/kws_frontend.c" in held


def test_the_sdist_builds_the_wheel_of_the_tree(tree: Path, wheel: Path) -> None:
    (of_tree,) = build(tree, "direct", "--wheel").iterdir()
    ours, theirs = zipfile.ZipFile(of_tree), zipfile.ZipFile(wheel)
    assert {each.filename: each.CRC for each in ours.infolist()} == {
        each.filename: each.CRC for each in theirs.infolist()
    }


def test_the_changelog_begins_with_this_version() -> None:
    newest = re.search(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] == version()


def test_what_runs_is_what_was_installed(outside: Path) -> None:
    asked = "import bench, importlib.metadata as m; print(bench.__file__, m.version('kws-bench'))"
    python = outside.parent / "venv" / "bin" / "python"
    found, installed = ran(python, "-c", asked, cwd=outside).split()
    assert Path(found).is_relative_to(outside.parent / "venv")
    assert installed == version()


def test_the_first_commands(outside: Path) -> None:
    assert "Usage: bench" in bench(outside, "--help")
    listed = bench(outside, "list")
    for name in ("crnn", "bc-resnet", "qat", "speech-commands", "kws-hw"):
        assert name in listed


def test_trains_and_ships_from_an_empty_folder(outside: Path, tone_folder: Path) -> None:
    words = ("--chain", "sq+kd", "--epochs", "1", "--keyword", "start", "--data", tone_folder)
    bench(outside, "run", *words)
    table = (outside / "out" / "results.csv").read_text()
    (run,) = (path for path in (outside / "out" / "runs").iterdir() if (path / "model.kws").exists())
    assert run.name in table
    bench(outside, "export", run, "--format", "c", "--out", "firmware")
    shipped = files(outside / "firmware")
    assert {"kws_model.c", "kws_frontend.c"} <= {name.split("/")[-1] for name in shipped}


def test_types_are_seen_from_outside(outside: Path) -> None:
    """A program that names a wrong type is told so; without py.typed mypy would know no types at all."""
    (outside / "program.py").write_text(
        "import bench.texts\n"
        "import compressors.chain\n"
        "from models.task import KeywordTask\n"
        "reveal_type(KeywordTask('start').text)\n"
        "KeywordTask(3)\n"
    )
    python = outside.parent / "venv" / "bin" / "python"
    mypy = ("-m", "mypy", "--strict", "--python-executable", python, "program.py")
    said = ran(sys.executable, *mypy, cwd=outside, status=1)
    assert re.findall(r"program\.py:(\d+): (\w+): (.*?)(?:  \[.*)?$", said, re.M) == [
        ("4", "note", 'Revealed type is "str"'),
        ("5", "error", 'Argument 1 to "KeywordTask" has incompatible type "int"; expected "str"'),
    ]
