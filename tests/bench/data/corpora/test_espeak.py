"""The engine, called as the workers call it: in a process of its own that hands back a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bench.data.corpora.synthetic_plan import WORDS

pytest.importorskip("espeakng_loader")

SCRIPT = """
import json, sys, tempfile, zlib
from pathlib import Path
from bench.data.corpora import espeak, voices
from bench.data.corpora.espeak import Utterance, add_voice, phonemes, private_engine, speak, speak_words
from bench.data.corpora.synthetic_plan import SyntheticConfig, make_speakers
from bench.data.corpora.synthetic_worker import make_voice, probe, spoken
from models.errors import CorpusError

def mark(utterance):
    return zlib.crc32(speak(engine, utterance).tobytes())

def refused(call):
    try:
        call()
    except CorpusError as error:
        return str(error)
    return ""

folder = tempfile.TemporaryDirectory()
engine = private_engine(Path(folder.name))
out = {}
out["accents"] = {a: [mark(Utterance(w, a)) for w in ("marvin", "house", "four")] for a in voices.ACCENTS}
variants = [v for group in voices.FAMILIES for family in group for v in family if v != voices.PLAIN]
for variant in variants:
    add_voice(engine, variant.replace(" ", "_"), voices.voice_text(variant))
says = [Utterance("sheila", "en-us+" + v.replace(" ", "_"), seed=n) for n, v in enumerate(variants)]
out["forward"] = [mark(said) for said in says]
out["backward"] = [mark(said) for said in says[::-1]][::-1]
out["plain"] = mark(Utterance("sheila", "en-us"))
out["seeds"] = [mark(Utterance("sheila", "en-us+" + v, seed=n)) for v in ("f2", "caleb") for n in (1, 9**9)]
out["speakers"] = []
config = SyntheticConfig(workers=1)
for speaker in [s for split in make_speakers(config).values() for s in split]:
    make_voice(engine, config, speaker)
    wave = spoken(engine, Utterance("seven", speaker.voice), 15_200)
    own, base = mark(Utterance("seven", speaker.voice)), mark(Utterance("seven", speaker.accent))
    out["speakers"].append([speaker.name, own, base, len(wave) / 16000, float(abs(wave).max())])
TEXT = "Happy house of the people, seven go!"
out["timed"] = []
for variant in [v for v in variants if "echo" not in voices.voice_text(v)][::5]:
    said = Utterance(TEXT, "en-us+" + variant.replace(" ", "_"), rate_wpm=180)
    samples, words = speak_words(engine, said)
    pause = samples[words[3].end : words[4].first].astype(int)
    same = zlib.crc32(samples.tobytes()) == mark(said)
    out["timed"].append([same, words, len(samples), int(abs(pause).max())])
out["refused"] = [
    refused(lambda: speak(engine, Utterance("yes", "en-us+nobody"))),
    refused(lambda: speak(engine, Utterance("yes", "en-gb"))),
    refused(lambda: speak(engine, Utterance("yes", "en-us+" + "x" * 40))),
    refused(lambda: voices.voice_text("nobody")),
]
out["phonemes"] = [phonemes(engine, word, "en-us") for word in ("two", "too", "tree", "hey robot")]
out["probes"] = {word: probe(engine, word) for word in ("Too", "hey robot", "shh.", "- -")}
slow = spoken(engine, Utterance("a rather long keyword", "en-us", rate_wpm=90), 15_200)
out["longest_s"] = len(slow) / 16000
Path(sys.argv[1]).write_text(json.dumps(out))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the engine said to a script that ran in another process."""
    result = tmp_path_factory.mktemp("espeak") / "found.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(result)]
    subprocess.run(command, check=True, env=environment, timeout=120)
    return dict(json.loads(Path(result).read_text()))


def test_accents_differ(found: dict[str, Any]) -> None:
    accents = found["accents"]
    assert len(accents) == 8
    assert len({tuple(marks) for marks in accents.values()}) == 8


def test_order_does_not_matter(found: dict[str, Any]) -> None:
    # Breathy Klatt voices (Reed, caleb) are among these; their noise comes from the C library.
    assert found["forward"] == found["backward"]


def test_seed_changes_the_sound_of_breathy_voices(found: dict[str, Any]) -> None:
    assert len(set(found["seeds"])) == 4


def test_variants_are_not_the_plain_voice(found: dict[str, Any]) -> None:
    assert found["plain"] not in found["forward"]


def test_200_speakers_differ_from_each_other_and_from_the_plain_voice(found: dict[str, Any]) -> None:
    speakers = found["speakers"]
    assert len(speakers) == 200
    assert len({own for _, own, *_ in speakers}) == 200
    assert [name for name, own, base, *_ in speakers if own == base] == []


def test_speakers_make_sound_of_the_right_length(found: dict[str, Any]) -> None:
    durations = [duration_s for *_, duration_s, _ in found["speakers"]]
    assert 0.15 < min(durations) < max(durations) <= 0.95
    assert min(peak for *_, peak in found["speakers"]) > 0.05


def test_long_words_are_spoken_faster(found: dict[str, Any]) -> None:
    assert 0.7 < found["longest_s"] <= 0.95


def test_what_does_not_exist_is_refused(found: dict[str, Any]) -> None:
    variant, accent, long_name, file = found["refused"]
    assert "no voice file 'nobody'" in variant
    assert "no accent 'en-gb'" in accent
    assert "too long" in long_name
    assert "no voice variant 'nobody'" in file


def test_phonemes_tell_words_apart(found: dict[str, Any]) -> None:
    two, too, tree, two_words = found["phonemes"]
    assert two == too == "tu\u02d0"
    assert tree != two
    assert two_words.startswith("he")
    assert two_words.endswith("t")


def test_words_that_sound_like_the_keyword_are_left_out(found: dict[str, Any]) -> None:
    assert set(WORDS) - set(found["probes"]["Too"]["words"]) == {"two"}
    assert found["probes"]["hey robot"]["words"] == list(WORDS)


def test_probe_measures_the_keyword(found: dict[str, Any]) -> None:
    assert 0.5 < found["probes"]["hey robot"]["duration_s"] < 1.2
    assert found["probes"]["hey robot"]["peak"] > 3000
    assert found["probes"]["- -"]["peak"] == 0


def test_words_are_timed_without_changing_what_is_said(found: dict[str, Any]) -> None:
    """The comma is a pause: nothing at all is heard between the words on both sides of it."""
    assert len(found["timed"]) > 5
    for same, words, samples, in_pause in found["timed"]:
        assert same
        assert [word for word, _, _ in words] == ["happy", "house", "of the", "people", "seven", "go"]
        times = [time for _, first, end in words for time in (first, end)]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= samples
        assert in_pause == 0
