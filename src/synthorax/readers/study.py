"""A reader study is one SQLite file: films without names, cases with their truth, worklists, answers, codes.

An answer is one transaction (WAL, synchronous FULL): it is on disk before the reader's next page, whatever is killed
afterwards. The films are stored here rather than beside it, so that no path and no file name can reach a reader.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthorax.errors import InputError
from synthorax.readers.protocols import FAILURE_MODES, Protocol, protocol

_TABLES = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE film (film INTEGER PRIMARY KEY, png BLOB NOT NULL);
CREATE TABLE cases (case_number INTEGER PRIMARY KEY, patient_id TEXT, shown TEXT NOT NULL, sides TEXT NOT NULL);
CREATE TABLE reader (reader INTEGER PRIMARY KEY, link TEXT UNIQUE NOT NULL);
CREATE TABLE item (reader INTEGER, position INTEGER, case_number INTEGER, is_flipped INTEGER, is_repeat INTEGER,
                   opened_at REAL, PRIMARY KEY (reader, position));
CREATE TABLE answer (reader INTEGER, position INTEGER, answer TEXT NOT NULL, comment TEXT NOT NULL,
                     seconds REAL, saved_at REAL, PRIMARY KEY (reader, position));
CREATE TABLE code (reader INTEGER, position INTEGER, mode TEXT, PRIMARY KEY (reader, position, mode));
CREATE TABLE coded (reader INTEGER, position INTEGER, PRIMARY KEY (reader, position));
"""


@dataclass(frozen=True)
class Side:
    """One film of a case and what it truly is; ``film`` numbers the stored films.

    ``file_name`` and ``prompt`` are those of the run's metadata, for whoever trains on the answers.
    """

    film: int
    arm: str
    image_id: str
    file_name: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Case:
    """What is judged: one film, or two. ``shown`` is the text that the reader sees."""

    patient_id: str
    shown: str
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Item:
    """A case's place in a reader's worklist, positions from 1. ``films`` are in the order shown."""

    position: int
    n_items: int
    shown: str
    films: tuple[int, ...]
    answer: dict[str, str] | None
    comment: str


