"""The ledger of a run: which items are done, with their rows, and which were refused and why.

SQLite, because a row is written the moment an item is done and survives a kill at any other moment; a Parquet
file would have to be written anew each time.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path


class Ledger:
    """Items by stage and id. An item is entered once, after its files are in place."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS items (stage TEXT, item TEXT, reason TEXT, row TEXT, PRIMARY KEY (stage, item))"
        )

    def enter(self, stage: str, rows: Mapping[str, Mapping[str, object]]) -> None:
        """Enter finished items, all or none."""
        values = [(stage, item, json.dumps(row)) for item, row in rows.items()]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, NULL, ?)", values)
        self._db.execute("COMMIT")

    def refuse(self, stage: str, item: str, reason: str) -> None:
        """Enter an item that cannot be done."""
        self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, NULL)", (stage, item, reason))

    def done(self, stage: str) -> dict[str, dict]:
        """The rows of a stage's finished items."""
        found = self._db.execute("SELECT item, row FROM items WHERE stage = ? AND reason IS NULL", (stage,))
        return {item: json.loads(row) for item, row in found}

    def refused(self, stages: Iterable[str]) -> list[dict[str, str]]:
        """Refused items of some stages: stage, item, reason."""
        wanted = tuple(stages)
        found = self._db.execute(
            f"SELECT stage, item, reason FROM items WHERE reason IS NOT NULL AND stage IN ({','.join('?' * len(wanted))})"
            " ORDER BY stage, item",
            wanted,
        )
        return [dict(zip(("stage", "item", "reason"), row, strict=True)) for row in found]

    def close(self) -> None:
        self._db.close()
