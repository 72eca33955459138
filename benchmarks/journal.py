"""A file of JSON lines that a run which was killed leaves readable, and that the next one goes on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """Lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; one that was cut off in the middle is passed over."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def add(self, line: dict[str, Any]) -> None:
        """Adds a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                # Nothing is appended to a line that was cut off.
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write(b"\n" * torn + json.dumps(line).encode() + b"\n")
