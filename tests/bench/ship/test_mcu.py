"""``bench mcu``: counts and stack of programs whose counts are known, and a model on processors."""

import importlib.util
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.commands.mcu import CPU_NAMES
from bench.data.corpora.base import Corpus
from bench.files import write_atomically
from bench.ship.mcu import Device, McuReport, ParityError, Part, measure, stream_logits
from bench.ship.mcu_build import CPUS, build_image
from bench.ship.mcu_machine import FLASH, SCRATCH, Image, Machine, instructions_in
from bench.ship.mcu_run import McuConfig, some_clips, table
from models.front_end import FrontEnd
from models.integer.file import load, to_bytes
from models.integer.model import IntegerModel
from models.integer.ops import Act, Attend, Conv, Gives, Gru, Input, MeanTime
from models.integer.run import clip as clip_logits
from models.task import KeywordTask, WordsTask
from tests.programs import PROGRAMS, filled

PACKAGES = ("ziglang", "unicorn", "elftools")
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="no extra mcu"
)
# movs r1, #0; again: adds r1, r1, r0; subs r0, #1; bne again; mov r0, r1; bx lr
SUM = struct.pack("<6H", 0x2100, 0x1809, 0x3801, 0xD1FC, 0x4608, 0x4770)
# push {r4, r5, r6, lr}; sub sp, #40; str r0, [sp]; add sp, #40; pop {r4, r5, r6, pc}
DEEP = struct.pack("<5H", 0xB570, 0xB08A, 0x9000, 0xB00A, 0xBD70)
# ldr r1, [sp]; str r3, [r2]; add.w r0, r0, r1 (32 bits); bx lr
FIFTH = struct.pack("<5H", 0x9900, 0x6013, 0xEB00, 0x0001, 0x4770)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def machine(cpu: str = "cortex-m4") -> Machine:
    pytest.importorskip("unicorn")
    symbols = {"sum": (FLASH, 12), "deep": (FLASH + 12, 10), "fifth": (FLASH + 22, 10)}
    return Machine(Image(((FLASH, SUM + DEEP + FIFTH),), {}, symbols), CPUS[cpu])


@pytest.mark.parametrize("cpu", [name for name in CPU_NAMES if name != "cortex-m0plus"])
def test_arguments_results_and_memory(cpu: str) -> None:
    device = machine(cpu)
    assert device.call("fifth", 30, 0, SCRATCH, 77, 12) == 42
    assert device.read(SCRATCH, 1, np.uint32).tolist() == [77]


def test_instructions_are_counted_exactly() -> None:
    device = machine("cortex-m0plus")
    assert device.call("sum", 100) == 5050
    assert device.instructions == 0
    device.count(True)
    for rounds in (1, 100, 3):
        before = device.instructions
        device.call("sum", rounds)
        # One before the loop, three a round, two after it.
        assert device.instructions - before == 3 + 3 * rounds
    device.count(False)
    counted = device.instructions
    device.call("sum", 9)
    assert device.instructions == counted


def test_peak_stack_is_what_a_function_takes() -> None:
    device = machine()
    device.call("sum", 5)
    assert device.peak_stack_bytes() == 0
    device.call("deep", 1)
    # Four registers and 40 bytes; the lowest word of them is written.
    assert device.peak_stack_bytes() == 56
    device.paint_stack()
    assert device.peak_stack_bytes() == 0


def test_instructions_of_16_and_32_bits() -> None:
    assert instructions_in(SUM) == 6
    assert instructions_in(FIFTH) == 4


