import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures.rows import converters
from bench.records import load_results
from bench.runs import RunFolder
from compressors.chain import Chain
from models.crnn import CrnnSpec
from models.registry import build

EXAMPLES = Path(__file__).parents[2] / "examples"


def bench(*arguments: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own, so that what plugins register goes with it."""
    set_path = f"import sys; sys.path.insert(0, {str(path)!r}); " if path else ""
    code = f"{set_path}from bench.cli import main; main(prog_name='bench')"
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_three_examples_work_together(tmp_path: Path) -> None:
    plugins = [part for path in sorted(EXAMPLES.glob("*.py")) for part in ("--plugin", path)]
    options = ["--chain", "hf", "--model", "gru", "--data", "tones", "--keyword", "high", "--epochs", "1"]
    done = bench("run", *plugins, *options, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    table = load_results(tmp_path / "results.csv").set_index("label")
    assert table.index.tolist() == ["B", "HF+B"]
    assert table.loc["HF+B", "size_ratio"] == pytest.approx(2, rel=0.5)
    assert set(table["model"]) == {"gru"}
    assert converters(table.reset_index()).tolist() == ["", "hf"]
    assert (tmp_path / "figures" / "quantization.png").exists()


def test_the_form_of_a_plugin_is_not_taken_for_dynamic_quantization(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path / "hf-0123"), build(CrnnSpec(channels=2, hidden=5)).eval()
    run.path.mkdir()
    run.save_config("crnn", Chain((), "hf+kd:channels=2,hidden=5"), model.spec, {})
    run.save_model(model, model)
    plugin = ("--plugin", EXAMPLES / "compressor_half.py")
    onnx = bench("export", *plugin, run.path, "--format", "onnx")
    assert onnx.returncode == 2
    says = "ships in a form that ONNX files have no weights for; export a run of kd:channels=2,hidden=5"
    assert onnx.stderr == f"bench: hf-0123 {says}\n"
    code = bench("export", *plugin, run.path, "--format", "c")
    assert code.returncode == 2
    assert "run --chain sq+kd:channels=2,hidden=5 or --chain qat+kd:channels=2,hidden=5 first" in code.stderr
    assert bench("latency", *plugin, run.path, "--rounds", "3").returncode == 0
    assert "dq" not in (run.path / "latency.csv").read_text()


def test_a_model_without_attention_is_refused_by_name() -> None:
    done = bench("run", "--plugin", EXAMPLES / "model_gru.py", "--model", "gru", "--chain", "ad+kd:hidden=8")
    assert done.returncode == 2
    assert "ad: this model has no attention to learn from; kd works without" in done.stderr


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("kd", "the student is the base itself"),
        ("kd:channels=2", "this model has no 'channels'; it has: hidden"),
    ],
)
def test_students_of_another_family_are_asked_for(chain: str, says: str) -> None:
    done = bench("run", "--plugin", EXAMPLES / "model_gru.py", "--model", "gru", "--chain", chain)
    assert done.returncode == 2
    assert says in done.stderr


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert path.read_text().count("\n") < 40, path


def test_list_shows_where_each_comes_from() -> None:
    done = bench("list", "--plugin", EXAMPLES / "compressor_half.py")
    line = next(line for line in done.stdout.splitlines() if line.startswith("  hf"))
    assert str(EXAMPLES / "compressor_half.py") in line
    assert "(built in)" in next(line for line in done.stdout.splitlines() if line.startswith("  kd"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_plugin_that_fails_names_itself_and_the_rest_works(text: str, says: str, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(text)
    done = bench("list", "--plugin", plugin, "--plugin", EXAMPLES / "model_gru.py")
    assert done.returncode == 0
    assert f"bench: plugin {plugin} cannot be imported: " in done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "  gru " in done.stdout


def test_installed_plugins_are_found_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "their_plugin.py").write_text((EXAMPLES / "compressor_half.py").read_text())
    info = tmp_path / "their_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kws_bench.compressors]\nhf = their_plugin:HalfPrecision\n[kws_bench.models]\nx = not_there\n"
    )
    done = bench("list", path=tmp_path)
    line = next(line for line in done.stdout.splitlines() if line.startswith("  hf"))
    assert "their-plugin (kws_bench.compressors: hf)" in line
    assert "kws_bench.models: x of their-plugin cannot be imported: ModuleNotFoundError" in done.stderr
