import importlib
import itertools
import json
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.comparing.summary import summarise
from bench.comparing.tables import compare_all
from bench.config import Recipe, Repeats, RunConfig
from bench.cost import BYTES_PER_KB
from bench.data.clips import Data
from bench.data.corpora import open_corpus
from bench.data.corpora.base import Corpus
from bench.device import CPU
from bench.figures.plots import draw_figure
from bench.presets import load_preset
from bench.quality.metrics import au_fa_fr
from bench.quality.resampling import FARS, MEASURES
from bench.quality.score import predict, probabilities
from bench.reading import tensors_hash
from bench.results.records import RunRecord, load_record
from bench.results.runs import RunFolder
from bench.results.table import load_results
from bench.running.pipeline import _identity, check, plan, run_chain
from bench.running.ui import Ui
from bench.threads import threads
from bench.training.state import Epoch, Training
from bench.training.teacher import Answer, Teacher
from compressors import registry
from compressors.base import Compressor, Phase
from compressors.chain import parse
from compressors.registry import compressors
from models.base import KwsModel, ModelOutput, count_params, device_of
from models.crnn import CrnnSpec
from models.errors import ChainError, KwsError, ResultsError
from models.registry import build
from models.shipped import saved
from models.task import KeywordTask

BASE = CrnnSpec()
RECIPE = Recipe(versions=1, batch_size=64)
CONFIG = RunConfig(chain="kd", data="tones", task=KeywordTask("start"), recipe=RECIPE, epochs=1)


