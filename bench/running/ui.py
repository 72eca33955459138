"""Who is told how a run goes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results.records import RunRecord
from bench.training.state import Epoch


class Ui:
    """Who is told how a run goes; this one does nothing with it."""

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """The data is there; ``about`` says what it holds."""

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """A training begins, or goes on after ``done`` epochs; ``job`` tells those at the same time apart."""

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """An epoch is done."""

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """A row is there; ``reused`` if it had been made before."""
