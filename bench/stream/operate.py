"""``bench operate``: what a run's model misses at so many false alarms an hour, and how late it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from bench.data.clips import corpus_of
from bench.data.speech import Speech, open_speech
from bench.files import file_name, write_text_atomically
from bench.results.open import open_run, run_at
from bench.results.records import RunRecord
from bench.results.runs import RunFolder
from bench.stream.mistakes import Mistake, mistakes, save_mistakes
from bench.stream.operate_plot import Line, audio_behind, draw_curves, draw_delays
from bench.stream.operation import Sweep, choose, delays_ms, resolves, sweep
from bench.stream.rates import Floats
from bench.stream.run import Say
from bench.stream.running import Sounds
from bench.stream.spotter import frames_back
from bench.stream.tracks import tracks_of
from bench.terminal.tables import plain_table
from models.errors import ResultsError

POINTS_FILE, CURVES_FILE = "operating_points.csv", "operating_curves.csv"
RATES_PER_HOUR = (0.1, 0.5, 1.0)
# Attention looks back on about as much as models are trained on: so much of a clip.
LOOK_BACK = 0.96
JOININGS = 3
IDENTITY = ("run_id", "label", "chain", "model", "data", "corpus_hash", "keyword", "recipe", "seed")


@dataclass(frozen=True)
class OperateConfig:
    """How the streams are made, listened to and judged.

    Attributes:
        max_buffer_len: Model frames that attention or a mean looks back on; None for .96 of a clip.
        joinings: How many times the clips of a split are joined.
        rates_per_hour: False alarms that validation may give, one operating point each.
        speech: Folders or tables of running speech that words are set into; none: streams of clips alone.
        save_errors: Folder for misses and false alarms as recordings; None: they are not kept.
    """

    max_buffer_len: int | None = None
    joinings: int = JOININGS
    rates_per_hour: tuple[float, ...] = RATES_PER_HOUR
    speech: tuple[str, ...] = ()
    save_errors: Path | None = None


@dataclass(frozen=True)
class Operated:
    """One word of a run on long audio.

    Attributes:
        record: The run's row.
        word: The word to find.
        validation: Errors at every threshold on the validation speakers.
        test: On the test speakers.
        chosen: For each rate, the index of the threshold chosen on validation.
        delays_ms: For each rate, from the end of each word found on test to its detection.
        max_buffer_len: Model frames that it looked back on.
        run: Its folder.
        mistakes: At the last rate, on the first joining of test.
    """

    record: RunRecord
    word: str
    validation: Sweep
    test: Sweep
    chosen: tuple[int, ...]
    delays_ms: tuple[Floats, ...]
    max_buffer_len: int
    run: RunFolder | None = None
    mistakes: tuple[Mistake, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Whose figures these are; the keyword is the word to find."""
        return {name: getattr(self.record, name) for name in IDENTITY} | {"keyword": self.word}


def operate(
    paths: Sequence[Path], data: str | None, config: OperateConfig, out: Path | None, say: Say
) -> Table:
    """Finds the operating points of runs; writes two tables and two figures.

    Args:
        paths: Run folders, or files in them.
        data: Where the runs' corpus lies now; None for where it lay.
        config: How to listen and judge.
        out: Folder for tables and figures; None for ``operate/TASK/`` beside the first run's ``runs/``
            (``operate/`` for runs of several).
        say: Gets a line for each stream that is listened to, and for each file.

    Returns:
        The points, for the terminal.

    Raises:
        KwsError: A run or its corpus cannot be read, or the folder cannot be written to.
    """
    runs = [run_at(path) for path in paths]
    folders = list({run.path.resolve(): run.path for run, _ in runs}.values())
    folder = out or runs[0][0].beside("operate", [record.asked for _, record in runs])
    speech = open_speech(config.speech, progress=True) if config.speech else None
    found = [one for path in folders for one in operate_one(path, data, config, say, speech)]
    names = line_names([replace(one.record, keyword=one.word) for one in found])
    table, rates = points_table(found, config), config.rates_per_hour
    try:
        write_text_atomically(folder / POINTS_FILE, table.to_csv(index=False))
        write_text_atomically(folder / CURVES_FILE, curves_table(found).to_csv(index=False))
        lines = [
            Line(name, one.validation, one.test, one.chosen, one.delays_ms)
            for name, one in zip(names, found, strict=True)
        ]
        drawn = [*draw_curves(lines, rates, folder), *draw_delays(lines, rates, folder)]
    except OSError as error:
        raise ResultsError(
            f"nothing written to {folder}: {error.strerror or error}; give another --out"
        ) from None
    for path in (folder / POINTS_FILE, folder / CURVES_FILE, *drawn):
        say(str(path))
    if config.save_errors is not None:
        for name, one in zip(names, found, strict=True):
            say(str(save_errors(one, data, config.save_errors / file_name(name), speech)))
    return terminal_table(names, found, config)