class Log(Ui):
    """Remembers what it was told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.trained: list[str] = []
        self.epochs: list[int] = []
        self.reused: list[str] = []
        self.stop_after = stop_after

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        self.trained.append(f"{label} {done}/{epochs}")

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        self.epochs.append(epoch.epoch)
        if len(self.epochs) == self.stop_after:
            raise KeyboardInterrupt

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        if reused:
            self.reused.append(record.label)


@pytest.fixture(autouse=True)
def tones(tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bench.running.pipeline.open_corpus", lambda data, keyword, split, progress: tone_corpus
    )


def settled(records: list[RunRecord]) -> list[dict[str, str]]:
    """All that two runs of one configuration have in common; as text, for a NaN equals no other."""
    noisy = ("train_seconds", "latency_ms", "peak_memory_mb")
    return [{k: repr(v) for k, v in vars(row).items() if k not in noisy} for row in records]


def valid_chains() -> list[str]:
    """Every token alone and every pair, in the order in which the parser takes them."""
    found = []
    for names in [*itertools.combinations(compressors(), 1), *itertools.combinations(compressors(), 2)]:
        for order in itertools.permutations(names):
            try:
                text = parse("+".join(order), BASE).text
            except ChainError:
                continue
            if text not in found:
                found.append(text)
    return found


def test_all_pairs_are_valid_in_one_order() -> None:
    kinds = compressors().values()
    count, converters = len(kinds), sum(kind.phase is Phase.CONVERT for kind in kinds)
    pairs = count * (count - 1) // 2 - converters * (converters - 1) // 2
    assert len(valid_chains()) == count + pairs


@pytest.mark.parametrize("chain", valid_chains())
def test_every_token_and_pair_trains(chain: str, tmp_path: Path, shared_out: Path) -> None:
    records = run_chain(replace(CONFIG, chain=chain), shared_out, Log())
    labels = [record.label for record in records]
    whole = parse(chain, BASE)
    assert labels == list(dict.fromkeys(["B", whole.trained.label, whole.label]))
    assert all(record.status == "ok" for record in records)
    last = records[-1]
    assert last.size_kb < records[0].size_kb
    assert last["keyword_clips"] == 10
    assert 0 <= last["au_fa_fr"] <= 0.25


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


def test_a_row_says_where_it_was_trained(tmp_path: Path, device: torch.device) -> None:
    """On its device it is a run of its own, of as good a model; what a converter makes is loaded as ever."""
    config = replace(CONFIG, chain="dq+sp+ad+kd")
    here, there = (
        run_chain(replace(config, device=kind), tmp_path / name, Log())
        for kind, name in (("cpu", "here"), (device.type, "there"))
    )
    for left, right in zip(here, there, strict=True):
        assert right.device == device.type
        assert (left.run_id == right.run_id) == (device == CPU)
        assert (left.params, left.size_kb, left.status) == (right.params, right.size_kb, right.status)
        folders = [tmp_path / name / "runs" / row.run_id for name, row in (("here", left), ("there", right))]
        scores = [np.load(folder / "scores.npz")["test"] for folder in folders]
        np.testing.assert_allclose(scores[1], scores[0], atol=0.05)
        RunFolder(folders[1]).load_model()
    log = Log()
    run_chain(replace(config, device=device.type), tmp_path / "there", log)
    assert log.reused == ["B", "SP+AD+KD", "DQ+SP+AD+KD"]


# What takes the time, by the modules that call it; the first argument says where it runs.
HEAVY = (
    "bench.data.features.log_mel",
    "bench.training.loop._loss",
    "bench.training.loop.predict",
    "bench.training.choice.predict",
    "bench.running.columns.predict",
)


def test_all_that_takes_time_runs_on_the_device(
    device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a converter made is scored on the CPU, as it will run."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    seen: dict[str, list[torch.device]] = {name: [] for name in (*HEAVY, "teacher")}
    for name in HEAVY:
        module, _, function = name.rpartition(".")
        called = getattr(importlib.import_module(module), function)

        def watched(
            first: Tensor | KwsModel, *rest: Any, _name: str = name, _call: Any = called, **named: Any
        ) -> Any:
            seen[_name].append(first.device if isinstance(first, Tensor) else device_of(first))
            return _call(first, *rest, **named)

        monkeypatch.setattr(name, watched)
    answer = Teacher.answer

    def answers(teacher: Teacher, features: Tensor, rows: Tensor | None) -> Answer:
        seen["teacher"] += [features.device, device_of(teacher.model)]
        return answer(teacher, features, rows)

    monkeypatch.setattr(Teacher, "answer", answers)
    run_chain(replace(CONFIG, chain="dq+ad+kd", device=device.type), tmp_path, Log())
    assert seen.pop("bench.running.columns.predict") == [device] * 4 + [CPU] * 2
    assert {name: set(found) for name, found in seen.items()} == {name: {device} for name in seen}


def test_runs_of_the_cpu_keep_the_names_that_they_had_before_there_were_devices() -> None:
    config = RunConfig(chain="dq+sp+ad+kd", data="tones", epochs=1)
    names = {
        kind: [
            stage.run.run_id
            for stage in plan(replace(config, device=kind), check(config), "0" * 16, Path("runs"))
        ]
        for kind in ("cpu", "cuda", "mps")
    }
    assert names["cpu"] == [
        "base-6e6d221cab4226a5",
        "sp+ad+kd-ced462331c6b1ca6",
        "dq+sp+ad+kd-895e5578929fe617",
    ]
    assert len({name for several in names.values() for name in several}) == 9


def test_a_row_is_what_its_folder_holds(tmp_path: Path, tone_corpus: Corpus) -> None:
    _, trained, shipped = run_chain(replace(CONFIG, chain="dq+sp+ad+kd"), tmp_path, Log())
    assert [trained.label, shipped.label] == ["SP+AD+KD", "DQ+SP+AD+KD"]
    folder = RunFolder(tmp_path / "runs" / shipped.run_id)
    model = folder.load_model()
    assert len(saved(model)) / BYTES_PER_KB == shipped.size_kb
    assert (folder.path / "shipped.pt").stat().st_size / 1024 == shipped.size_kb
    scores = np.load(folder.path / "scores.npz")
    labels = tone_corpus.labels(KeywordTask("start"))
    for split, value in (("test", shipped["au_fa_fr"]), ("validation", shipped["validation_au_fa_fr"])):
        assert au_fa_fr(labels[tone_corpus.indices(split)], scores[split][:, 1]) == value
    assert shipped.params == trained.params == 4749
    assert shipped.macs == trained.macs == 193813 - 1200
    floats = RunFolder(tmp_path / "runs" / trained.run_id)
    assert count_params(floats.load_model()) == 4749
    history = pd.read_csv(floats.path / "history.csv")
    assert history["epoch"].tolist() == [1]
    about = json.loads((floats.path / "config.json").read_text())
    assert about["spec"]["hidden"] == 16
    assert about["run"]["task"]["keyword"] == "start"
    assert not floats.checkpoint.exists()


@pytest.mark.parametrize("chain", ["sq:bits=4+kd", "qat:bits=8/gru.hh=4+sp+ad+kd"])
def test_an_integer_model_is_its_file(chain: str, tmp_path: Path, tone_corpus: Corpus) -> None:
    log = Log()
    _, trained, shipped = run_chain(replace(CONFIG, chain=chain, epochs=2), tmp_path, log)
    folder = RunFolder(tmp_path / "runs" / shipped.run_id)
    assert {path.name for path in folder.path.iterdir()} >= {"model.kws", "weights.safetensors", "row.json"}
    assert (folder.path / "model.kws").stat().st_size == shipped.artifact_bytes == 1024 * shipped.size_kb
    parts = (shipped.payload_bytes, shipped.scale_bytes, shipped.container_bytes)
    assert sum(part or 0 for part in parts) == shipped.artifact_bytes
    assert (shipped.params, shipped.macs) == (trained.params, trained.macs)
    model = folder.load_model()
    clips = Data(tone_corpus, replace(CONFIG, chain=chain, epochs=2)).clips
    again = probabilities(predict(model, clips.features.clean, clips.test))
    assert np.array_equal(np.load(folder.path / "scores.npz")["test"], again)
    tuned = chain.startswith("qat")
    assert shipped.epochs == 2 + 2 * tuned
    assert (folder.path / "history.csv").exists() == tuned
    assert log.trained[2:] == (["QAT(bits=8/gru.hh=4)+AD+KD 0/2"] if tuned else [])
    weights = load_file(folder.path / "weights.safetensors")
    assert set(weights) == set(build(CrnnSpec()).state_dict()), "ordinary float weights"
    before = RunFolder(tmp_path / "runs" / trained.run_id).load_model().state_dict()
    assert torch.equal(weights["classifier.weight"], before["classifier.weight"]) != tuned


def test_tuning_that_was_interrupted_ends_the_same(tmp_path: Path) -> None:
    config = replace(CONFIG, chain="qat+kd", epochs=2)
    whole = run_chain(config, tmp_path / "whole", Log())
    with pytest.raises(KeyboardInterrupt):
        run_chain(config, tmp_path / "cut", Log(stop_after=5))
    log = Log()
    resumed = run_chain(config, tmp_path / "cut", log)
    assert log.trained == ["QAT+KD 1/2"]
    files = [
        (tmp_path / out / "runs" / rows[-1].run_id / "model.kws").read_bytes()
        for out, rows in (("whole", whole), ("cut", resumed))
    ]
    assert files[0] == files[1]


def test_where_the_bytes_of_a_float_model_are(tmp_path: Path) -> None:
    base = run_chain(replace(CONFIG, chain=""), tmp_path, Log())[0]
    biases = 8 + 4 * 3 * 64 + 64 + 1 + 2
    assert base.scale_bytes == 4 * biases
    assert base.payload_bytes == 4 * (70443 - biases)
    assert base.artifact_bytes == 1024 * base.size_kb


def test_ratios_are_to_the_base(tmp_path: Path) -> None:
    base, shipped = run_chain(replace(CONFIG, chain="dq"), tmp_path, Log())
    assert (base.size_ratio, base.macs_ratio, base.params_ratio) == (1, 1, 1)
    assert shipped.size_ratio == pytest.approx(base.size_kb / shipped.size_kb)
    assert shipped.macs_ratio == 1


def test_what_is_there_is_not_run_again(tmp_path: Path) -> None:
    run_chain(replace(CONFIG, chain="kd"), tmp_path, Log())
    table = (tmp_path / "results.csv").read_bytes()
    again = Log()
    run_chain(replace(CONFIG, chain="kd"), tmp_path, again)
    assert again.trained == []
    assert again.reused == ["B", "KD"]
    assert (tmp_path / "results.csv").read_bytes() == table
    more = Log()
    run_chain(replace(CONFIG, chain="dq+kd:alpha=0.95,temperature=2"), tmp_path, more)
    assert more.trained == [], "options that say the defaults are the same training"
    assert load_results(tmp_path / "results.csv")["label"].tolist()[:2] == ["B", "KD"]


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    config = replace(CONFIG, chain="kd", epochs=3)
    whole = run_chain(config, tmp_path / "whole", Log())
    with pytest.raises(KeyboardInterrupt):
        run_chain(config, tmp_path / "cut", Log(stop_after=5))  # in the second epoch of KD
    assert load_results(tmp_path / "cut" / "results.csv")["label"].tolist() == ["B"]
    log = Log()
    resumed = run_chain(config, tmp_path / "cut", log)
    assert log.trained == ["KD 2/3"]
    assert log.epochs == [3]
    done = RunFolder(tmp_path / "cut" / "runs" / resumed[1].run_id)
    assert {path.name for path in done.path.iterdir()} & {"checkpoint.pt", "epochs"} == set()
    # Stopped just after the row was written: the next run tidies up.
    (done.path / "epochs").mkdir()
    done.checkpoint.touch()
    run_chain(config, tmp_path / "cut", Log())
    assert {path.name for path in done.path.iterdir()} & {"checkpoint.pt", "epochs"} == set()
    assert settled(resumed) == settled(whole)


def test_a_run_goes_on_where_it_was(tmp_path: Path, device: torch.device) -> None:
    """The checkpoint says nothing of the device; what it says of units to keep is looked at on the CPU."""
    config = replace(CONFIG, chain="sp", epochs=2, device=device.type)
    with pytest.raises(KeyboardInterrupt):
        run_chain(config, tmp_path, Log(stop_after=3))
    log = Log()
    row = run_chain(config, tmp_path, log)[-1]
    assert (log.reused, log.trained) == (["B"], ["SP 1/2"])
    assert (row.status, row.epochs, row.device) == ("ok", 2, device.type)


def test_seeds_and_keywords_are_different_runs(tmp_path: Path) -> None:
    ids = {
        run_chain(config, tmp_path, Log())[0].run_id
        for config in (
            replace(CONFIG, chain=""),
            replace(CONFIG, chain="", seed=1),
            replace(CONFIG, chain="", task=KeywordTask("stop")),
            replace(CONFIG, chain="", epochs=2),
            replace(CONFIG, chain="", recipe=replace(RECIPE, learning_rate=0.01)),
        )
    }
    assert len(ids) == 5
    assert len(load_results(tmp_path / "results.csv")) == 5


def test_a_target_ends_students_and_leaves_the_base_alone(tmp_path: Path) -> None:
    config = replace(CONFIG, chain="kd", epochs=3)
    base, _ = run_chain(config, tmp_path, Log())
    log = Log()
    same_base, student = run_chain(replace(config, target_metric=0.25), tmp_path, log)
    assert same_base.run_id == base.run_id
    assert log.trained == ["KD 0/3"]
    assert (student.epochs, student.epochs_to_target) == (1, 1)


def test_a_full_width_student_starts_from_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, dict[str, torch.Tensor]] = {}
    original = Training.start

    def spy(model: torch.nn.Module, recipe: Recipe, checkpoint: Path) -> Training:
        seen[checkpoint.parent.name.split("-")[0]] = {k: v.clone() for k, v in model.state_dict().items()}
        return original(model, recipe, checkpoint)

    monkeypatch.setattr(Training, "start", spy)
    base, _ = run_chain(replace(CONFIG, chain="sp"), tmp_path, Log())
    trained = RunFolder(tmp_path / "runs" / base.run_id).load_model().state_dict()
    assert torch.equal(seen["sp"]["gru.weight_hh_l1"], trained["gru.weight_hh_l1"])
    run_chain(replace(CONFIG, chain="sp", recipe=replace(RECIPE, warm_start=False)), tmp_path, Log())
    assert torch.equal(seen["sp"]["gru.weight_hh_l1"], seen["base"]["gru.weight_hh_l1"])


def test_a_training_that_diverges_is_a_row_with_its_reason(tmp_path: Path) -> None:
    config = replace(CONFIG, chain="dq+kd", recipe=replace(RECIPE, learning_rate=1e30, clip_norm=1e30))
    records = run_chain(config, tmp_path, Log())
    assert [(record.label, record.status) for record in records] == [("B", "diverged")]
    assert "lower learning rate" in records[0].reason
    table = load_results(tmp_path / "results.csv")
    assert table["status"].tolist() == ["diverged"]
    assert table["au_fa_fr"].isna().all()


def test_wrong_chains_and_models_are_refused_before_any_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(data: str, keyword: str, split: str, progress: bool) -> Corpus:
        raise AssertionError("the corpus was opened")

    monkeypatch.setattr("bench.running.pipeline.open_corpus", never)
    wrong_chains = ("kx", "kd:kernel=5x200", "sp:hidden=65", "sp:keep=1", "kd:hidden=20000")
    wrong_chains += ("kd:channels=1000000000", f"sp:channels={10**30}")
    for wrong in (*({"chain": chain} for chain in wrong_chains), {"model": "rnn"}):
        with pytest.raises(KwsError):
            run_chain(replace(CONFIG, **wrong), tmp_path, Log())
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_hears_no_clip_is_one_line() -> None:
    for chain in ("kd:pool=4x200", "sq+kd:pool=4x200", "sp+kd:pool=4x200", "fd+kd:pool=4x200"):
        with pytest.raises(KwsError, match=r"DsCnn hears no clip of \d+ frames|too small"):
            check(replace(CONFIG, model="ds-cnn", chain=chain))


def test_features_are_not_heard_while_a_converter_tunes() -> None:
    """The rounded model has no layers to listen to; the other terms go on."""
    assert check(replace(CONFIG, chain="qat+fd")).tuning.text == "qat"
    assert check(replace(CONFIG, chain="qat+kd+fd")).tuning.text == "qat+kd"


def test_a_prepared_form_without_the_layer_is_refused_before_any_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_COMPRESSORS", copy(registry._COMPRESSORS))

    class Wrapped(KwsModel):
        def __init__(self, model: KwsModel) -> None:
            super().__init__(model.spec)
            self.within = model

        def forward(self, log_mel: torch.Tensor) -> ModelOutput:
            output: ModelOutput = self.within(log_mel)
            return output

    @registry.register
    @dataclass(frozen=True)
    class Wrapping(Compressor):
        token: ClassVar[str] = "wr"
        summary: ClassVar[str] = "for a test"

        def prepare(self, model: KwsModel) -> KwsModel:
            return Wrapped(model)

    with pytest.raises(ChainError, match=r"^Wrapped runs no layer 'gru' that could be listened to$"):
        check(replace(CONFIG, chain="fd+wr"))
    assert check(replace(CONFIG, chain="ad+kd+wr")).text == "ad+kd+wr"


def test_a_run_is_named_after_what_its_chain_has_settled() -> None:
    """In the form of the first version, so that runs that are there are found."""
    alike = {"alpha": 0.95, "temperature": 2.0, "share": 0.5}
    identity = _identity(parse("sp:hidden=16+ad+kd", BASE), CONFIG, "hash")
    assert identity["chain"] == [
        ("DarkKD", {"channels": None, "kernel": None, "hidden": None, **alike}),
        ("AttentionKD", {"channels": None, "kernel": None, "hidden": None, **alike}),
        ("StructuredPrune", {"keep": 0.25, "channels": 0, "hidden": 16, "attention": 0, "decay": 10.0}),
    ]


def test_runs_of_a_newer_compressor_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it makes has changed; what it starts from has not."""
    names = [_identity(parse(text, BASE), CONFIG, "hash") for text in ("sq+kd", "kd")]
    monkeypatch.setattr(compressors()["sq"], "version", 7)
    assert _identity(parse("sq+kd", BASE), CONFIG, "hash") != names[0]
    assert _identity(parse("kd", BASE), CONFIG, "hash") == names[1]


