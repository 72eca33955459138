"""Calls the speech engine espeak-ng through ctypes; only for processes that do nothing else.

The engine and its data come from the wheel ``espeakng-loader``. It keeps state from one utterance to the
next, so each utterance gets a library loaded anew from a private copy: then it depends on its arguments
alone, not on what was said before. Two engines at once in one process crash.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from models.errors import CorpusError

ENGINE_RATE_HZ = 22_050
ENGINE_PACKAGE = "espeakng-loader"
DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
VARIANTS = "voices/!v"
LONGEST_VOICE_NAME = 35  # characters; a longer one overflows a buffer in the engine
# Constants of espeak_ng's speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _PHONEME_EVENTS, _UTF8, _IPA = 2, 0x8000, 1, 1, 2
_LAST, _WORD, _PHONEME = 0, 1, 7  # types of events
PAUSE = "_"  # what the names of pauses begin with
_RATE, _PITCH, _RANGE = 1, 3, 4


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # counted from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class Heard(NamedTuple):
    """Something that the engine says of an utterance: a sound begins, or a word where there is no ``sound``.

    Attributes:
        character: Where in the text, counted from 0.
        sample: When.
        sound: The engine's name of the sound.
    """

    character: int
    sample: int
    sound: str | None


class Word(NamedTuple):
    """A word of an utterance: its text, its first sample and the one behind its last."""

    text: str
    first: int
    end: int


@dataclass(frozen=True)
class Utterance:
    """All that one spoken clip depends on.

    Attributes:
        text: What is said.
        voice: Accent and voice file, for example ``en-us+klatt3-017``.
        seed: Seed of the engine's own noise.
        rate_wpm: Words a minute, 80 to 450.
        pitch: 0 to 100, the voice's own pitch at 50.
        pitch_range: 0 to 100, the voice's own range at 50.
    """

    text: str
    voice: str
    seed: int = 0
    rate_wpm: int = 150
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Engine:
    """A private copy of the engine: its library, and the folder that holds ``espeak-ng-data``."""

    library: Path
    home: Path


def engine_version() -> str:
    """Version of the installed wheel, without loading the engine.

    Raises:
        CorpusError: It is not installed.
    """
    try:
        return importlib.metadata.version(ENGINE_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise CorpusError(
            'the synthetic corpus needs a speech engine; install it: pip install "kws-bench[synth]"'
        ) from None


def installed_package() -> Path:
    """Folder of the engine's wheel, found without importing it."""
    spec = importlib.util.find_spec("espeakng_loader")
    if spec is None or spec.origin is None:
        raise CorpusError("the speech engine is broken; install it again: pip install espeakng-loader")
    return Path(spec.origin).parent


def installed_variant(name: str) -> str:
    """Text of one of the engine's own voice variants.

    Raises:
        CorpusError: There is none of that name; the engine itself would fall back to the plain voice.
    """
    path = installed_package() / "espeak-ng-data" / VARIANTS / name
    if not path.is_file():
        raise CorpusError(f"the engine has no voice variant {name!r}; install {ENGINE_PACKAGE} 0.2.4")
    return path.read_text(encoding="utf-8", errors="replace")


def private_engine(folder: Path) -> Engine:
    """Copies the library and the English part of the data, under 2 MB, into ``folder``."""
    package = installed_package()
    libraries = [path for path in package.iterdir() if path.suffix in {".so", ".dylib", ".dll"}]
    library = Path(shutil.copy(libraries[0], folder))
    source, target = package / "espeak-ng-data", folder / "espeak-ng-data"
    (target / "lang" / "gmw").mkdir(parents=True)
    (target / VARIANTS).mkdir(parents=True)
    for name in DATA_FILES:
        shutil.copy(source / name, target)
    for accent in (source / "lang" / "gmw").glob("en*"):
        shutil.copy(accent, target / "lang" / "gmw")
    return Engine(library, folder)


def add_voice(engine: Engine, name: str, text: str) -> None:
    """Makes a voice file of the private copy, to be called ``<accent>+<name>``."""
    (engine.home / "espeak-ng-data" / VARIANTS / name).write_text(text, encoding="utf-8")


