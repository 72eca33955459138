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
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import CorpusError

ENGINE_RATE_HZ = 22_050
ENGINE_PACKAGE = "espeakng-loader"
DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")
VARIANTS = "voices/!v"
LONGEST_VOICE_NAME = 35  # characters; a longer one overflows a buffer in the engine
# Constants of espeak_ng's speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _IPA = 2, 0x8000, 1, 2
_RATE, _PITCH, _RANGE = 1, 3, 4

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


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
def _loaded(engine: Engine, voice: str) -> Iterator[ctypes.CDLL]:
    accent, _, variant = voice.partition("+")
    data = engine.home / "espeak-ng-data"
    if len(voice) > LONGEST_VOICE_NAME:
        raise CorpusError(f"voice name {voice!r} is too long; at most {LONGEST_VOICE_NAME} characters work")
    # The engine takes an unknown variant for the plain voice and says nothing.
    if variant and not (data / VARIANTS / variant).is_file():
        raise CorpusError(f"no voice file {variant!r} for the voice {voice!r}")
    library = ctypes.CDLL(str(engine.library))
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
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
    parts: list[bytes] = []

    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            parts.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(collect)
    text = utterance.text.encode()
    with _loaded(engine, utterance.voice) as library:
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
    return np.frombuffer(b"".join(parts), np.int16)


def phonemes(engine: Engine, text: str, accent: str) -> str:
    """What the engine reads in a text, in the phonetic alphabet, without stress marks and spaces."""
    with _loaded(engine, accent) as library:
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        found = b""
        while rest.value:
            found += library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA) or b""
    return "".join(sound for sound in found.decode() if sound not in "ˈˌ ")