def test_a_student_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's student keeps some 6 MB of a batch of 64; the base, and what has its width, is trained."""
    monkeypatch.setattr("bench.running.pipeline.MOST_TRAINING_BYTES", 10**6)
    with pytest.raises(ChainError, match=r"kd: training the student takes some 0.0 GB, more than 0.001 GB"):
        check(replace(CONFIG, chain="kd"))
    for chain in ("", "dq", "sp"):
        check(replace(CONFIG, chain=chain))
    monkeypatch.undo()
    for row in load_preset("kws-hw").rows:
        check(replace(CONFIG, chain=row.chain, recipe=Recipe()))


def test_a_folder_without_a_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no complete run: config.json is missing"):
        RunFolder(tmp_path).load_model()


def test_a_label_names_the_chain_s_own_row_only(tmp_path: Path) -> None:
    records = run_chain(replace(CONFIG, chain="dq+kd:hidden=12", label="mine"), tmp_path, Log())
    assert [record.label for record in records] == ["B", "KD(hidden=12)", "mine"]
    plain = run_chain(replace(CONFIG, chain="kd:channels=4,kernel=15x5,hidden=21"), tmp_path, Log())
    again = run_chain(replace(CONFIG, chain="kd"), tmp_path, log := Log())
    assert plain[-1].run_id == again[-1].run_id
    assert log.trained == [], "sizes that are the defaults are the same training"
    run_chain(replace(CONFIG, chain="kd", label="renamed"), tmp_path, Log())
    table = load_results(tmp_path / "results.csv")
    assert table["label"].tolist() == ["B", "KD(hidden=12)", "mine", "renamed"]
    # A preset's KD2 keeps its name when DQ+KD2 passes by.
    shown = run_chain(replace(CONFIG, chain="dq+kd", label="quantized"), tmp_path, Log())
    assert [record.label for record in shown] == ["B", "renamed", "quantized"]
    table = load_results(tmp_path / "results.csv")
    assert table["label"].tolist() == ["B", "KD(hidden=12)", "mine", "renamed", "quantized"]