def test_the_commands_processors_are_those_there_are() -> None:
    assert tuple(CPUS) == CPU_NAMES


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    program = (
        Input(mels=40),
        Conv(inputs=(0,), channels=2, kernel_mel=7, kernel_time=5, stride_mel=2, stride_time=8),
        Gru(inputs=(1,), hidden=3),
        Conv(inputs=(2,), channels=3, act=Act.TANH),
        Conv(inputs=(3,), channels=1, gives=Gives.ENERGY),
        Attend(inputs=(4, 2)),
        Conv(inputs=(5,), channels=2, gives=Gives.LOGITS),
    )
    return filled(program)


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m0plus"])
def test_a_model_computes_the_same_and_is_weighed(
    cpu: str, model: IntegerModel, tone_corpus: Corpus, tmp_path: Path
) -> None:
    clips = some_clips(tone_corpus, KeywordTask("start"), 3)
    report = measure(model, CPUS[cpu], clips, tmp_path)
    assert report.clips == 3
    assert report.model.flash["weights"] == sum(tensor.weight.size for own in model.tensors for tensor in own)
    # Multiplier with shift, and bias, in words of 16 bits: convolution 3 and 1, the GRU's input 2 and 1, of
    # its state 1 and, for n, 1; attention's inner 1 and 1, its energy 3 and 1, the classes' 1 and 2.
    assert report.model.flash["scales"] == 2 * (2 * 4 + 9 * 3 + 9 * 1 + 3 + 3 * 2 + 4 + 2 * 3)
    # 129 + 33 entries of two bytes; 101 values of a cosine and 42 corners of four.
    assert (report.model.flash["tables"], report.frontend.flash["tables"]) == (324, 572)
    # Hidden state, energies, outputs, mel, three counters and one to even; 401 samples, their number, a flag.
    expected = 2 * 3 + 24 * 2 + 24 * 3 + 40 * 5 + 4
    assert report.model.state_bytes == expected
    assert report.frontend.state_bytes == 806
    # 17 rows of 2 channels, each of 7 x 5; three gates of 3 units; attention; classes.
    macs = 17 * 2 * 35 + 3 * 3 * (2 * 17 + 3) + 3 * 3 + 3 + 2 * 3
    assert 3 * macs < report.model.step_instructions < 20 * macs
    # Eight frames, each of them a transform of 200 complex points: 5 * 200 * log2(200) operations and more.
    assert report.frontend.step_instructions > 8 * 7600
    assert report.frontend_error < 1e-3
    assert (report.shared_bytes > 0) == (cpu == "cortex-m0plus")
    lines = table(report, McuConfig(cpu))
    assert max(map(len, lines)) <= 80
    assert ("too slow" in lines[-1]) == (cpu == "cortex-m0plus")


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("activations", "bits"), [(8, 4), (16, 8)])
def test_every_operation_computes_the_same(
    name: str, activations: int, bits: int, cpu: str, tmp_path: Path
) -> None:
    model = filled(PROGRAMS[name], activations, bits)
    device = Device(Machine(Image.load(build_image(model, CPUS[cpu], tmp_path)), CPUS[cpu]), model)
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-5, 4, (40, 60)) + rng.normal(0, 3, (40, 1))
    log_mel[0, ::7], log_mel[1, ::5] = 40, -40
    frames = model.quantize_input(log_mel).T
    device.init()
    found = [logits for logits in map(device.push, frames) if logits is not None]
    np.testing.assert_array_equal(found, stream_logits(model, log_mel.astype(np.float32)))
    np.testing.assert_array_equal(device.clip(frames), clip_logits(model, log_mel[None])[0][0])


@needs_extra
@pytest.mark.slow
def test_the_published_student_takes_what_is_written_down(tmp_path: Path) -> None:
    """What ``docs/shipping.md`` says of 4 bits; a twentieth more would be worth a look."""
    frozen = Path(__file__).parents[2] / "frozen" / "sq_bits_4_ad_kd.kws"
    waveforms = np.random.default_rng(0).normal(0, 2000, (1, 16000)).astype(np.int16)
    part = measure(load(frozen), CPUS["cortex-m4"], waveforms, tmp_path).model
    assert sum(part.flash.values()) < 1.05 * 3771
    assert part.step_instructions < 1.05 * 49119


@pytest.mark.parametrize(("clock_mhz", "slow"), [(100.0, False), (2.0, True)])
def test_times_are_instructions_times_cycles_over_the_clock(clock_mhz: float, slow: bool) -> None:
    """50,000 instructions of 1.5 cycles are 0.75 ms at 100 MHz, and 200,000 are 3 ms: of 80 ms."""
    pytest.importorskip("ziglang")
    parts = Part({"code": 1000, "weights": 2000}, 10, 20, 50_000), Part({"code": 30}, 11, 21, 200_000)
    report = McuReport(CPUS["cortex-m4"], 80, *parts, 0, 0, 1, 1e-4)
    lines = table(report, McuConfig(clock_mhz=clock_mhz, cycles_per_instruction=1.5))
    times, shares = (next(line.split() for line in lines if word in line) for word in ("ms a step", "share"))
    assert next(line for line in lines if "all of these" in line).split()[-2:] == ["3,000", "30"]
    assert times[-2:] == (["37.50", "150.00"] if slow else ["0.75", "3.00"])
    assert shares[-2:] == (["46.9%", "187.5%"] if slow else ["0.9%", "3.8%"])
    assert ("too slow" in lines[-1]) == slow
    assert any(line.startswith("1 clip, whole") for line in lines)


