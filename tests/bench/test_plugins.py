import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.figures.rows import converters
from bench.results.runs import RunFolder
from bench.results.table import load_results
from compressors.chain import Chain
from compressors.surgery import narrow
from examples.operation_prelu import PreluSpec
from models.crnn import CrnnSpec
from models.registry import build
from models.shipped import shipped
from models.task import KeywordTask

EXAMPLES = Path(__file__).parents[2] / "examples"
HALF = EXAMPLES / "compressor_half.py"
MATCHBOX = ("--plugin", EXAMPLES / "model_matchbox.py", "--model", "matchbox")


def command(*arguments: str | Path, path: Path | None = None) -> list[str]:
    set_path = f"import sys; sys.path.insert(0, {str(path)!r}); " if path else ""
    code = f"{set_path}from bench.cli import main; main(prog_name='bench')"
    return [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]


def bench(*arguments: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own, so that what plugins register goes with it."""
    return subprocess.run(command(*arguments, path=path), capture_output=True, text=True, check=False)


def test_the_examples_work_together(tmp_path: Path) -> None:
    plugins = [part for path in sorted(EXAMPLES.glob("*.py")) for part in ("--plugin", path)]
    options = ["--chain", "hf", "--data", "tones", "--keyword", "high", "--epochs", "1"]
    done = bench("run", *plugins, *MATCHBOX[2:], *options, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    table = load_results(tmp_path / "results.csv").set_index("label")
    assert table.index.tolist() == ["B", "HF+B"]
    assert table.loc["HF+B", "size_ratio"] == pytest.approx(2, rel=0.5)
    assert set(table["model"]) == {"matchbox"}
    assert converters(table.reset_index()).tolist() == ["", "hf"]
    assert (tmp_path / "figures" / "quantization.png").exists()
    # The keyword's clips of few speakers, half of which one epoch may well miss.
    worst = table[[f"worst_word{end}" for end in ("_low", "", "_high")]]
    assert (worst.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert table["validation_worst_word_high"].notna().all()


def test_a_task_of_a_plugin_is_run_by_its_name(tmp_path: Path) -> None:
    plugins = [
        part for name in ("task_high_low", "corpus_tones") for part in ("--plugin", EXAMPLES / f"{name}.py")
    ]
    listed = bench("list", "tasks", *plugins)
    assert "  high-low  3 classes, clips of 0.8 s" in listed.stdout, listed.stderr
    options = ["--chain", "base", "--data", "tones", "--task", "high-low", "--epochs", "1", "--versions", "1"]
    done = bench("run", *plugins, *options, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = load_results(tmp_path / "results.csv").to_dict("records")
    assert (row["task"], row["clip_s"], row["mels"]) == ("high-low", 0.8, 20)
    assert {"accuracy", "frr_at_far_1pct_high_", "frr_at_far_1pct_low_"} <= set(row)
    run = tmp_path / "runs" / row["run_id"]
    heard = bench("stream", *plugins, run, "test", "--out", tmp_path)
    assert heard.returncode == 0, heard.stderr


def test_a_corpus_of_a_plugin_is_told_how_long_its_clips_are(tmp_path: Path) -> None:
    tones = ("--plugin", EXAMPLES / "corpus_tones.py", "tones", "--clip-s", "1.5")
    done = bench("data", "info", *tones)
    assert "clips of 1.5 s" in done.stdout, done.stderr
    deaf = tmp_path / "deaf.py"
    deaf.write_text((EXAMPLES / "corpus_tones.py").read_text().replace("task.clip_samples if task else ", ""))
    refused = bench("data", "info", "--plugin", deaf, *tones[2:])
    assert refused.returncode == 2
    assert "the corpus 'tones' has clips of 1 s only; give --clip-s 1, or other data" in refused.stderr


def test_the_form_of_a_plugin_is_not_taken_for_dynamic_quantization(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path / "hf-0123"), build(CrnnSpec(channels=2, hidden=5)).eval()
    run.path.mkdir()
    run.save_config("crnn", Chain((), "hf+kd:channels=2,hidden=5"), model.spec, {"keyword": "start"})
    run.save_model(model, shipped(model, converted=False, task=KeywordTask()))
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
    done = bench("run", *MATCHBOX, "--chain", "ad")
    assert done.returncode == 2
    assert done.stderr == "bench: ad: matchbox has no attention over time to learn from; fd works without\n"


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("kd", "nothing gets smaller; its sizes are widths=64x32x32x32x64; give"),
        ("kd:channels=2", "kd: cannot read option 'channels=2'; its options: widths=, alpha=, temperature="),
    ],
)
def test_students_of_another_family_are_asked_for(chain: str, says: str) -> None:
    done = bench("run", *MATCHBOX, "--chain", chain)
    assert done.returncode == 2
    assert says in done.stderr


def test_an_operation_from_outside_is_cut_and_streamed() -> None:
    """The slopes of the channels that stay, and a frame after each window of nine."""
    model = build(PreluSpec(channels=3)).eval()
    small = narrow(model, {"conv": torch.tensor([0, 2])})
    assert torch.equal(small.state_dict()["act.weight"], model.state_dict()["act.weight"][[0, 2]])
    with torch.no_grad():
        logits, _ = small.stream(torch.randn(1, 40, 20), small.init_state(1))
    assert logits.shape == (1, 20 - 8, 2)


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert path.read_text().count("\n") < 40, path


def test_list_shows_where_each_comes_from() -> None:
    done = bench("list", "--plugin", EXAMPLES / "compressor_half.py")
    line = next(line for line in done.stdout.splitlines() if line.startswith("  hf"))
    assert str(EXAMPLES / "compressor_half.py") in line
    assert "(built in)" in next(line for line in done.stdout.splitlines() if line.startswith("  kd"))


REGISTER = {
    kind: f"from {module} import register\n"
    for kind, module in (
        ("model", "models.registry"),
        ("compressor", "compressors.registry"),
        ("corpus", "bench.data.corpora"),
        ("measure", "bench.quality.measures"),
    )
}
# What cannot be imported, and what is said of it.
FAILING = (
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("def broken(:", "SyntaxError"),
    ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ("import sys; sys.exit(0)", "SystemExit: 0"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
    (REGISTER["corpus"] + "@register\ndef tones(): ...", "a corpus needs a name, as in @register("),
    (
        REGISTER["corpus"] + "register('tones')(3)",
        "tones: 3 must be a function (task, progress) -> Corpus",
    ),
    (REGISTER["corpus"] + "register('synthetic')(min)", "a corpus 'synthetic' is already registered, by "),
    (REGISTER["measure"] + "register(3)", "3 must be a class that derives from Measure"),
    (REGISTER["model"] + "register('gru2', 3)(3)", "gru2: 3 must be an instance of a class"),
    (REGISTER["compressor"] + "register(lambda: 3)", "<lambda> must be a class that derives from Compressor"),
    (
        REGISTER["compressor"] + "from compressors.base import Compressor\n"
        "@register\nclass Bare(Compressor):\n    token = 'bare'",
        "Bare must be a frozen dataclass: put @dataclass(frozen=True) right above the class",
    ),
)


def test_plugins_that_fail_name_themselves_and_the_rest_works(tmp_path: Path) -> None:
    plugins = [tmp_path / f"broken{number}.py" for number in range(len(FAILING))]
    for plugin, (text, _) in zip(plugins, FAILING, strict=True):
        plugin.write_text(text)
    given = [part for plugin in (*plugins, EXAMPLES / "model_matchbox.py") for part in ("--plugin", plugin)]
    done = bench("list", *given)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    for line, plugin, (_, says) in zip(lines, plugins, FAILING, strict=True):
        assert line.startswith(f"bench: plugin {plugin} cannot be imported: ")
        assert says in line
    assert "  matchbox " in done.stdout


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


COMPRESSORS = "from compressors.registry import _COMPRESSORS, compressors\nkinds = compressors()\n"
# What changes something that it did not bring, and what that is.
TAKING = (
    (COMPRESSORS + "del _COMPRESSORS['kd']", "the compressor 'kd'"),
    (COMPRESSORS + "_COMPRESSORS['kd'] = kinds['ad']", "the compressor 'kd'"),
    (COMPRESSORS + "del _COMPRESSORS['hf']\nraise ValueError", "the compressor 'hf'"),
    (COMPRESSORS + "kinds['kd'].loss_terms = None", "DarkKD.loss_terms"),
    (COMPRESSORS + "kinds['kd'].convert = None", "DarkKD.convert"),
    (COMPRESSORS + "kinds['kd'].__mro__[2].alpha = 9", "Distillation.alpha"),
    ("from models.crnn import Crnn\nCrnn.stream = None", "Crnn.stream"),
    ("from bench.quality.measures import Measure\nMeasure.interval = None", "Measure.interval"),
    (
        "from models import registry\nregistry._FAMILIES.clear()",
        "the model 'crnn', the model 'gru', the model 'ds-cnn', the model 'tc-resnet8', "
        "the model 'bc-resnet'",
    ),
)


def test_plugins_that_take_something_away_are_named_and_what_they_took_is_there(tmp_path: Path) -> None:
    """The chain is refused for its option alone, so ``kd`` and ``crnn`` are what they were."""
    plugins = [tmp_path / f"taker{number}.py" for number in range(len(TAKING))]
    for plugin, (text, _) in zip(plugins, TAKING, strict=True):
        plugin.write_text(text)
    given = [part for plugin in (HALF, *plugins) for part in ("--plugin", plugin)]
    done = bench("run", *given, "--chain", "hf+kd:alpha=2")
    assert done.returncode == 2
    *lines, last = done.stderr.splitlines()
    for line, plugin, (_, what) in zip(lines, plugins, TAKING, strict=True):
        assert line == (
            f"bench: plugin {plugin} cannot be imported: it must not change {what}, "
            "but bring something under another name"
        )
    assert last == "bench: kd: alpha=2.0 must be above 0 and at most 1"


def test_of_two_plugins_that_want_one_token_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / HALF.name
    second.write_text(HALF.read_text().replace("example: weights", "other weights"))
    done = bench("list", "--plugin", HALF, "--plugin", second)
    assert done.stderr == (
        f"bench: plugin {second} cannot be imported: ChainError: a compressor 'hf' is already registered, "
        f"by {HALF}; choose another name\n"
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("  hf"))
    assert line == f"  hf  example: weights stored in half precision ({HALF})"


def test_a_built_in_token_is_not_given_to_a_plugin(tmp_path: Path) -> None:
    plugin = tmp_path / "thief.py"
    plugin.write_text(HALF.read_text().replace('"hf"', '"kd"'))
    done = bench("run", "--plugin", plugin, "--chain", "kd:alpha=2")
    assert done.returncode == 2
    first, last = done.stderr.strip().splitlines()
    assert (
        f"plugin {plugin} cannot be imported: ChainError: a compressor 'kd' is already registered, by "
        in first
    )
    assert first.endswith("distill.py; choose another name")
    assert last == "bench: kd: alpha=2.0 must be above 0 and at most 1"


def test_what_ends_the_program_from_inside_a_compressor_is_no_success(tmp_path: Path) -> None:
    """Whatever else: ``sys.exit(0)`` in a plugin is not status 0 with nothing done."""
    plugin = tmp_path / "leaver.py"
    method = "    def check(self, base, student) -> None:\n        raise SystemExit(0)\n\n"
    plugin.write_text(HALF.read_text().replace("    def convert", f"{method}    def convert"))
    done = bench("run", "--plugin", plugin, "--chain", "hf", "--out", tmp_path / "out")
    assert done.returncode == 2
    line = plugin.read_text().splitlines().index("        raise SystemExit(0)") + 1
    assert done.stderr == (
        f"bench: {plugin}, line {line}, ended the program with SystemExit(0); "
        "a plugin must raise an error instead\n"
    )


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallows", [False, True])
def test_ctrl_c_while_a_plugin_is_imported_stops_the_command(
    ended_by: signal.Signals, swallows: bool, tmp_path: Path, hears_ctrl_c: Callable[[], None]
) -> None:
    plugin = tmp_path / "slow.py"
    wait = "time.sleep(60)"
    body = f"try:\n    {wait}\nexcept BaseException:\n    pass" if swallows else wait
    plugin.write_text(f"import time\nprint('importing', flush=True)\n{body}\n")
    started = subprocess.Popen(
        command("list", "--plugin", plugin),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "importing\n"
    started.send_signal(ended_by)
    said, errors = started.communicate(timeout=30)
    assert started.returncode == 130
    assert errors.strip() == "stopped; what is finished stays"
    assert said == ""