@pytest.mark.slow
def test_real_recordings_ship_and_come_back(
    arabic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four words, few epochs: the file gives the row's scores again, and is about as good as in float."""
    folder = tmp_path / "words"
    folder.mkdir()
    for name in ("start", "stop", "left", "right", "validation_list.txt", "testing_list.txt"):
        if (arabic / name).exists():
            (folder / name).symlink_to(arabic / name)
    monkeypatch.setattr("bench.running.pipeline.open_corpus", open_corpus)
    recipe = Recipe(versions=2, batch_size=32)
    config = RunConfig(
        chain="qat:bits=4+ad+kd", data=str(folder), task=KeywordTask("start"), recipe=recipe, epochs=12
    )
    _, trained, shipped = run_chain(config, tmp_path / "out", Log())
    assert shipped.artifact_bytes == 1673  # 7 of them say that it listens for start
    assert shipped.size_ratio > 150
    assert trained["auc"] > 0.8
    assert shipped["auc"] > trained["auc"] - 0.05
    run = RunFolder(tmp_path / "out" / "runs" / shipped.run_id)
    model, data = run.load_model(), Data(open_corpus(config.data, KeywordTask("start")), config)
    again = predict(model, data.clips.features.clean, data.clips.test)
    assert np.array_equal(np.load(run.path / "scores.npz")["test"], probabilities(again))


def test_repeats_have_seeds_of_their_own_and_a_fixed_teacher_is_trained_once(tmp_path: Path) -> None:
    log = Log()
    first = run_chain(replace(CONFIG, chain="kd", epochs=1), tmp_path, log)
    own = run_chain(replace(CONFIG, chain="kd", epochs=1, seed=1), tmp_path, log)
    taught = run_chain(replace(CONFIG, chain="kd", epochs=1, seed=1, teacher_seed=CONFIG.seed), tmp_path, log)
    assert log.trained == ["B 0/1", "KD 0/1", "B 0/1", "KD 0/1", "KD 0/1"]
    assert (taught[0].run_id, taught[0].seed) == (first[0].run_id, CONFIG.seed)
    assert len({record.run_id for record in (*first, *own, *taught)}) == 5
    assert (taught[1].seed, taught[1].teacher_seed) == (1, CONFIG.seed)


def test_every_figure_of_a_row_has_an_interval_and_the_choice_a_spread(tmp_path: Path) -> None:
    (row,) = run_chain(replace(CONFIG, chain="", epochs=2), tmp_path)
    for prefix in ("", "validation_"):
        for name in MEASURES:
            low, value, high = (row[f"{prefix}{name}{end}"] for end in ("_low", "", "_high"))
            if name in FARS:
                # So few clips leave the threshold open.
                assert np.isnan([low, high]).all()
            else:
                assert low <= value <= high, f"{prefix}{name}"
    assert row.choice_checkpoints in (1, 2)
    assert row.choice_spread >= 0
    kept = np.load(tmp_path / "runs" / row.run_id / "scores.npz")
    assert set(kept["test_speakers"]) == {"s10", "s11"}
    assert not (tmp_path / "runs" / row.run_id / "epochs").exists()


def test_figures_without_an_interval_are_carried_on(tmp_path: Path) -> None:
    (row,) = run_chain(replace(CONFIG, chain="", epochs=1), tmp_path)
    assert np.isnan(row["frr_at_far_1pct_low"])
    kept = load_record(tmp_path / "runs" / row.run_id)
    assert kept is not None
    assert np.isnan(kept["frr_at_far_1pct_high"])
    table = load_results(tmp_path / "results.csv")
    assert table["frr_at_far_1pct_low"].isna().all()
    assert table["frr_at_far_1pct"].notna().all()
    summary = summarise(table).iloc[0]
    assert summary["frr_at_far_1pct_mean"] == row["frr_at_far_1pct"]
    assert "frr_at_far_1pct_low_mean" not in summary
    (held,) = compare_all([tmp_path / "results.csv"] * 2)
    verdicts = held.changes.set_index("measure")["verdict"]
    assert verdicts["frr_at_far_1pct"] == "unchanged"
    assert "frr_at_far_1pct_low" not in verdicts
    assert draw_figure(table, "det", tmp_path / "runs").axes


def test_scores_that_are_no_numbers_make_a_row_without_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.running.columns.probabilities", lambda logits: np.full(logits.shape, np.nan, np.float64)
    )
    rows = run_chain(replace(CONFIG, chain="kd", epochs=1), tmp_path)
    assert [(row.status, row.reason) for row in rows] == [
        ("undefined", "the model's scores of validation clips are no numbers")
    ]
    assert np.isnan(rows[0]["auc"])
    assert np.isnan(rows[0]["validation_au_fa_fr"])


