"""The command ``stream``: parse, call, print; torch is imported where it is used."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from bench.commands.numbers import Number, Whole
from bench.plugins import plugin_option


@click.command()
@plugin_option()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("audio")
@click.option("--chunk-ms", type=Whole(1), default=80, show_default=True, help="Audio in each step.")
@click.option(
    "--max-buffer-len",
    type=Whole(1),
    help="Model frames that attention or a mean over time looks back on, of 80 ms in crnn.  [default: 1.92 "
    "seconds of them, or a longer clip]",
)
@click.option(
    "--threshold",
    type=Number(0, 1, min_open=True),
    help="Detect a word at or above this probability.  [default: chosen on validation, for each word]",
)
@click.option(
    "--max-false-alarms",
    type=Number(0),
    default=10,
    show_default=True,
    help="An hour and word, on validation, for 'test'.",
)
@click.option("--data", help="Where the run's corpus lies now, for 'test'.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for figures.  [default: RUN/stream]",
)
def stream(
    run_path: Path,
    audio: str,
    chunk_ms: int,
    max_buffer_len: int | None,
    threshold: float | None,
    max_false_alarms: float,
    data: str | None,
    out: Path | None,
) -> None:
    """Print detections as they come, and draw probability over time.

    RUN is a folder of out/runs, or a file in it. AUDIO is a recording (WAV, Opus, MP3, ...), '-' for raw
    16-bit 16 kHz PCM on standard input, or 'test': the clips of RUN's test speakers, joined with background
    noise.
    """
    from bench.stream.joined_run import stream_test
    from bench.stream.run import StreamConfig, stream_file

    config = StreamConfig(chunk_ms, max_buffer_len, threshold, max_false_alarms)
    if audio == "test":
        stream_test(run_path, data, config, out, click.echo)
    elif stream_file(run_path, audio, config, out, click.echo).interrupted and audio != "-":
        raise click.exceptions.Exit(128 + signal.SIGINT)
