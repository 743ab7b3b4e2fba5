"""Files appear whole or not at all."""

import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from synthorax.errors import RunError

#: What the machine says when a folder takes no more, and what to do about it.
_NO_ROOM = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make it writable, or give another folder",
    errno.EACCES: "make it writable, or give another folder",
}


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is renamed to ``path``, on failure it is removed.

    The temporary name keeps the suffix, so writers that look at it (Pillow, polars) work.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        remedy = next((todo for code, todo in _NO_ROOM.items() if _is(error, code)), None)
        if remedy is None:
            raise
        raise RunError(
            f"{path} cannot be written ({os.strerror(error.errno) if error.errno else error}); {remedy}, "
            "then give the same command again: what is finished is kept."
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def remove_unfinished(folder: Path | str, *, leave: Collection[str] = ()) -> list[Path]:
    """Remove what :func:`atomic` left below ``folder`` when its process was killed; nobody else may be writing there.

    Args:
        folder: walked through.
        leave: names of folders that are not entered.
    """
    removed = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in leave]
        for name in names:
            if name.startswith(".") and re.search(r"\.\d+(\.[^.]+)?$", name):
                removed.append(Path(parent) / name)
                removed[-1].unlink(missing_ok=True)
    return removed


def _is(error: OSError, code: int) -> bool:
    """Some writers (polars) keep the machine's number in their text alone."""
    return error.errno == code or (error.errno is None and f"os error {code}" in str(error))


def sha256_of(path: Path | str) -> str:
    """A file's SHA-256, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