def test_the_number_of_threads_changes_no_number(tmp_path: Path) -> None:
    how = replace(CONFIG, chain="qat+ad+kd", epochs=2, recipe=replace(RECIPE, batch_size=240))
    rows = []
    for count in (1, 3):
        with threads(count):
            rows.append(settled(run_chain(how, tmp_path / str(count))))
    assert rows[0] == rows[1]


def test_runs_without_a_base_of_their_own_keep_their_names() -> None:
    """As they were called before one could be given."""
    named = {
        (0, None): ["base-f86718555706c587", "kd-ad03c1a4d3d2e922", "qat+kd-5eb067a0b37b805f"],
        (3, 1): ["base-ed44206b0688aaf1", "kd-2c037c39436bd9a0", "qat+kd-bd0cec7a5bd1092a"],
    }
    for (seed, teacher), names in named.items():
        config = RunConfig(chain="qat+kd", seed=seed, teacher_seed=teacher)
        assert [stage.run.run_id for stage in plan(config, check(config), "hash", Path())] == names


def weights_of(out: Path, record: RunRecord) -> Path:
    return out / "runs" / record.run_id / "weights.safetensors"


def measured(record: RunRecord) -> dict[str, str]:
    """What is measured on a model, but for times and what its training took; as text, for NaN."""
    cost = ("macs", "params", "size_kb", "artifact_bytes", "size_ratio", "status", "label", "model", "task")
    return {name: repr(value) for name, value in record.quality.items()} | {
        name: repr(record[name]) for name in cost
    }


