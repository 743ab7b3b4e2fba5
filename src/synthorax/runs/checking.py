"""Is a run whole: what it says it made, against what is there; and mending it."""

import os
from dataclasses import dataclass
from pathlib import Path

from synthorax.dataset import read_metadata
from synthorax.errors import InputError, RunError
from synthorax.files import remove_unfinished, sha256_of
from synthorax.progress import track
from synthorax.runs.folder import lock, read_config
from synthorax.runs.ledger import Ledger, Stored


@dataclass(frozen=True)
class Verdict:
    """What was found; ``problems`` are sentences, empty where the run is whole."""

    n_files: int
    problems: tuple[str, ...]
    faulty: tuple[Stored, ...]


def run_folders(path: Path) -> list[Path]:
    """The run itself, or where it has not been merged yet its shards.

    Raises:
        RunError: neither is there.
    """
    shards = sorted((path / "shards").glob("*-of-*/config.json"))
    if shards and not (path / "config.json").is_file():
        return [file.parent for file in shards]
    read_config(path)
    return [path]


def status(path: Path) -> dict[str, dict[str, int]]:
    """Counts of done, refused and pending items by stage; also while the run works.

    Raises:
        RunError: no run there, or its ledger is damaged.
    """
    read_config(path)
    ledger = _ledger(path)
    counts = ledger.counts()
    ledger.close()
    return counts


def verify(path: Path) -> Verdict:
    """Compare every finished item with its file, byte by byte (SHA-256), and the manifest with the ledger.

    Raises:
        RunError: no run there.
    """
    read_config(path)
    try:
        ledger = _ledger(path)
    except RunError as error:
        return Verdict(0, (str(error),), ())
    try:
        fault = ledger.fault()
        if fault:
            return Verdict(
                0, (f"{ledger.path} is damaged ({fault}); run 'synthorax runs repair {path}'.",), ()
            )
        problems, faulty, n_files = [], [], 0
        for stored in track(ledger.stored(), "Verifying", unit="files"):
            n_files += 1
            file = path / stored.file
            if not file.is_file():
                problems.append(f"{file} is missing.")
            elif sha256_of(file) != stored.sha256:
                problems.append(f"{file} is not the file that was made: its SHA-256 differs.")
            else:
                continue
            faulty.append(stored)
        problems += _manifest_problems(path, ledger)
        return Verdict(n_files, tuple(problems), tuple(faulty))
    finally:
        ledger.close()


def _ledger(path: Path) -> Ledger:
    file = path / "ledger.sqlite"
    if not file.is_file():
        raise RunError(f"{file} is missing; give the run's command again: it takes up what is whole.")
    return Ledger(file)


def _manifest_problems(path: Path, ledger: Ledger) -> list[str]:
    counts = ledger.counts()
    if not counts or any(states["pending"] for states in counts.values()):
        pending = sum(states["pending"] for states in counts.values())
        return [f"{path} is not finished: {pending} items are pending. Give its command again."]
    try:
        listed = set(read_metadata(path / "synthetic")["file_name"])
    except (InputError, OSError) as error:
        return [f"{error} The run's command writes it again."]
    missing = [
        stored.file
        for stored in ledger.stored()
        if stored.file.startswith("synthetic/") and stored.file.removeprefix("synthetic/") not in listed
    ]
    return [f"{path / 'synthetic' / 'metadata.parquet'} lacks {missing[0]}; give the run's command again."] if missing else []  # fmt: skip


def repair(path: Path) -> list[str]:
    """Make a run fit to be finished by its own command: nothing whole is lost, nothing broken is kept.

    A damaged ledger is set aside; images that are whole carry their item's key and are adopted by the command.
    Faulty images are removed and their items become pending. Half-written temporary files are removed.

    Returns:
        What was done, as sentences.

    Raises:
        RunError: no run there, or a process works on it.
    """
    read_config(path)
    descriptor = lock(path)
    try:
        unfinished = remove_unfinished(path, leave=["shards"])
        done = [f"removed {file}, which was never finished" for file in unfinished]
        try:
            ledger = _ledger(path)
            fault = ledger.fault()
            ledger.close()
        except RunError as error:
            fault = str(error)
        if fault and (path / "ledger.sqlite").is_file():
            aside = _set_aside(path)
            return [
                *done,
                f"set the damaged ledger aside as {aside}; the run's command takes up every whole image",
            ]
        verdict = verify(path)
        ledger = _ledger(path)
        for stored in verdict.faulty:
            (path / stored.file).unlink(missing_ok=True)
            ledger.forget(stored.stage, [stored.item])
            done.append(f"{stored.file} will be made again")
        ledger.close()
        return done
    finally:
        os.close(descriptor)


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path / f"ledger.damaged-{number}.sqlite").exists():
        number += 1
    (path / "ledger.sqlite").rename(aside)
    for rest in ("-wal", "-shm"):
        (path / f"ledger.sqlite{rest}").unlink(missing_ok=True)
    return aside