def operate_one(
    path: Path, data: str | None, config: OperateConfig, say: Say, speech: Speech | None = None
) -> list[Operated]:
    """Each word of a run: thresholds chosen on its validation streams and applied to its test streams."""
    run, record = run_at(path)
    task = run.task()
    look_back = round(LOOK_BACK * task.clip_s * task.front_end.frames_per_second)
    frames = frames_back(open_run(path)[1], config.max_buffer_len, look_back)
    found = []
    every = tracks_of(path, data, frames, config.joinings, say, speech)
    for word, tracks in zip(task.needed, every, strict=True):
        validation, test = sweep(tracks["validation"]), sweep(tracks["test"])
        chosen = tuple(choose(validation, rate) for rate in config.rates_per_hour)
        delays = tuple(delays_ms(tracks["test"], float(test.thresholds[index])) for index in chosen)
        last = mistakes(tracks["test"][0], float(test.thresholds[chosen[-1]]))
        found.append(Operated(record, word, validation, test, chosen, delays, frames, run, tuple(last)))
    return found


def save_errors(one: Operated, data: str | None, out: Path, speech: Speech | None) -> Path:
    """Writes what a word's spotter got wrong, as recordings and a table; gives the table."""
    assert one.run is not None
    corpus, task = corpus_of(one.run, data)
    sounds = Sounds(corpus, speech)
    return save_mistakes(sounds, sounds.stream(task, "test", 0), one.word, one.mistakes, out)[-1]


def line_names(records: Sequence[RunRecord]) -> list[str]:
    """A name for each run, its label; with the keyword, data or seed where those differ."""
    told = [name for name in ("data", "keyword", "seed") if len({getattr(r, name) for r in records}) > 1]
    names = [
        ", ".join([r.label, *(f"seed {r.seed}" if name == "seed" else getattr(r, name) for name in told)])
        for r in records
    ]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({r.run_id[-6:]})"
        for name, r in zip(names, records, strict=True)
    ]


def points_table(found: Sequence[Operated], config: OperateConfig) -> pd.DataFrame:
    """A row a run and operating point; units and splits stand in the names of the columns."""
    return pd.DataFrame(
        [
            one.identity()
            | {"max_buffer_len": one.max_buffer_len, "joinings": config.joinings}
            | ({"speech": " ".join(config.speech)} if config.speech else {})
            | {"max_false_alarms_per_hour": rate, "resolved": resolves(one.validation, rate)}
            | {"threshold": float(one.test.thresholds[index])}
            | _at(one.validation, index, "validation_")
            | _at(one.test, index, "")
            | _delay(delays)
            for one in found
            for rate, index, delays in zip(config.rates_per_hour, one.chosen, one.delays_ms, strict=True)
        ]
    )


def curves_table(found: Sequence[Operated]) -> pd.DataFrame:
    """A row a run, split and threshold: what the figure of the curves is drawn from."""
    rows = []
    for one in found:
        for split, swept in (("validation", one.validation), ("test", one.test)):
            part = pd.DataFrame({"threshold": swept.thresholds, **_columns(swept)})
            part.insert(0, "split", split)
            for name, value in reversed(one.identity().items()):
                part.insert(0, name, value)
            rows.append(part)
    return pd.concat(rows, ignore_index=True)


