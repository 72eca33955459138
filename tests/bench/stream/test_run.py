import json
import os
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from click.testing import CliRunner, Result

import bench.stream.run as subject
from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.data.corpora import open_corpus
from bench.results.open import open_run
from bench.results.runs import RunFolder
from bench.running.pipeline import run_chain
from bench.stream.detection import Hysteresis
from bench.stream.joined import render, speech_keyword_speech
from bench.stream.run import listen
from bench.stream.spotter import StreamingSpotter
from bench.stream.thresholds import THRESHOLDS_FILE, thresholds_of
from bench.threads import threads
from models.task import KeywordTask


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A run that has learnt to tell the tones apart."""
    recipe = Recipe(versions=1, batch_size=32)
    config = RunConfig(chain="dq", data=str(tone_folder), task=KeywordTask("start"), recipe=recipe, epochs=20)
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        records = run_chain(config, out, progress=False)
    return out / "runs" / records[0].run_id


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """Other tones, the keyword's, the others again; the keyword begins at some 10 s."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        corpus = open_corpus(str(tone_folder), KeywordTask("start"), progress=False)
        sf.write(
            path,
            np.concatenate(list(render(speech_keyword_speech(corpus, KeywordTask("start")), corpus))),
            16_000,
        )
    return path


@pytest.fixture(autouse=True)
def thresholds(trained: Path) -> Iterator[None]:
    yield
    (trained / THRESHOLDS_FILE).unlink(missing_ok=True)


def stream(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["stream", *map(str, arguments)], input=stdin, catch_exceptions=False)


def detections(output: str) -> list[tuple[float, float]]:
    return [(float(t), float(p)) for t, p in re.findall(r"^ *([\d.]+) s  ([\d.]+)", output, re.M)]


def test_the_keyword_is_found_once(trained: Path, talk: Path, tmp_path: Path) -> None:
    result = stream(trained, talk, "--threshold", "0.8", "--max-buffer-len", "12", "--out", tmp_path)
    assert result.exit_code == 0
    ((time_s, probability),) = detections(result.output)
    assert 9 < time_s < 14
    assert probability >= 0.8
    seconds = sf.info(talk).duration
    assert f"{seconds:.2f} s of audio, 1 detection, real-time factor 0." in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.png", "talk.svg"]


def test_a_file_of_the_run_and_the_quantized_run_stand_for_it(
    trained: Path, talk: Path, tmp_path: Path
) -> None:
    options = ("--threshold", "0.8", "--max-buffer-len", "12", "--out", tmp_path)
    first = stream(trained, talk, *options)
    assert detections(stream(trained / "weights.safetensors", talk, *options).output) == detections(
        first.output
    )
    (quantized,) = trained.parent.glob("dq-*")
    ((time_s, _),) = detections(stream(quantized, talk, *options).output)
    assert time_s == pytest.approx(detections(first.output)[0][0], abs=0.25)


def test_standard_input_is_the_file(trained: Path, talk: Path, tmp_path: Path) -> None:
    pcm = sf.read(talk, dtype="int16")[0].astype("<i2").tobytes()
    options = ("--threshold", "0.5", "--out", tmp_path)
    from_file, from_pipe = stream(trained, talk, *options), stream(trained, "-", *options, stdin=pcm)
    cut = stream(trained, talk, *options, "--chunk-ms", "33")
    assert detections(from_pipe.output) == detections(from_file.output) == detections(cut.output) != []
    assert (tmp_path / "stdin.png").read_bytes() == (tmp_path / "talk.png").read_bytes()


def test_another_rate_and_two_channels(trained: Path, talk: Path, tmp_path: Path) -> None:
    import torchaudio.functional  # The bench's own import has made it loadable.

    wave = torch.from_numpy(sf.read(talk, dtype="float32")[0])
    faster = torchaudio.functional.resample(wave, 16_000, 44_100).numpy()
    sf.write(tmp_path / "stereo.flac", np.stack([faster, faster], 1), 44_100)
    options = ("--threshold", "0.8", "--max-buffer-len", "12", "--out", tmp_path / "figures")
    result = stream(trained, tmp_path / "stereo.flac", *options)
    assert detections(result.output)[0][0] == pytest.approx(
        detections(stream(trained, talk, *options).output)[0][0]
    )
    assert f"{sf.info(talk).duration:.2f} s of audio" in result.output