@contextmanager
def _loaded(engine: Engine, voice: str, options: int = _DONT_EXIT) -> Iterator[ctypes.CDLL]:
    accent, _, variant = voice.partition("+")
    data = engine.home / "espeak-ng-data"
    if len(voice) > LONGEST_VOICE_NAME:
        raise CorpusError(f"voice name {voice!r} is too long; at most {LONGEST_VOICE_NAME} characters work")
    # The engine takes an unknown variant for the plain voice and says nothing.
    if variant and not (data / VARIANTS / variant).is_file():
        raise CorpusError(f"no voice file {variant!r} for the voice {voice!r}")
    library = ctypes.CDLL(str(engine.library))
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), options)
        if rate != ENGINE_RATE_HZ:
            raise CorpusError(f"the speech engine did not start (it answered {rate}, not {ENGINE_RATE_HZ})")
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise CorpusError(f"the speech engine has no accent {accent!r}")
        yield library
        library.espeak_Terminate()
    finally:
        close = getattr(_ctypes, "dlclose", None) or getattr(_ctypes, "FreeLibrary")  # noqa: B009
        close(library._handle)


def speak(engine: Engine, utterance: Utterance) -> npt.NDArray[np.int16]:
    """Speaks one utterance; the same one gives the same samples each time.

    Returns:
        Samples at ``ENGINE_RATE_HZ``, shape (L,), with the silence that the engine puts around.

    Raises:
        CorpusError: The voice or its accent does not exist, or the engine failed.
    """
    return _spoken(engine, utterance, _DONT_EXIT)[0]


def speak_words(engine: Engine, utterance: Utterance) -> tuple[npt.NDArray[np.int16], list[Word]]:
    """Speaks one utterance as ``speak`` does, and says when each of its words is heard.

    Raises:
        CorpusError: As ``speak``.
    """
    samples, heard = _spoken(engine, utterance, _DONT_EXIT | _PHONEME_EVENTS)
    return samples, word_times(utterance.text, heard, len(samples))


def word_times(text: str, heard: Sequence[Heard], samples: int) -> list[Word]:
    """When each word of a text is heard: from where it begins to the next word or pause.

    Words that the engine reads as one ("of the") are one.

    Args:
        text: What was said.
        heard: What the engine said of it, in order.
        samples: Length of the utterance.

    Examples:
        >>> of_go = [Heard(0, 5, None), Heard(0, 9, "g"), Heard(0, 12, "oU")]
        >>> of_on = [Heard(4, 15, None), Heard(4, 15, "O"), Heard(4, 20, "_:")]
        >>> word_times("Go, on.", of_go + of_on, 30)
        [Word(text='go', first=5, end=15), Word(text='on', first=15, end=20)]
    """
    spans: dict[int, tuple[int, int]] = {}
    start = first = 0
    for entry, behind in zip(heard, [*(next_one.sample for next_one in heard[1:]), samples], strict=True):
        if entry.sound is None:
            start, first = entry.character, entry.sample
        elif entry.sound[:1] not in ("", PAUSE):
            spans[start] = first, behind
    texts = [text[start:following] for start, following in pairwise([*spans, len(text)])]
    return [
        Word(" ".join(re.findall(r"[\w'-]+", said)).lower(), first, end)
        for said, (first, end) in zip(texts, spans.values(), strict=True)
    ]


def _is_event(event: _Event) -> bool:
    return bool(event.type != _LAST)


def _spoken(engine: Engine, utterance: Utterance, options: int) -> tuple[npt.NDArray[np.int16], list[Heard]]:
    parts: list[bytes] = []
    heard: list[Heard] = []

    def collect(samples: int | None, count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            parts.append(ctypes.string_at(samples, 2 * count))
        for event in takewhile(_is_event, cast("Iterable[_Event]", events) if events else ()):
            if event.type in (_WORD, _PHONEME):
                sound = event.name.decode(errors="replace") if event.type == _PHONEME else None
                heard.append(Heard(event.text_position - 1, event.sample, sound))
        return 0

    callback = _CALLBACK(collect)
    text = utterance.text.encode()
    with _loaded(engine, utterance.voice, options) as library:
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(utterance.seed))
        if os.name == "posix":  # Breath in the Klatt voices takes its noise from the C library instead.
            ctypes.CDLL(None).srand(ctypes.c_uint(utterance.seed & 0xFFFFFFFF))
        library.espeak_SetParameter(_RATE, utterance.rate_wpm, 0)
        library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
        library.espeak_SetParameter(_RANGE, utterance.pitch_range, 0)
        size = ctypes.c_size_t(len(text) + 1)
        if library.espeak_Synth(text, size, 0, 1, 0, _UTF8, None, None) != 0:
            raise CorpusError(f"the speech engine could not say {utterance.text!r}")
    return np.frombuffer(b"".join(parts), np.int16), heard


def phonemes(engine: Engine, text: str, accent: str) -> str:
    """What the engine reads in a text, in the phonetic alphabet, without stress marks and spaces."""
    with _loaded(engine, accent) as library:
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        found = b""
        while rest.value:
            found += library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA) or b""
    return "".join(sound for sound in found.decode() if sound not in "ˈˌ ")