def _columns(swept: Sweep) -> dict[str, Any]:
    """Measures at every threshold, with both ends of their 95 % intervals."""
    miss_low, miss_high = swept.miss_rate_interval
    alarms_low, alarms_high = swept.false_alarms_interval
    return {
        "hours": swept.hours,
        "false_alarms": swept.false_alarms,
        "false_alarms_per_hour": swept.false_alarms_per_hour,
        "false_alarms_per_hour_low": alarms_low,
        "false_alarms_per_hour_high": alarms_high,
        "keyword_clips": swept.missed.shape[1],
        "keyword_speakers": len(set(swept.speakers)),
        "miss_rate": swept.miss_rate,
        "miss_rate_low": miss_low,
        "miss_rate_high": miss_high,
    }


def _at(swept: Sweep, index: int, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}{name}": value[index].item() if isinstance(value, np.ndarray) else value
        for name, value in _columns(swept).items()
    }


def _delay(delays: Floats) -> dict[str, float]:
    """Median and the middle 95 % of the delays; NaN where nothing was found."""
    low, median, high = np.percentile(delays, [2.5, 50, 97.5]) if len(delays) else [np.nan] * 3
    return {"delay_ms": float(median), "delay_ms_low": float(low), "delay_ms_high": float(high)}


def terminal_table(names: Sequence[str], found: Sequence[Operated], config: OperateConfig) -> Table:
    """What a person wants to see first, in 80 columns."""
    table = plain_table("threshold chosen on validation, applied to test", _caption(found, config))
    for heading in ("chain", "allowed\nan hour", "miss rate, %\ntest", "false alarms\nan hour, test"):
        table.add_column(heading, justify="left" if heading == "chain" else "right", no_wrap=True)
    table.add_column("delay, ms\ntest", justify="right", no_wrap=True)
    points = points_table(found, config).to_dict("records")
    for number, point in enumerate(points):
        row, part = divmod(number, len(config.rates_per_hour))
        name = names[row].replace("(", "\n (").replace(",", ",\n ")
        last = part == len(config.rates_per_hour) - 1
        table.add_row("" if part else name, *_cells(point), end_section=last)
    return table


def _cells(point: dict[Hashable, Any]) -> list[str]:
    """One operating point; ends of intervals in brackets."""
    allowed = point["max_false_alarms_per_hour"]
    mark = "" if point["resolved"] else "*"
    if point["validation_false_alarms_per_hour"] > allowed + 1e-9:
        mark = "!"
    miss, low, high = (100 * point[f"miss_rate{end}"] for end in ("", "_low", "_high"))
    alarms, fewest, most = (point[f"false_alarms_per_hour{end}"] for end in ("", "_low", "_high"))
    delay, soon, late = (point[f"delay_ms{end}"] for end in ("", "_low", "_high"))
    return [
        f"{allowed:g}{mark}",
        f"{miss:.1f} ({low:.1f}-{high:.1f})",
        f"{alarms:.2f} ({fewest:.2f}-{most:.2f})",
        "-" if np.isnan(delay) else f"{delay:.0f} ({soon:.0f} to {late:.0f})",
    ]


def _caption(found: Sequence[Operated], config: OperateConfig) -> str:
    """How much audio and how many people stand behind the figures."""
    sets = (("validation", [one.validation for one in found]), ("test", [one.test for one in found]))
    parts = [f"{split}: {audio_behind(swept)}, in {swept[0].joinings} joinings" for split, swept in sets]
    parts += ["in brackets: 95 % intervals, of the delay the middle 95 % of the clips found"]
    if any(not resolves(one.validation, rate) for one in found for rate in config.rates_per_hour):
        least = max(1 / one.validation.hours for one in found)
        parts += [
            f"* below {least:.2f} an hour, one false alarm on all of validation: the threshold allows none"
        ]
    if any(
        one.validation.false_alarms[index] > rate * one.validation.hours + 1e-9
        for one in found
        for rate, index in zip(config.rates_per_hour, one.chosen, strict=True)
    ):
        parts += ["! every threshold gives more on validation: the strictest is taken"]
    return "\n".join(parts)
