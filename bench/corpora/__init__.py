"""Where clips come from."""

from pathlib import Path

from bench.corpora.base import Corpus
from models.errors import CorpusError


def open_corpus(data: str, keyword: str | None, *, progress: bool = True) -> Corpus:
    """The corpus that ``--data`` names, made or fetched first where it has to be.

    Args:
        data: ``synthetic``, ``speech-commands`` (v0.01), ``speech-commands-v0.02``, or a folder.
        keyword: The synthetic corpus speaks it; every other one must hold it, unless it is None.
        progress: Show progress bars.

    Raises:
        CorpusError: What is wrong with the data, the keyword or a split, and what would be right.
    """
    if data == "synthetic":
        from bench.corpora.synthetic import SyntheticConfig, synthetic_corpus

        corpus = synthetic_corpus(SyntheticConfig(keyword=keyword or "sheila"), progress=progress)
    elif data in ("speech-commands", "speech-commands-v0.01", "speech-commands-v0.02"):
        from bench.corpora.speech_commands import speech_commands_corpus

        version = "v0.02" if data.endswith("v0.02") else "v0.01"
        corpus = speech_commands_corpus(version, progress=progress)
    elif Path(data).is_dir():
        from bench.corpora.folder import folder_corpus

        corpus = folder_corpus(Path(data), progress=progress)
    else:
        raise CorpusError(
            f"no data {data!r}: give synthetic, speech-commands, speech-commands-v0.02 or a folder"
        )
    if keyword is not None:
        _check_keyword(corpus, keyword)
    return corpus


def _check_keyword(corpus: Corpus, keyword: str) -> None:
    """Refuses a keyword that is missing, or alone, in one of the splits."""
    labels = corpus.labels(keyword)
    for split in ("train", "validation", "test"):
        found = labels[corpus.indices(split)]
        if found.sum() == 0:
            raise CorpusError(
                f"no clip of {keyword!r} in the {split} split; choose a word with more speakers"
            )
        if found.sum() == len(found):
            raise CorpusError(
                f"only {keyword!r} in the {split} split; other words are needed to tell it from"
            )
