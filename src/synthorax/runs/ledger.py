"""The ledger of a run: every item that was planned, and whether it is pending, done or refused, and why.

SQLite, because a row is written the moment an item is done and survives a kill at any other moment; a Parquet
file would have to be written anew each time. Its journal is a write-ahead log that is not waited for: a killed
process loses nothing, and a machine that loses power at most the last entries, whose files are adopted or made again.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from synthorax.errors import RunError

VERSION = 2
STATES = ("done", "refused", "pending")
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS items (stage TEXT, item TEXT, position INTEGER, state TEXT NOT NULL, tries INTEGER NOT NULL,"
    " file TEXT, sha256 TEXT, reason TEXT, row TEXT, PRIMARY KEY (stage, item))"
)
_ORDER = "CREATE INDEX IF NOT EXISTS in_order ON items (stage, position)"
_DONE = (
    "INSERT INTO items (stage, item, state, tries, file, sha256, row) VALUES (?, ?, 'done', 1, ?, ?, ?)"
    " ON CONFLICT (stage, item) DO UPDATE SET state = 'done', tries = tries + 1, file = excluded.file,"
    " sha256 = excluded.sha256, reason = NULL, row = excluded.row"
)


class Stored(NamedTuple):
    """A finished item's file, relative to the run folder."""

    stage: str
    item: str
    file: str
    sha256: str


class Ledger:
    """Items by stage and id. An item is entered as done after its files are in place.

    Raises:
        RunError: the file is damaged, of another version, or can't be written; the sentence names the remedy.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._told():
            is_new = not path.is_file()
            self._db = sqlite3.connect(path, isolation_level=None, timeout=60)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not is_new and version == 0:
                is_new = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
            if not is_new and version != VERSION:
                raise RunError(
                    f"{path} has ledger version {version or 1}; this synthorax reads {VERSION}. "
                    "Finish the run with the version that began it, or give another --out."
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute(_ORDER)
            if is_new:
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def plan(self, stage: str, items: Iterable[str]) -> None:
        """Enter what shall be made, in order; what is there already stays as it is."""
        with self._together():
            self._db.executemany(
                "INSERT INTO items (stage, item, position, state, tries) VALUES (?, ?, ?, 'pending', 0)"
                " ON CONFLICT (stage, item) DO UPDATE SET position = excluded.position",
                ((stage, item, position) for position, item in enumerate(items)),
            )

    def enter(
        self,
        stage: str,
        rows: Mapping[str, Mapping[str, object]],
        files: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """Enter finished items, all or none.

        Args:
            stage: of the items.
            rows: item -> its row.
            files: item -> its file (relative to the run folder) and the file's SHA-256.
        """
        at = files or {}
        with self._together():
            self._db.executemany(
                _DONE,
                (
                    (stage, item, *at.get(item, (None, None)), json.dumps(row, ensure_ascii=False))
                    for item, row in rows.items()
                ),
            )

    def refuse(self, stage: str, item: str, reason: str) -> None:
        """Enter an item that cannot be done; the same command tries it again."""
        with self._told():
            self._db.execute(
                "INSERT INTO items (stage, item, state, tries, reason) VALUES (?, ?, 'refused', 1, ?)"
                " ON CONFLICT (stage, item) DO UPDATE SET state = 'refused', tries = tries + 1, reason = excluded.reason",
                (stage, item, reason),
            )

    def forget(self, stage: str, items: Iterable[str]) -> None:
        """Done items become pending, so that the same command makes them again."""
        with self._together():
            self._db.executemany(
                "UPDATE items SET state = 'pending', file = NULL, sha256 = NULL, row = NULL WHERE stage = ? AND item = ?",
                ((stage, item) for item in items),
            )

    def take(self, other: Path, index: int, n: int) -> None:
        """Enter all items of the ``index``-th of ``n`` shards (from 1) at their places in the whole plan."""
        with self._told():
            self._db.execute("ATTACH ? AS other", (str(other),))
            try:
                self._db.execute(
                    "INSERT OR REPLACE INTO items SELECT stage, item, position * ? + ?, state, tries, file, sha256,"
                    " reason, row FROM other.items",
                    (n, index - 1),
                )
            finally:
                self._db.execute("DETACH other")

    def done(self, stage: str) -> dict[str, dict]:
        """The rows of a stage's finished items."""
        return {item: self._row(item, row) for item, row in self._done(stage, "item, row")}

    def rows(self, stage: str) -> Iterator[dict]:
        """The rows of a stage's finished items in the plan's order, one at a time."""
        return (self._row(item, row) for item, row in self._done(stage, "item, row"))

    def done_items(self, stage: str) -> dict[str, str | None]:
        """A stage's finished items, each with its file."""
        return dict(self._done(stage, "item, file"))

    def _row(self, item: str, row: str) -> dict:
        try:
            return json.loads(row)
        except ValueError as error:
            raise RunError(
                f"{self.path} has a damaged row for {item} ({error}); delete the ledger, and the run's command takes up what "
                "is whole."
            ) from error

    def _done(self, stage: str, columns: str) -> Iterator[tuple]:
        with self._told():
            yield from self._db.execute(
                f"SELECT {columns} FROM items WHERE stage = ? AND state = 'done' ORDER BY position",
                (stage,),
            )

    def stored(self) -> Iterator[Stored]:
        """Every file that a finished item has."""
        with self._told():
            found = self._db.execute(
                "SELECT stage, item, file, sha256 FROM items WHERE file IS NOT NULL ORDER BY stage, position"
            )
            yield from (Stored(*row) for row in found)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many of each planned stage's items are done, refused and pending; they add up to what was planned."""
        found: dict[str, dict[str, int]] = {}
        with self._told():
            for stage, state, n in self._db.execute(
                "SELECT stage, state, count(*) FROM items WHERE position IS NOT NULL GROUP BY stage, state"
            ):
                found.setdefault(stage, dict.fromkeys(STATES, 0))[state] = n
        return found

    def refused(self, stages: Iterable[str]) -> list[dict[str, str]]:
        """Refused items of some stages: stage, item, reason."""
        wanted = tuple(stages)
        with self._told():
            found = self._db.execute(
                f"SELECT stage, item, reason FROM items WHERE state = 'refused' AND stage IN ({','.join('?' * len(wanted))})"
                " ORDER BY stage, item",
                wanted,
            )
            return [dict(zip(("stage", "item", "reason"), row, strict=True)) for row in found]

    def fault(self) -> str | None:
        """What SQLite finds wrong with the whole file, or None; reads all of it."""
        try:
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            return str(error)
        return None if found == "ok" else " ".join(found.split())

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """All or none."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            text = str(error)
            if "full" in text or "readonly" in text or "unable to open" in text:
                remedy = "free some space or make the folder writable, then give the same command again"
            else:
                remedy = f"'synthorax runs repair {self.path.parent}' sets it aside, then the same command takes up what is whole"
            raise RunError(f"{self.path} cannot be used ({text}); {remedy}.") from error
