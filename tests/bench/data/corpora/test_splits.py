import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import bench.data.corpora as subject
from bench.cli import main
from bench.comparing.tables import compare, side
from bench.config import Recipe, RunConfig
from bench.data.clips import corpus_of
from bench.data.corpora import open_corpus
from bench.figures.rows import groups
from bench.results.records import RunRecord
from bench.results.runs import RunFolder
from bench.results.table import load_results
from bench.running.pipeline import plan, run_chain
from compressors.chain import parse
from models.crnn import CrnnSpec
from models.errors import CorpusError
from models.task import KeywordTask

RECIPE = Recipe(versions=1, batch_size=64)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """The base trained for an epoch, on both splits."""
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for split in ("random", "speaker"):
            run_chain(
                RunConfig(
                    "", data=str(tone_folder), task=KeywordTask("start"), recipe=RECIPE, epochs=1, split=split
                ),
                folder,
            )
    return folder


def test_a_fifth_of_the_clips_is_validation_and_test(tone_folder: Path) -> None:
    corpus = open_corpus(str(tone_folder), KeywordTask("start"), split="random", progress=False)
    train, validation, test = (set(corpus.indices(name)) for name in ("train", "validation", "test"))
    assert (len(train), len(validation)) == (115, 29)  # 80 and 20 % of 144
    assert validation == test
    assert not train & test
    assert train | test == set(range(144))
    speakers = corpus.clips["speaker"]
    assert set(speakers[list(train)]) & set(speakers[list(test)])


def test_the_row_is_marked_and_both_figures_are_of_the_same_clips(out: Path) -> None:
    random, speaker = load_results(out / "results.csv").to_dict("records")
    assert (random["split"], speaker["split"]) == ("random", "speaker")
    assert random["corpus_hash"] != speaker["corpus_hash"]
    assert random["run_id"] != speaker["run_id"]
    assert random["clips"] == random["validation_clips"] == 29
    for name in ("au_fa_fr", "auc", "eer", "accuracy"):
        assert random[name] == random[f"validation_{name}"]
    assert len(groups(load_results(out / "results.csv"))) == 2


def test_a_run_opens_its_corpus_with_its_own_split(out: Path) -> None:
    for row in load_results(out / "results.csv").to_dict("records"):
        corpus, task = corpus_of(RunFolder(out / "runs" / row["run_id"]), None)
        assert (corpus.hash, task) == (row["corpus_hash"], KeywordTask("start"))


def test_a_run_of_a_version_that_knew_no_splits_is_by_speaker(out: Path, tmp_path: Path) -> None:
    row = load_results(out / "results.csv").to_dict("records")[1]
    old = shutil.copytree(out / "runs" / row["run_id"], tmp_path / row["run_id"])
    about = json.loads((old / "config.json").read_text())
    del about["run"]["split"]
    (old / "config.json").write_text(json.dumps(about))
    assert corpus_of(RunFolder(old), None)[0].hash == row["corpus_hash"]


def test_quality_is_not_compared_between_splits(out: Path) -> None:
    table = load_results(out / "results.csv")
    found = compare(side("a", table[:1]), side("b", table[1:])).changes.set_index("measure")
    assert found.loc["one_minus_auc", "verdict"] == "not compared"
    assert found.loc["one_minus_auc", "reason"] == "different splits: random and speaker"
    assert found.loc["macs", "verdict"] == "unchanged"


def test_rows_without_the_column_are_by_speaker(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    pd.read_csv(out / "results.csv").iloc[1:].drop(columns="split").to_csv(path, index=False)
    assert load_results(path)["split"].tolist() == ["speaker"]
    found = compare(
        side("old", load_results(path)), side("new", load_results(out / "results.csv")[1:])
    ).changes
    assert set(found["verdict"]) == {"unchanged"}


def test_the_split_is_in_the_corpus_alone_so_old_runs_are_found_again() -> None:
    chain = parse("kd", CrnnSpec())
    config = RunConfig("kd", data="x", task=KeywordTask("start"))
    random = dataclasses.replace(config, split="random")
    ids = [[stage.run.run_id for stage in plan(each, chain, "hash", Path())] for each in (config, random)]
    assert ids[0] == ids[1]
    assert RunRecord.__dataclass_fields__["split"].default == "speaker"


@pytest.mark.parametrize("data", ["synthetic", "plugged"])
def test_corpora_with_splits_of_their_own_refuse(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(keyword: str | None, progress: bool) -> None:
        raise AssertionError("opened")

    monkeypatch.setitem(subject._OPENERS, data, never)
    with pytest.raises(CorpusError, match=f"'{data}' comes with its own splits .*speech-commands"):
        open_corpus(data, KeywordTask("start"), split="random", progress=False)
    with pytest.raises(CorpusError, match="no split rule 'rnd'; there are: speaker, random"):
        open_corpus(data, KeywordTask("start"), split="rnd", progress=False)


def test_the_command_line_reaches_it(tone_folder: Path, tmp_path: Path) -> None:
    words = ["run", "--data", str(tone_folder), "--keyword", "start", "--chain", "base", "--epochs", "1"]
    words += ["--versions", "1", "--split", "random", "--out", str(tmp_path)]
    outcome = CliRunner().invoke(main, words, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "random split" in outcome.output
    assert load_results(tmp_path / "results.csv")["split"].tolist() == ["random"]
    outcome = CliRunner().invoke(main, ["data", "info", str(tone_folder), "--split", "random"])
    assert [line.split()[:2] for line in outcome.output.splitlines()[4:8]] == [
        ["train", "115"],
        ["validation", "29"],
        ["test", "29"],
        ["all", "144"],
    ]