class Study:
    """An open study. Calls may come from any thread: each has a connection of its own."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._thread, self._writing = threading.local(), threading.Lock()
        if not self.path.is_file():
            raise InputError(f"{path} does not exist; expected a study made by 'synthorax readers create'.")
        with self._open() as db:
            try:
                settings = dict(db.execute("SELECT name, value FROM setting"))
            except sqlite3.DatabaseError as error:
                raise InputError(f"{path} is no reader study ({error}); make one by 'synthorax readers create'.") from error  # fmt: skip
        self.protocol_name: str = settings["protocol"]
        self.is_simulated = settings["is_simulated"] == "1"
        self.title: str = settings["title"]

    @classmethod
    def write(
        cls,
        path: Path | str,
        protocol_name: str,
        films: Iterable[bytes],
        cases: Sequence[Case],
        worklists: Sequence[Sequence[tuple[int, bool, bool]]],
        *,
        title: str,
        is_simulated: bool,
    ) -> "Study":
        """Write a new study; every reader's link is drawn from the system's randomness.

        Args:
            path: where to; must not exist, so that no answer is ever overwritten.
            protocol_name: one of ``PROTOCOLS``.
            films: PNG bytes in the order that the cases' sides number them.
            cases: what is judged.
            worklists: for each reader ``(index of the case, is_flipped, is_repeat)`` in reading order.
            title: for the analyst's pages.
            is_simulated: the answers will come from a program and not from a reader.
        """
        path = Path(path)
        if path.exists():
            raise InputError(f"{path} exists and may hold answers; take another --out.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        settings = {"protocol": protocol_name, "is_simulated": str(int(is_simulated)), "title": title,
                    "failure_modes": json.dumps(FAILURE_MODES)}  # fmt: skip
        db = sqlite3.connect(temporary)
        with db:
            db.executescript(_TABLES)
            db.executemany("INSERT INTO setting VALUES (?, ?)", settings.items())
            db.executemany("INSERT INTO film VALUES (?, ?)", enumerate(films))
            db.executemany(
                "INSERT INTO cases VALUES (?, ?, ?, ?)",
                [(n, c.patient_id, c.shown, json.dumps([vars(s) for s in c.sides])) for n, c in enumerate(cases)],
            )  # fmt: skip
            for reader, items in enumerate(worklists, 1):
                db.execute("INSERT INTO reader VALUES (?, ?)", (reader, secrets.token_urlsafe(16)))
                db.executemany(
                    "INSERT INTO item VALUES (?, ?, ?, ?, ?, NULL)",
                    [(reader, position, *map(int, item)) for position, item in enumerate(items, 1)],
                )
        db.execute("PRAGMA journal_mode = WAL")
        db.close()
        temporary.rename(path)
        return cls(path)

    @property
    def protocol(self) -> Protocol:
        return protocol(self.protocol_name)

    def links(self) -> dict[int, str]:
        """Reader -> the secret part of the reader's address."""
        with self._open() as db:
            return dict(db.execute("SELECT reader, link FROM reader ORDER BY reader"))

    def reader_of(self, link: str) -> int | None:
        """Whose link this is."""
        with self._open() as db:
            found = db.execute("SELECT reader FROM reader WHERE link = ?", (link,)).fetchone()
        return None if found is None else found[0]

    def progress(self, reader: int) -> tuple[int, int, int | None]:
        """Answered items, all items, and the first position without an answer (None when all are answered)."""
        with self._open() as db:
            n_items, n_answered, following = db.execute(
                "SELECT COUNT(*), COUNT(answer), MIN(CASE WHEN answer IS NULL THEN position END) "
                "FROM item LEFT JOIN answer USING (reader, position) WHERE reader = ?",
                (reader,),
            ).fetchone()
        return n_answered, n_items, following

    def item(self, reader: int, position: int) -> Item | None:
        """What the reader sees at a position; nothing of the truth. None where the worklist has no such position."""
        with self._open() as db:
            row = db.execute(
                "SELECT shown, sides, is_flipped, answer, comment FROM item JOIN cases USING (case_number) "
                "LEFT JOIN answer USING (reader, position) WHERE reader = ? AND position = ?",
                (reader, position),
            ).fetchone()
            (n_items,) = db.execute("SELECT COUNT(*) FROM item WHERE reader = ?", (reader,)).fetchone()
        if row is None:
            return None
        shown, sides, is_flipped, answer, comment = row
        films = [side["film"] for side in json.loads(sides)][:: -1 if is_flipped else 1]
        return Item(position, n_items, shown, tuple(films), answer and json.loads(answer), comment or "")

    def film(self, number: int) -> bytes:
        """A stored film as PNG: no text, no palette, uncompressed, so that all have one size in bytes."""
        with self._open() as db:
            return db.execute("SELECT png FROM film WHERE film = ?", (number,)).fetchone()[0]

    def opened(self, reader: int, position: int) -> None:
        """Start the clock of a case that has no answer yet; opening it again starts it anew."""
        with self._write("NORMAL") as db:
            db.execute("UPDATE item SET opened_at = ? WHERE reader = ? AND position = ?", (time.time(), reader, position))  # fmt: skip

    def save(self, reader: int, position: int, answer: Mapping[str, str], comment: str = "") -> None:
        """Save an answer, or correct it; the time of the first answer stays.

        Raises:
            InputError: an incomplete answer, or one that is no choice.
        """
        checked = json.dumps(self.protocol.checked(answer))
        now = time.time()
        with self._write() as db:
            db.execute(
                "INSERT INTO answer SELECT reader, position, ?, ?, ? - opened_at, ? FROM item "
                "WHERE reader = ? AND position = ? "
                "ON CONFLICT DO UPDATE SET answer = excluded.answer, comment = excluded.comment",
                (checked, comment.strip(), now, now, reader, position),
            )

    def answers(self) -> Iterator[dict[str, Any]]:
        """Every answer with its truth, in reading order: for the analyst.

        The answer on a pair is 'a' or 'b' as shown; ``sides`` are in the order shown.
        """
        with self._open() as db:
            rows = db.execute(
                "SELECT reader, position, case_number, patient_id, shown, sides, is_flipped, is_repeat, answer, comment, seconds "
                "FROM answer JOIN item USING (reader, position) JOIN cases USING (case_number) ORDER BY reader, position"
            ).fetchall()
            codes: dict[tuple[int, int], list[str]] = {}
            for reader, position, mode in db.execute("SELECT * FROM code ORDER BY mode"):
                codes.setdefault((reader, position), []).append(mode)
        for reader, position, case, patient, shown, sides, flipped, repeat, answer, comment, seconds in rows:
            yield {
                "reader": reader, "position": position, "case": case, "patient_id": patient, "shown": shown,
                "sides": [Side(**side) for side in json.loads(sides)][:: -1 if flipped else 1],
                "is_repeat": bool(repeat), **json.loads(answer), "comment": comment, "seconds": seconds,
                "codes": codes.get((reader, position), []),
            }  # fmt: skip

    def failure_modes(self) -> list[str]:
        """The list that free text is coded against."""
        with self._open() as db:
            return json.loads(
                db.execute("SELECT value FROM setting WHERE name = 'failure_modes'").fetchone()[0]
            )

    def add_failure_mode(self, mode: str) -> None:
        """Add to the list; one that is there already is not added again."""
        modes = list(dict.fromkeys([*self.failure_modes(), " ".join(mode.split()).lower()]))
        with self._write() as db:
            db.execute("UPDATE setting SET value = ? WHERE name = 'failure_modes'", (json.dumps([m for m in modes if m]),))  # fmt: skip

    def uncoded(self) -> list[tuple[int, int, str]]:
        """Comments that nobody coded yet as ``(reader, position, comment)``, ordered by text: not by reader or method."""
        with self._open() as db:
            return db.execute(
                "SELECT reader, position, comment FROM answer LEFT JOIN coded USING (reader, position) "
                "WHERE comment <> '' AND coded.reader IS NULL ORDER BY comment"
            ).fetchall()

    def set_codes(self, reader: int, position: int, modes: Iterable[str]) -> None:
        """Code a comment; no mode at all says that it names no failure.

        Raises:
            InputError: a mode that is not on the study's list, or no such comment.
        """
        modes, allowed = list(modes), self.failure_modes()
        if unknown := [mode for mode in modes if mode not in allowed]:
            raise InputError(
                f"failure mode is {unknown[0]!r}; expected one of {', '.join(allowed)}. Add it first."
            )
        with self._write() as db:
            key = (reader, position)
            if not db.execute("SELECT 1 FROM answer WHERE reader = ? AND position = ?", key).fetchone():
                raise InputError(f"reader {reader} has no answer at position {position}; nothing was coded.")
            db.execute("DELETE FROM code WHERE reader = ? AND position = ?", key)
            db.executemany("INSERT INTO code VALUES (?, ?, ?)", [(*key, mode) for mode in modes])
            db.execute("INSERT OR IGNORE INTO coded VALUES (?, ?)", key)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in a transaction. It stays open: closing the last one would write the WAL back."""
        db = getattr(self._thread, "db", None)
        if db is None:
            db = self._thread.db = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        with db:
            yield db

    @contextmanager
    def _write(self, synchronous: str = "FULL") -> Iterator[sqlite3.Connection]:
        """The same, one writer at a time in the order of arrival: SQLite's own waiting sleeps longer and longer."""
        with self._writing, self._open() as db:
            db.execute(f"PRAGMA synchronous = {synchronous}")
            yield db
