"""A run's folder and its fixed contract: config, ledger, dataset, results, report.

config.json   what the run was started with; the same command goes on, another is refused
ledger.sqlite items pending, done and refused, with the reason and the file's SHA-256
run.lock      held by the process that works here
cohort/       virtual patients (demo only)
synthetic/    the dataset: images, masks, counterfactuals, metadata.parquet
reviews.jsonl verdicts and edits that people added; put into metadata.parquet whenever that is written
shards/I-of-N one run folder a shard, until 'runs merge'
results.json  every figure; report.html shows it
run.log       a line of JSON an event: started, batch halved, finished with its counts
"""

import fcntl
import json
import os
import socket
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthorax import __version__
from synthorax.errors import RunError
from synthorax.files import atomic, remove_unfinished
from synthorax.runs.ledger import Ledger


@dataclass(frozen=True)
class RunFolder:
    """An opened run."""

    path: Path
    config: dict[str, Any]
    ledger: Ledger
    _release: weakref.finalize

    @classmethod
    def open(cls, path: Path | str, config: dict[str, Any]) -> "RunFolder":
        """Start a run, or go on with one of the same config; no other process may until this one ends.

        Raises:
            RunError: the folder holds a run of another config, or of another version, or another process works on it.
        """
        path = Path(path)
        wanted = json.loads(json.dumps({"software_version": __version__, **config}))
        file = path / "config.json"
        if file.is_file():
            there = read_config(path)
            for key in sorted(wanted.keys() | there.keys()):
                if wanted.get(key) != there.get(key):
                    raise RunError(
                        f"{path} holds a run with {key} = {there.get(key)}, not {wanted.get(key)}. "
                        "Give the command it was started with, or another --out."
                    )
        else:
            with atomic(file) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1))
        return cls._opened(path, wanted)

    @classmethod
    def reopen(cls, path: Path | str) -> "RunFolder":
        """A run that is there, to look at it or to mend it.

        Raises:
            RunError: no run there, or another process works on it.
        """
        return cls._opened(Path(path), read_config(path))

    @classmethod
    def _opened(cls, path: Path, config: dict[str, Any]) -> "RunFolder":
        descriptor = lock(path)
        try:
            ledger = Ledger(path / "ledger.sqlite")
        except BaseException:
            os.close(descriptor)
            raise
        run = cls(path, config, ledger, weakref.finalize(ledger, os.close, descriptor))
        run.log("opened", n_unfinished=len(remove_unfinished(path, leave=["shards"])))
        return run

    def close(self) -> None:
        """Let another process work here."""
        self.ledger.close()
        self._release()

    @property
    def synthetic(self) -> Path:
        return self.path / "synthetic"

    def log(self, event: str, **facts: object) -> None:
        """Append a line of JSON to ``run.log``."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **facts}
        try:
            with (self.path / "run.log").open("a") as log:
                log.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise RunError(
                f"{self.path / 'run.log'} cannot be written ({error.strerror}); free some space or make the folder "
                "writable, then give the same command again."
            ) from error


def read_config(path: Path | str) -> dict[str, Any]:
    """What a run was started with.

    Raises:
        RunError: no run there, or a damaged one.
    """
    file = Path(path) / "config.json"
    if not file.is_file():
        raise RunError(f"{path} holds no run (no config.json); give the --out of a command that made one.")
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}); delete it and give the run's command again.") from error
    if not isinstance(found, dict):
        raise RunError(f"{file} holds no settings; delete it and give the run's command again.")
    return found


def lock(path: Path) -> int:
    """The folder's lock as a file descriptor; the kernel takes it back when the process ends, however it ends.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    file = path / "run.lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(
            f"{file} cannot be written ({error.strerror}); make the folder writable, or give another --out."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise RunError(
            f"{path} is in use by {holder}; wait for it, or give each process its --shard I/N."
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return descriptor
