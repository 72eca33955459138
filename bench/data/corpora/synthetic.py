"""The embedded corpus: synthetic speech, made on first use by espeak-ng.

It lets every command run from an empty folder, and serves to compare compressors with each other. It is no
stand-in for recorded speech: a network trained on it understands few recorded words.

Recipe. The 30 words of Speech Commands v0.01 and the keyword, which gets 15 % of the clips. Some 200
speakers, each a voice file of the engine perturbed in vocal tract, pitch, breath and flutter, in one of
eight English accents. Voices that sound nearly alike form one of 39 families, and no family is in two splits
(65, 15 and 20 % for training, validation and test). Per clip: rate, pitch, range and intonation; a place
within 100 ms of the middle; for 60 % a room (RT60 0.1 to 0.6 s); for 80 % a spectral tilt, for 40 % a narrow
band; noise (30 % babble of the split's other voices without the keyword, else white, pink, brown, hum or
clatter) at 0 to 25 dB SNR; a level of -34 to -16 dBFS. Words that sound like the keyword ("two" beside "to")
are left out. Each draw is keyed by (seed, speaker, word, take), so a clip does not depend on the order or on
the number of workers.

The engine is free software under the GPL, version 3. It comes with the wheel ``espeakng-loader`` (extra
``synth``); none of it is contained in this package. It runs in processes of its own, which hand back files
of samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.data.corpora.base import Corpus, cache_dir, load_corpus, of_length, write_corpus
from bench.data.corpora.espeak import engine_version
from bench.data.corpora.synthetic_plan import Clip, SyntheticConfig, make_clips
from bench.data.corpora.synthetic_worker import Babble, Job, background_noise, by_speaker, shard
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

__all__ = ["SyntheticConfig", "synthetic_corpus"]

# Raised whenever the recipe makes other clips from the same configuration.
RECIPE_VERSION = 1
NOISE_S = 60
LONGEST_SHARE = 1.5  # of a clip, at 150 words a minute; the voices say it fast enough to fit into one
WORKER_COMMAND = (sys.executable, "-m", "bench.data.corpora.synthetic_worker")
STAGES = {"speech": "speaking", "room": "rooms and noise"}


def synthetic_corpus(config: SyntheticConfig, *, progress: bool = True) -> Corpus:
    """Opens the synthetic corpus of a configuration, making it first if this is its first use.

    It is kept in the cache folder. Processes that ask for the same corpus at once make it once, and one that
    was interrupted goes on with the speakers that are missing.

    Args:
        config: What to make.
        progress: Whether to show a progress bar.

    Raises:
        CorpusError: The engine is not installed or cannot say the keyword, or a worker process died.
    """
    key = config_hash(config)
    folder = cache_dir() / "corpora" / f"synthetic-{key}"
    if folder.is_dir():
        return load_corpus(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return load_corpus(folder)
        scratch = folder.with_name(f".{folder.name}.parts")
        return _build(config, folder, scratch, key, progress=progress)


def config_hash(config: SyntheticConfig) -> str:
    """12 hex digits for all that determines the clips: configuration, recipe and engine, not the workers."""
    key = [RECIPE_VERSION, engine_version(), config.keyword, config.seed, config.n_clips, config.n_speakers]
    own = hashlib.blake2b(json.dumps(key).encode(), digest_size=6).hexdigest()
    return of_length(own, config.clip_samples)[:12]


def _build(config: SyntheticConfig, folder: Path, scratch: Path, key: str, *, progress: bool) -> Corpus:
    scratch.mkdir(parents=True, exist_ok=True)
    words = _speakable_words(config, scratch)
    clips = make_clips(config, words)
    run_stages(STAGES, config, scratch, clips, words, progress=progress)
    rooms = (np.load(shard(scratch, "room", name)) for name in by_speaker(clips))
    noise = background_noise(config, Babble(scratch, config, clips, "train"), NOISE_S)
    table = pd.DataFrame(
        {
            "word": [clip.word for clip in clips],
            "speaker": [clip.speaker.name for clip in clips],
            "split": [clip.speaker.split for clip in clips],
            "source": [clip.source for clip in clips],
        }
    )
    corpus = write_corpus(
        folder,
        name="synthetic",
        content_hash=key,
        clips=table,
        waveforms=rooms,
        noise=noise,
        clip_samples=config.clip_samples,
    )
    shutil.rmtree(scratch, ignore_errors=True)
    return corpus


def run_stages(
    stages: Mapping[str, str],
    config: SyntheticConfig,
    scratch: Path,
    clips: Sequence[Clip],
    words: tuple[str, ...],
    *,
    progress: bool,
) -> None:
    """Runs stages one after the other, each as ``run_stage`` does, with a progress bar.

    Args:
        stages: What is said of each while it runs.
        config: The corpus.
        scratch: Folder of the files.
        clips: All clips.
        words: The words that are not the keyword.
        progress: Whether to show it.

    Raises:
        CorpusError: A worker died; the message names it and the speaker.
    """
    with _progress_bar(progress) as bar:
        for stage, label in stages.items():
            report = partial(_show, bar, bar.add_task(label, total=len(clips)))
            run_stage(stage, config, scratch, clips, words, report)


def _show(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def _progress_bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not shown)


def _speakable_words(config: SyntheticConfig, scratch: Path) -> tuple[str, ...]:
    """The words beside the keyword, once the engine has shown that it can say the keyword."""
    result = scratch / "probe.json"
    if not result.is_file():
        _run_jobs([Job("probe", scratch, config, (), ())], lambda: None)
    found = json.loads(result.read_text())
    if found["peak"] == 0:
        raise CorpusError(f"keyword {config.keyword!r} makes no sound; give words as they are said")
    clip_s = config.clip_samples / SAMPLE_RATE_HZ
    if found["duration_s"] > LONGEST_SHARE * clip_s:
        raise CorpusError(
            f"keyword {config.keyword!r} takes {found['duration_s']:.1f} s to say; clips last {clip_s:g} s, "
            f"so at most {LONGEST_SHARE * clip_s:g} s at an ordinary pace would be right, or more of --clip-s"
        )
    return tuple(found["words"])


def run_stage(
    stage: str,
    config: SyntheticConfig,
    scratch: Path,
    clips: Sequence[Clip],
    words: tuple[str, ...],
    report: Callable[[int], object],
) -> None:
    """Runs one stage in worker processes, for those speakers that have no file of it yet.

    Args:
        stage: One of the worker's.
        config: The corpus.
        scratch: Folder of the files.
        clips: All clips.
        words: The words that are not the keyword.
        report: Called now and then with the number of clips done.

    Raises:
        CorpusError: A worker died; the message names it and the speaker.
    """
    (scratch / stage).mkdir(parents=True, exist_ok=True)
    counts = {name: len(group) for name, group in by_speaker(clips).items()}

    def missing() -> list[str]:
        return [name for name in counts if not shard(scratch, stage, name).is_file()]

    todo = missing()
    workers = min(config.workers, len(todo))
    shares = [tuple(todo[n::workers]) for n in range(workers)]
    jobs = [Job(stage, scratch, config, words, share) for share in shares]
    _run_jobs(jobs, lambda: report(len(clips) - sum(counts[name] for name in missing())))
    left = missing()
    if left:
        raise CorpusError(f"synthetic corpus: no {stage} of speaker {left[0]}; run again to go on")


def _run_jobs(jobs: Sequence[Job], report: Callable[[], object]) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, job in enumerate(jobs, start=1):
            processes.append(_start(job, number))  # one by one, so that an interrupt ends those started
        while any(process.poll() is None for process in processes):
            _check(jobs, processes)
            report()
            time.sleep(0.05)
        _check(jobs, processes)
        report()
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()  # ends it, as this process's own end would
        for process in processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _log_path(job: Job, number: int) -> Path:
    return job.scratch / f"{job.stage}-{number}.log"


def _start(job: Job, number: int) -> subprocess.Popen[bytes]:
    path = job.scratch / f"{job.stage}-{number}.json"
    job.save(path)
    # A worker finds the packages where this process found them, installed or not.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    with _log_path(job, number).open("wb") as log:
        return subprocess.Popen(
            [*WORKER_COMMAND, str(path)], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
        )


def _check(jobs: Sequence[Job], processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for number, (job, process) in enumerate(zip(jobs, processes, strict=True), start=1):
        if process.poll() not in {None, 0}:
            raise CorpusError(_obituary(job, number, len(jobs), process.returncode))


def _obituary(job: Job, number: int, total: int, status: int) -> str:
    """One line: which worker died, of what, at which speaker, and what to do."""
    log = _log_path(job, number)
    last = log.read_text(errors="replace").strip().rpartition("\n")[2]
    cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    left = [name for name in job.speakers if not shard(job.scratch, job.stage, name).is_file()]
    where = f" at speaker {left[0]}" if left else ""
    said = f" ({last[:400]})" if last else ""
    return (
        f"synthetic corpus: {job.stage} worker {number} of {total} died of {cause}{where}{said}; "
        f"what is done is kept, so run again to go on; its log: {log}"
    )
