"""Which clip stands in which split: by the lists that came with the clips, by speaker, or by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from bench.data.corpora.base import AUDIO_SUFFIXES, SPLITS, VALIDATION_AND_TEST, stands_in
from models.errors import CorpusError

SPLIT_RULES = ("speaker", "random")
# What a content hash holds of a rule; another text where the same files would be split in another way.
RULE_TEXTS = {"speaker": "speaker", "random": "random 80/20, validation is test"}
LIST_FILES = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SHARE_PERCENT = 10.0
RANDOM_PERCENT = 20.0
RANDOM_SEED = 123
# The next two are Speech Commands' own, so that its published lists come out of the rule.
MAX_NUM_WAVS_PER_CLASS = 2**27 - 1
NO_HASH_MARK = "_nohash_"


def clip_table(sources: Sequence[str], rule: str, listed: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row a clip: word, speaker, split, source.

    Args:
        sources: Relative paths ``word/file``, sorted.
        rule: ``speaker``: by the lists, and what they leave open by speaker; ``random``: over clips,
            one fifth of them for validation and test alike.
        listed: The entries of the lists that exist, by split.

    Raises:
        CorpusError: An unknown rule, or lists that do not fit the clips.
    """
    if rule not in SPLIT_RULES:
        raise CorpusError(f"no split rule {rule!r}; there are: {', '.join(SPLIT_RULES)}")
    speakers = [speaker_of(source) for source in sources]
    split = random_splits(len(sources)) if rule == "random" else listed_splits(sources, speakers, listed)
    words = [source.split("/")[0] for source in sources]
    return pd.DataFrame({"word": words, "speaker": speakers, "split": split, "source": list(sources)})


def speaker_of(source: str) -> str:
    """Who speaks: the name before ``_nohash_``, else before the first underscore, else all of it."""
    stem = source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return stem.split(NO_HASH_MARK if NO_HASH_MARK in stem else "_", 1)[0]


def which_split(speaker: str, validation_percent: float, test_percent: float) -> str:
    """The split of a speaker by the rule published with Speech Commands (``which_set``)."""
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = (digest % (MAX_NUM_WAVS_PER_CLASS + 1)) * (100.0 / MAX_NUM_WAVS_PER_CLASS)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + test_percent else "train"


def random_splits(count: int) -> list[str]:
    """80/20 over clips, the same for the same number of clips: not speaker-disjoint, and no test set.

    The reference study's way: the fifth that picks the best epoch is also the one that is reported.
    """
    held_out = np.random.default_rng(RANDOM_SEED).permutation(count)[: round(count * RANDOM_PERCENT / 100)]
    split = np.full(count, "train", dtype=object)
    split[held_out] = VALIDATION_AND_TEST
    return [str(name) for name in split]


def listed_splits(
    sources: Sequence[str], speakers: Sequence[str], listed: Mapping[str, Sequence[str]]
) -> list[str]:
    """By the lists; a split without a list gets its share of the other clips by speaker.

    Raises:
        CorpusError: Most entries of a list match no clip, or a clip stands in both lists.
    """
    members = {split: matched(sources, entries, LIST_FILES[split]) for split, entries in listed.items()}
    if both := sorted(members.get("validation", set()) & members.get("test", set())):
        files = " and ".join(LIST_FILES.values())
        raise CorpusError(f"{both[0]} stands in {files}; a clip can be in one of them only")
    percents = {split: 0.0 if split in listed else SHARE_PERCENT for split in LIST_FILES}
    split_of = {source: split for split, found in members.items() for source in found}
    return [
        split_of.get(source) or which_split(speaker, percents["validation"], percents["test"])
        for source, speaker in zip(sources, speakers, strict=True)
    ]


def filled_splits(given: Sequence[str], speakers: Sequence[str]) -> list[str]:
    """A split for the clips that name none: the speaker's, where others name it, else by speaker.

    As with lists, a split that is named anywhere gets no others by the rule.

    Args:
        given: A split, or empty, for each clip.
        speakers: Who speaks in each.
    """
    percents = {split: 0.0 if split in given else SHARE_PERCENT for split in LIST_FILES}
    of_speaker = {speaker: split for speaker, split in zip(speakers, given, strict=True) if split}
    return [
        split or of_speaker.get(speaker) or which_split(speaker, percents["validation"], percents["test"])
        for speaker, split in zip(speakers, given, strict=True)
    ]


def matched(sources: Sequence[str], entries: Sequence[str], list_file: str) -> set[str]:
    """The clips that a list names, whether or not with the extension they have here.

    Entries of words without a folder are passed over: lists may be those of a larger corpus.

    Raises:
        CorpusError: More than half of the entries match no clip.
    """
    exact = set(sources)
    by_stem: dict[str, list[str]] = {}
    for source in sources:
        by_stem.setdefault(_stem(source), []).append(source)
    words = {source.split("/")[0] for source in sources}
    counted = [entry for entry in entries if entry.split("/")[0] in words] or list(entries)
    found = {entry: [entry] if entry in exact else by_stem.get(_stem(entry), []) for entry in counted}
    missing = [entry for entry, clips in found.items() if not clips]
    if len(missing) > len(found) / 2:
        raise CorpusError(
            f"{len(missing)} of {len(found)} entries of {list_file} match no clip (first: {missing[0]}); "
            f"an entry reads like {sources[0]}"
        )
    return {clip for clips in found.values() for clip in clips}


def list_entries(text: str) -> list[str]:
    """The entries of a list file: one ``word/file`` a line, blank lines and ``./`` ignored."""
    lines = (line.strip().replace("\\", "/").removeprefix("./") for line in text.splitlines())
    return [line for line in lines if line]


def check_splits(clips: pd.DataFrame, name: str, remedy: Callable[[str], str]) -> None:
    """Nothing, if all splits hold clips.

    Args:
        clips: The table of clips.
        name: The corpus's name.
        remedy: What fills a split that is empty.

    Raises:
        CorpusError: A split is empty; the message says what to do.
    """
    for split in SPLITS:
        if not stands_in(clips, split).any():
            speakers = clips["speaker"].nunique()
            raise CorpusError(
                f"the {split} split of {name!r} is empty ({len(clips)} clips, {speakers} speakers); "
                f"{remedy(split)}, or add speakers"
            )


def _stem(source: str) -> str:
    head, dot, suffix = source.rpartition(".")
    return head if dot + suffix.lower() in AUDIO_SUFFIXES else source
