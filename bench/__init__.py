"""Benchmarks of compressed keyword spotters: data, training, measures, tables, figures, command line."""

import os

# Threads that wait for each other in an operation spin. By default they spin so long that on a machine with
# other work a training with two threads stands almost still; docs/architecture.md has the figures. Read when
# torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# On Apple's devices an operation that torch has no kernel for runs on the CPU instead of ending the run. Read
# when torch is first imported, too.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import Found, KwsError, Spotter, compare, load, run
    from bench.api import list_ as list

__all__ = ["Found", "KwsError", "Spotter", "compare", "list", "load", "run"]


def __getattr__(name: str) -> Any:
    """What ``bench.api`` holds, imported when it is asked for: it takes torch, and commands start fast."""
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; there is: {', '.join(__all__)}")
    from bench import api

    return getattr(api, "list_" if name == "list" else name)


def __dir__() -> tuple[str, ...]:
    return (*__all__, *globals())
