"""A model's answers, kept as they come, so that a killed command goes on where it stopped."""

import json
from pathlib import Path
from typing import Any


def kept(path: Path | None) -> dict[str, dict[str, Any]]:
    """Key -> answer, of an earlier command; a line that was cut off is none."""
    if path is None or not path.is_file():
        return {}
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            known[entry["key"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return known


def keep(path: Path | None, key: str, **answer: Any) -> None:
    """Add one answer; without a path nothing is kept."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"key": key, **answer}))
