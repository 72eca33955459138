"""The DET figure, drawn from run folders made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from bench.cli import main
from bench.figures.det import mean_curve
from bench.figures.plots import NothingToDrawError, draw_figure
from bench.quality.keyword import Misses
from bench.quality.measures import Scored
from bench.quality.metrics import eer, frr_at_far, two_classes
from bench.results.scores import Scores, read_scores
from models.task import KeywordTask


def clips(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and speakers of 300 clips, some 40 of them the keyword."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(300) < 0.13).astype(float)
    scores = 1 / (1 + np.exp(-rng.normal(2.5 * labels, 1)))
    return labels, scores, np.array([f"s{n % 7}" for n in range(300)])


def test_the_band_is_the_interval_of_the_table() -> None:
    labels, scores, speakers = (np.tile(part, 4) for part in clips(5))
    _, band = mean_curve([Scores(labels.astype(int), two_classes(scores), speakers)], np.array([0.001, 0.01]))
    scored = Scored.of(KeywordTask(""), labels, scores, speakers)
    assert band is not None
    for column, rate in zip(band.T, ("01", "1"), strict=True):
        expected = Misses(rate).interval(scored)
        assert column == pytest.approx([expected.low, expected.high], nan_ok=True)
    # Of one other clip in a thousand nothing is known, of ten something.
    assert np.isnan(band).tolist() == [[True, False]] * 2


def save(runs: Path, run_id: str, seed: int, *, speakers: bool = True) -> None:
    """A run folder with nothing but scores."""
    labels, scores, who = clips(seed)
    (runs / run_id).mkdir(parents=True)
    kept = {"test_labels": labels, "test": scores} | ({"test_speakers": who} if speakers else {})
    np.savez_compressed(runs / run_id / "scores.npz", allow_pickle=False, **kept)


def table(*labels: str) -> pd.DataFrame:
    """Rows of one corpus, the runs named by their numbers."""
    return pd.DataFrame(
        {
            "run_id": [f"run-{n}" for n in range(len(labels))],
            "label": labels,
            "chain": ["", *["kd"] * (len(labels) - 1)],
            "status": "ok",
            "data": "tones",
            "keyword": "left",
            "au_fa_fr": 0.1,
            "size_kb": 10.0,
            "macs": 1000,
        }
    )


def curves(figure: Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in figure.axes[0].get_lines()
        if not str(line.get_label()).startswith("_")
    }


def test_a_line_a_label_with_its_band_and_equal_error(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path, f"run-{number}", number)
    figure = draw_figure(table("B", "KD"), "det", tmp_path)
    axes = figure.axes[0]
    assert list(curves(figure)) == ["B", "KD"]
    assert len(axes.collections) == 2
    dots = [line.get_xydata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    for number, (label, (x, y)) in enumerate(curves(figure).items()):
        labels, scores, _ = clips(number)
        for far, miss in zip(x[1:], y[1:], strict=True):
            assert miss == pytest.approx(
                max(frr_at_far(labels, scores, far + 1e-9), 0.5 / labels.sum()), abs=1e-9
            ), label
        assert dots[number] == pytest.approx([eer(labels, scores)] * 2)
    assert "bands: 95 %" in axes.get_xlabel()


def test_repeats_are_one_line_their_mean(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path, f"run-{number}", number)
    rates = np.array([0.1, 0.2])
    runs = [read_scores(tmp_path / f"run-{number}") for number in (1, 2)]
    line, band = mean_curve(runs, rates)
    each = [[frr_at_far(run.labels, run.of_keyword, rate) for rate in rates] for run in runs]
    assert line == pytest.approx(np.mean(each, 0))
    assert band is not None
    assert (band[0] < line).all()
    assert (line < band[1]).all()
    assert list(curves(draw_figure(table("B", "KD", "KD"), "det", tmp_path))) == ["B", "KD"]


def test_older_runs_have_no_band_and_the_figure_says_so(tmp_path: Path) -> None:
    save(tmp_path, "run-0", 0)
    save(tmp_path, "run-1", 1, speakers=False)
    axes = draw_figure(table("B", "KD", "AD"), "det", tmp_path).axes[0]
    assert len(axes.collections) == 1
    assert "no speakers kept with the scores, or only one, so no band: KD" in axes.get_xlabel()
    assert "no scores kept, so left out: AD" in axes.get_xlabel()


def test_without_run_folders_it_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(NothingToDrawError, match="no scores of the table's runs"):
        draw_figure(table("B", "KD"), "det", tmp_path / "runs")
    with pytest.raises(NothingToDrawError, match="names no runs"):
        draw_figure(table("B").drop(columns="run_id"), "det", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_damaged_scores_leave_it_out_and_are_named(tmp_path: Path, content: bytes | None) -> None:
    for number in range(2):
        save(tmp_path, f"run-{number}", number)
    (tmp_path / "run-1" / "scores.npz").write_bytes(content or b"")
    if content is None:
        np.savez(tmp_path / "run-1" / "scores.npz", test=np.zeros(3), test_labels=np.zeros(3))
    with pytest.raises(NothingToDrawError, match=r"run-1/scores\.npz cannot be loaded"):
        draw_figure(table("B", "KD"), "det", tmp_path)


def test_command_draws_it_from_the_runs_beside_the_table(tmp_path: Path) -> None:
    table("B", "KD").to_csv(tmp_path / "results.csv", index=False)
    arguments = ["figures", str(tmp_path / "results.csv"), "--kind", "det", "--kind", "size_vs_macs"]
    without = CliRunner().invoke(main, arguments)
    assert "left out: det: no scores of the table's runs" in without.stderr
    assert "size_vs_macs.png" in without.stdout
    save(tmp_path / "runs", "run-0", 0)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert (tmp_path / "figures" / "det.png").stat().st_size > 10_000
    first = (tmp_path / "figures" / "det.svg").read_bytes()
    CliRunner().invoke(main, arguments)
    assert (tmp_path / "figures" / "det.svg").read_bytes() == first