def test_a_base_that_is_given_is_measured_and_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, chain="qat+ad+kd")
    before = run_chain(config, tmp_path / "trained", Log())
    tensors = load_file(weights_of(tmp_path / "trained", before[0]))
    (tmp_path / "my.safetensors").write_bytes(weights_of(tmp_path / "trained", before[0]).read_bytes())
    torch.save({"epoch": 9, "state_dict": tensors}, tmp_path / "my.pt")
    steps: list[str] = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (steps.append(""), step(self))[1])
    found = {}
    for name in ("my.safetensors", "my.pt"):
        log, given = Log(), replace(config, base=str(tmp_path / name))
        run_chain(replace(given, chain=""), tmp_path / name[3:], log)
        assert (log.trained, steps) == ([], [])
        found[name] = run_chain(given, tmp_path / name[3:], log)
        assert log.trained == ["AD+KD 0/1", "QAT+AD+KD 0/1"]
        assert log.reused == ["B"]
        steps.clear()
    rows = found["my.safetensors"]
    assert [row.run_id for row in rows] == [row.run_id for row in found["my.pt"]]
    assert not {row.run_id for row in rows} & {row.run_id for row in before}
    assert [measured(row) for row in rows] == [measured(row) for row in before], "the same teacher"
    base = rows[0]
    assert (base.epochs, base.best_epoch, base.train_seconds, base.choice_checkpoints) == (0, None, 0, None)
    assert {row.base for row in rows} == {tensors_hash(tensors)[:16]}
    assert not (weights_of(tmp_path / "safetensors", base).parent / "history.csv").exists()
    assert (
        weights_of(tmp_path / "safetensors", base).read_bytes() == (tmp_path / "my.safetensors").read_bytes()
    )
    table = load_results(tmp_path / "safetensors" / "results.csv")
    assert set(table["base"]) == {base.base}
    assert "base" not in load_results(tmp_path / "trained" / "results.csv")


