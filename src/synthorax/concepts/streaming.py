"""Concept tables of any length: the reports in chunks, the chunks over processes, the table written as they end.

Memory depends on the chunk and the number of processes, not on the number of reports. The rows come in the order of
the studies, whatever the processes do.
"""

import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import TypeAlias

import polars as pl

from synthorax.concepts.reading import scan_table
from synthorax.concepts.studies_table import Outcome, annotate_studies
from synthorax.concepts.table import metadata_of
from synthorax.concepts.vocabulary import Vocabulary
from synthorax.files import atomic
from synthorax.progress import track

CHUNK = 20_000
#: What a worker needs: the studies themselves, or their table's path, first row and number of rows.
Part: TypeAlias = "pl.DataFrame | tuple[Path, int, int]"


def annotate_to(
    studies: pl.DataFrame | Path,
    out: Path,
    vocabulary: str,
    policy: str = "strict",
    *,
    workers: int | None = None,
    chunk: int = CHUNK,
) -> Outcome:
    """Write the concept table of :func:`~synthorax.concepts.annotate_studies` for any number of studies.

    Args:
        studies: the rows, or the path of their table (.parquet, .csv), which is then never read whole.
        out: the table to write.
        vocabulary: name of a shipped vocabulary, or the path of a YAML file.
        policy: how mentions become 0 or 1.
        workers: processes; default: all cores.
        chunk: rows at a time and process; raising it costs memory.

    Returns:
        How many rows got their concepts from where.

    Raises:
        InputError: no such vocabulary or policy, or a table without the columns.
    """
    Vocabulary.load(vocabulary, policy)  # refuses before work starts
    n = (
        studies.height
        if isinstance(studies, pl.DataFrame)
        else scan_table(studies).select(pl.len()).collect().item()
    )
    starts = range(0, max(n, 1), chunk)
    folder = out.with_name(f".{out.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        total = Outcome(0, 0, 0)
        calls = (
            (
                studies[start : start + chunk]
                if isinstance(studies, pl.DataFrame)
                else (studies, start, chunk),
                folder / f"{start:012d}.parquet",
                vocabulary,
                policy,
            )
            for start in starts
        )
        done = _in_order(calls, min(workers or cpu_count() or 1, len(starts)))
        for outcome in track(done, "Reading reports", total=len(starts), unit=f"x {chunk} reports"):
            total = total + outcome
        with atomic(out) as temporary:
            parts = pl.scan_parquet(sorted(folder.glob("*.parquet")))
            metadata = metadata_of(Vocabulary.load(vocabulary, policy), vocabulary)
            parts.sink_parquet(
                temporary, row_group_size=chunk, metadata=metadata
            )  # small groups, small memory
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return total


def _in_order(calls: Iterator[tuple[Part, Path, str, str]], workers: int) -> Iterator[Outcome]:
    """The outcomes in order; no more than two chunks a process wait at any time."""
    if workers == 1:
        yield from (_annotate_part(*call) for call in calls)
        return
    waiting: deque[Future[Outcome]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for call in calls:
            waiting.append(pool.submit(_annotate_part, *call))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _annotate_part(part: Part, out: Path, vocabulary: str, policy: str) -> Outcome:
    if not isinstance(part, pl.DataFrame):
        path, start, n = part
        part = scan_table(path).slice(start, n).collect()
    table = annotate_studies(part, Vocabulary.load(vocabulary, policy))
    table.write_parquet(out)
    return Outcome.of(table)