@needs_extra
@pytest.mark.slow
def test_another_models_code_is_found_out(
    model: IntegerModel, tone_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.ship import mcu_build

    real, ((tensor,), *_) = mcu_build.write_c, model.tensors[::-1]
    other = replace(model, tensors=(*model.tensors[:-1], (tensor._replace(weight=-tensor.weight),)))
    monkeypatch.setattr(mcu_build, "write_c", lambda _model, folder: real(other, folder))
    with pytest.raises(ParityError, match="clip 0"):
        measure(model, CPUS["cortex-m4"], some_clips(tone_corpus, KeywordTask("start"), 1), tmp_path)


def test_clips_are_of_validation_half_of_them_keywords(tone_corpus: Corpus) -> None:
    clips = some_clips(tone_corpus, KeywordTask("start"), 6)
    rows = tone_corpus.indices("validation")
    found = [row for clip in clips for row in rows if np.array_equal(tone_corpus.waveforms[row], clip)]
    assert tone_corpus.labels(KeywordTask("start"))[found].sum() == 3


def run_folder(model: IntegerModel, folder: Path, data: Path) -> Path:
    folder.mkdir()
    write_atomically(folder / "model.kws", to_bytes(model))
    about = {"chain": "sq+kd", "run": {"data": str(data), "keyword": "start"}}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


@needs_extra
@pytest.mark.slow
def test_the_command_prints_the_table(model: IntegerModel, tone_folder: Path, tmp_path: Path) -> None:
    run = run_folder(model, tmp_path / "run", tone_folder)
    result = call("mcu", run, "--clips", "2", "--clock-mhz", "100", "--out", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    assert "all logits equal the integer model's" in result.output
    assert "at 100 MHz" in result.output
    assert (tmp_path / "kept" / "kws_cortex-m4.elf").exists()


def test_without_the_extra_one_line_says_what_to_install(
    model: IntegerModel, tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == "unicorn":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    result = call("mcu", run_folder(model, tmp_path / "run", tone_folder))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith('pip install "kws-bench[mcu]"')


@needs_extra
def test_a_file_outside_a_run_has_no_clips(model: IntegerModel, tmp_path: Path) -> None:
    write_atomically(tmp_path / "model.kws", to_bytes(model))
    result = call("mcu", tmp_path / "model.kws")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "give a run folder" in result.stderr


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("front_end", [FrontEnd(20, 32, 20), FrontEnd(128, 64, 5)])
def test_other_front_ends_and_longer_clips_are_weighed(front_end: FrontEnd, tmp_path: Path) -> None:
    """The second is the longest clip of the most bands: it fits into what is emulated."""
    task = WordsTask(("yes", "no"), with_unknown=True, clip_s=4.0, front_end=front_end)
    logits = Conv(inputs=(2,), rows=1, channels=3, gives=Gives.LOGITS)
    conv = Conv(inputs=(0,), rows=1, channels=4, kernel_time=2, stride_time=2)
    model = replace(filled((Input(mels=front_end.mels), conv, MeanTime(inputs=(1,)), logits)), task=task)
    waveforms = np.random.default_rng(0).normal(0, 2000, (1, task.clip_samples)).astype(np.int16)
    report = measure(model, CPUS["cortex-m4"], waveforms, tmp_path)
    assert report.step_ms == 2 * front_end.hop_ms
    assert report.frontend_error < 1e-3
    # A quarter of a turn, corners, and two bytes for the place of each of half as many points.
    window = front_end.window_samples
    assert report.frontend.flash["tables"] == 4 * (window // 4 + 1) + 4 * (front_end.mels + 2) + window