def test_rows_of_a_given_base_and_of_a_trained_one_are_no_repeats(tmp_path: Path) -> None:
    trained = run_chain(replace(CONFIG, chain=""), tmp_path, Log())[0]
    run_chain(replace(CONFIG, chain="", base=str(weights_of(tmp_path, trained))), tmp_path, Log())
    summary = summarise(load_results(tmp_path / "results.csv"))
    assert summary["runs"].tolist() == [1, 1]


def test_repeats_share_the_base_that_is_given(tmp_path: Path) -> None:
    trained = run_chain(replace(CONFIG, chain=""), tmp_path / "trained", Log())[0]
    path = weights_of(tmp_path / "trained", trained)
    log = Log()
    given = [replace(CONFIG, chain=chain, base=str(path)) for chain in ("kd", "qat")]
    rows = [run_chain(config, tmp_path / "given", log) for config in Repeats(2).of(given)]
    assert len({of_run[0].run_id for of_run in rows}) == 1
    assert len({of_run[-1].run_id for of_run in rows}) == 4
    assert log.trained == ["KD 0/1", "QAT+B 0/1"] * 2
    # A seed is the same run, whoever else is repeated.
    alone = run_chain(replace(given[0], seed=1), tmp_path / "given", Log())
    assert alone[-1].run_id == rows[2][-1].run_id
    assert rows[2][-1].teacher_seed is None


def test_a_base_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    trained = run_chain(replace(CONFIG, chain=""), tmp_path / "trained", Log())[0]
    config = replace(
        CONFIG, chain="kd", base=str(weights_of(tmp_path / "trained", trained)), base_hash="0" * 16
    )
    with pytest.raises(ResultsError, match="holds other weights than when this command began"):
        run_chain(config, tmp_path / "given", Log())
    assert not (tmp_path / "given").exists()
