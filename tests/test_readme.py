"""The README shows what the committed results say, and its commands exist."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from bench.cli import main
from compressors.chain import parse
from models.crnn import CrnnSpec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.S | re.M)


@pytest.fixture(scope="module")
def regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs" / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_of_the_tables_and_code_as_they_are(regenerate: ModuleType) -> None:
    drawn_from = json.loads((ROOT / "docs" / "figures" / "sources.json").read_text())
    assert drawn_from == regenerate.sources(), "run: python docs/regenerate.py"
    for kind in (*regenerate.KINDS, "ablation"):
        assert (regenerate.FIGURES / f"{kind}.png").stat().st_size > 5000


def test_the_tables_are_of_the_results_as_they_are(regenerate: ModuleType) -> None:
    for page, expected in regenerate.pages().items():
        assert page.read_text() == expected, "run: python docs/regenerate.py"


def test_the_first_blocks_install_and_run() -> None:
    assert "bench run --chain dq+sp+ad+kd" in BLOCKS[0]
    assert "pytest" in BLOCKS[1]


def commands() -> list[str]:
    lines = "".join(BLOCKS).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("bench ")]


def test_the_lines_of_python_run(tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, but for a folder, a keyword and recordings that exist, and one epoch."""
    (lines,) = re.findall(r"^```python\n(import bench\n.*?)^```", README, re.S | re.M)
    clip = next(tone_folder.glob("start/*.wav"))
    lines = lines.replace('"path/to/folder"', f'r"{tone_folder}", epochs=1, versions=1').replace(
        "happy", "start"
    )
    monkeypatch.chdir(tmp_path)
    exec(lines.replace('"clip.wav"', f'r"{clip}"').replace('"talk.wav"', f'r"{clip}"'), {})
    assert list((tmp_path / "firmware" / "kws").glob("*.c"))
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3


@pytest.mark.parametrize("line", commands())
def test_every_command_has_these_options(line: str) -> None:
    """Parsed by the command's own parser, without running it; chains by the chain's."""
    words = line.split("#")[0].split("|")[0].replace('"', "").split()[1:]
    command = main
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    help_text = CliRunner().invoke(command, ["--help"]).output
    for word in words:
        if word.startswith("--"):
            assert word in help_text, f"{word} in: {line}"
    # Chains of a plugin's compressors are run by the plugins' own tests.
    for chain in [] if "--plugin" in line else re.findall(r"--chain (\S+)", line):
        assert parse(chain, CrnnSpec()).parts or chain == "base"
