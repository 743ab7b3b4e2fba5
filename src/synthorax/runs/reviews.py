"""What people added to a run's dataset, verdicts and edits of their own; it outlives every rewriting of the metadata.

``reviews.jsonl`` in the run folder only grows, a line an act, on disk before the page answers. Whoever writes a run's
``metadata.parquet`` writes it with :func:`write_reviewed`. A verdict is one on a film's bytes (SHA-256): a film that was
made again and came out otherwise has not been judged.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.dataset import metadata_frame, write_metadata
from synthorax.files import sha256_of

_LOG = "reviews.jsonl"


def record_verdict(run: Path, file_name: str, is_valid: bool, reason: str | None) -> None:
    """Keep a verdict on a film of the run's dataset; a later one on the same film replaces it."""
    _append(run, {"file_name": file_name, "sha256": sha256_of(run / "synthetic" / file_name), "is_valid": is_valid, "reject_reason": reason})  # fmt: skip


def record_film(run: Path, row: dict[str, Any]) -> None:
    """Keep the metadata row of a film that no command of the run makes."""
    _append(run, {"row": row})


def write_reviewed(frame: pl.DataFrame, run: Path) -> Path:
    """Write the run's ``metadata.parquet``: the films that its commands made, and what people added.

    Verdicts on films that are gone or came out otherwise stay in ``reviews.jsonl`` and are counted on stderr.

    Args:
        frame: what the commands made, as by ``metadata_frame``.
        run: run folder; where its shards are in it, their reviews count too.
    """
    synthetic, entries = run / "synthetic", list(_entries(run))
    rows = {entry["row"]["file_name"]: entry["row"] for entry in entries if "row" in entry}
    present = set(frame["file_name"])
    kept = [row for name, row in rows.items() if name not in present and (synthetic / name).is_file()]
    frame = pl.concat([frame, metadata_frame(kept)])
    verdicts = {(e["file_name"], e["sha256"]): e for e in entries if "file_name" in e}
    judged = present.union(row["file_name"] for row in kept) & {name for name, _ in verdicts}
    digests = {name: sha256_of(synthetic / name) for name in judged if (synthetic / name).is_file()}
    applied = [verdicts[pair] for pair in digests.items() if pair in verdicts]
    if lost := len({name for name, _ in verdicts}) - len(applied):
        print(f"{run / _LOG}: {lost} reviewed films are gone or were made otherwise; their verdicts are not applied.", file=sys.stderr)  # fmt: skip
    found = pl.DataFrame(
        applied, schema={"file_name": pl.String, "is_valid": pl.Boolean, "reject_reason": pl.String}
    )
    frame = (
        frame.join(found, on="file_name", how="left", suffix="_said", maintain_order="left")
        .with_columns(
            is_valid=pl.coalesce("is_valid_said", "is_valid"),
            reject_reason=pl.when(pl.col("is_valid_said").is_null())
            .then("reject_reason")
            .otherwise("reject_reason_said"),
        )
        .select(frame.columns)
    )
    return write_metadata(frame, synthetic)


def _append(run: Path, entry: dict[str, Any]) -> None:
    """One line, after a line that a kill cut off too."""
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry})
    with (run / _LOG).open("a+b") as log:
        end = log.seek(0, os.SEEK_END)
        log.seek(max(0, end - 1))
        is_cut = log.read(1) not in (b"", b"\n")
        log.write(b"\n" * is_cut + line.encode() + b"\n")
        log.flush()
        os.fsync(log.fileno())


def _entries(run: Path) -> Iterator[dict[str, Any]]:
    """Every act in order; what a kill cut off was never answered and is passed over."""
    for log in [*sorted(run.glob(f"shards/*/{_LOG}")), run / _LOG]:
        if log.is_file():
            for line in log.read_text().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    print(f"{log} has a line that was never finished; it is passed over.", file=sys.stderr)