def test_joined_test_stream(trained: Path, tmp_path: Path) -> None:
    result = stream(trained, "test", "--max-buffer-len", "12", "--out", tmp_path)
    assert result.exit_code == 0
    assert re.search(r"on validation at most 10 false alarms an hour: \d of 6 keyword clips", result.output)
    assert "6 of 6 keyword clips found, 0 missed, 0 false alarms" in result.output
    assert result.output.count("  keyword\n") == 6
    names = ["joined-test.png", "joined-test.svg", "speech-keyword-speech.png", "speech-keyword-speech.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    kept = json.loads((trained / THRESHOLDS_FILE).read_text())
    assert re.search(rf"threshold {kept['12']:.4g} ", result.output)
    assert thresholds_of(RunFolder(trained), KeywordTask("start"), 12, None) == (
        (kept["12"],),
        "chosen on a joined stream of the validation speakers",
    )
    given = stream(trained, "test", "--max-buffer-len", "12", "--threshold", "1", "--out", tmp_path)
    assert "0 of 6 keyword clips found, 6 missed, 0 false alarms" in given.output


@pytest.mark.parametrize("audio", ["-", "talk"])
def test_ctrl_c_ends_a_stream_with_the_summary(
    trained: Path, talk: Path, tmp_path: Path, audio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: object, block_samples: int) -> Iterator[np.ndarray]:
        yield np.zeros(16_000, np.int16)
        raise KeyboardInterrupt

    monkeypatch.setattr(subject, "stream_audio", interrupted)
    source = "-" if audio == "-" else talk
    result = stream(trained, source, "--threshold", "0.9", "--out", tmp_path)
    assert result.exit_code == (0 if audio == "-" else 130)
    assert "1.00 s of audio, 0 detections" in result.output
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_a_live_stream_tells_of_a_detection_before_it_ends(
    trained: Path, talk: Path, tmp_path: Path, hears_ctrl_c: Callable[[], None]
) -> None:
    options = ["--threshold", "0.001", "--max-buffer-len", "12", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", "from bench.cli import main; main()", "stream", str(trained), "-", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=hears_ctrl_c,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    ) as live:
        watchdog = threading.Timer(60, live.kill)  # a stream that says nothing must not hang the tests
        watchdog.daemon = True
        watchdog.start()
        assert live.stdin is not None
        assert live.stdout is not None
        live.stdin.write(sf.read(talk, dtype="int16")[0].astype("<i2").tobytes())
        live.stdin.flush()
        assert b"threshold 0.001 (given)" in live.stdout.readline()
        assert detections(live.stdout.readline().decode())
        live.send_signal(signal.SIGINT)
        rest = live.stdout.read().decode()
        watchdog.cancel()
    assert "s of audio, " in rest
    assert live.returncode == 0


def test_wrong_input_is_one_line(trained: Path, tone_folder: Path, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no audio")
    sf.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((trained / "config.json").read_bytes())
    (damaged / "weights.safetensors").write_bytes(b"nothing")
    (tmp_path / "file").touch()
    cases = [
        ((tmp_path / "nowhere", talk), "no run at"),
        ((tmp_path, talk), "holds no complete run: config.json is missing"),
        ((damaged, talk), "cannot be loaded"),
        ((trained, tmp_path / "nowhere.wav"), "no such file"),
        ((trained, tmp_path / "noise.wav"), "noise.wav: "),
        ((trained, tmp_path / "empty.wav"), "holds no samples"),
        ((trained, "test", "--data", tmp_path / "nowhere"), "no data"),
        ((trained, talk, "--out", tmp_path / "file" / "under"), "give another --out"),
    ]
    for arguments, said in cases:
        result = stream(*arguments)
        assert result.exit_code == 2, arguments
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    for options in (["--threshold", "2"], ["--chunk-ms", "0"], ["--max-buffer-len", "0"]):
        assert stream(trained, talk, *options).exit_code == 2


def test_another_corpus_is_refused(trained: Path, tmp_path: Path, tone_folder: Path) -> None:
    for file in tone_folder.rglob("*.wav"):
        copy = tmp_path / "other" / file.relative_to(tone_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if "_nohash_0" in file.name:
            copy.write_bytes(file.read_bytes())
    for name in ("validation_list.txt", "testing_list.txt"):
        lines = (tone_folder / name).read_text().splitlines()
        (tmp_path / "other" / name).write_text(
            "\n".join(line for line in lines if "_nohash_0" in line) + "\n"
        )
    result = stream(trained, "test", "--data", tmp_path / "other")
    assert result.exit_code == 2
    assert "does not hold the clips and splits" in result.stderr


def test_memory_is_constant_in_the_length_of_the_audio(trained: Path) -> None:
    _, model = open_run(trained)

    def peak_bytes(seconds: int) -> int:
        blocks = (np.full(1280, 100, np.int16) for _ in range(seconds * 25 // 2))
        spotter = StreamingSpotter(model)
        tracemalloc.start()
        heard = listen(spotter, blocks, [Hysteresis(0.9)], lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert heard.duration_s == seconds
        return peak

    peak_bytes(2)
    # Frames of the picture are kept, up to a bound: some 100 bytes each.
    assert peak_bytes(40) < peak_bytes(20) + 20 * 12.5 * 300
