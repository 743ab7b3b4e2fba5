"""A run as the pages see it: its dataset, its figures, its films, its reader studies; and the only writer of reviews."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.dataset import metadata_frame, read_metadata, write_metadata
from synthorax.errors import InputError, RunError
from synthorax.readers import Study
from synthorax.runs.folder import lock
from synthorax.runs.results import Results, read_results
from synthorax.runs.reviews import record_film, record_verdict

#: What can be shown of a row -> the metadata's column.
FILMS = {
    "edit": "file_name",
    "source": "source_file_name",
    "truth": "counterfactual_file_name",
    "edit_mask": "edit_mask_file_name",
    "keep_mask": "keep_mask_file_name",
}
_PNG = b"\x89PNG\r\n\x1a\n"


class OpenedRun:
    """A run folder. Rows are numbered by their place in ``metadata.parquet``, which only ever grows at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.synthetic = path / "synthetic"
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], pl.DataFrame] | None = None
        self._links: dict[str, tuple[Study, int]] = {}

    @classmethod
    def open(cls, path: Path | str) -> "OpenedRun":
        """Open a run folder; its dataset is read now, so that a fault is told at the start.

        Raises:
            InputError: no dataset in it, or one of another schema version.
        """
        run = cls(Path(path).resolve())
        _ = run.frame
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def results(self) -> Results | None:
        """The figures; None for a run that has not been measured."""
        try:
            return read_results(self.path)
        except RunError:
            return None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load()

    @property
    def frame(self) -> pl.DataFrame:
        """The metadata with ``row``, and ``found_before`` and ``found_after`` (concepts and labels), read anew when it changed."""
        stat = (
            (self.synthetic / "metadata.parquet").stat()
            if (self.synthetic / "metadata.parquet").is_file()
            else None
        )
        version = (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)
        read = self._read
        if read is None or read[0] != version:
            frame = read_metadata(self.synthetic)
            labels = lru_cache(maxsize=None)(
                lambda concepts: (
                    list(concepts) + list(self.vocabulary.true_labels(ConceptVector(frozenset(concepts))))
                )
            )
            known = set(self.vocabulary.concepts)
            frame = frame.with_columns(
                pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
                pl.Series("found_before", [
                    labels(tuple(c)) if c and known.issuperset(c) else list(c or ()) for c in frame["concepts_before"].to_list()
                ], dtype=pl.List(pl.String)),
                pl.concat_list(
                    pl.col("concepts_after").fill_null([]), pl.col("labels_after").fill_null([])
                ).alias("found_after"),
            )  # fmt: skip
            self._read = read = (version, frame)
        return read[1]

    def row(self, number: int) -> dict:
        """One row of the metadata.

        Raises:
            InputError: no such row.
        """
        frame = self.frame
        if not 0 <= number < frame.height:
            raise InputError(f"row {number} does not exist; this dataset has rows 0 to {frame.height - 1}.")
        return frame.row(number, named=True)

    def film(self, number: int, which: str) -> Path:
        """The file of a row's film or mask.

        Raises:
            InputError: the row has none, the file is not there, is no PNG, or lies outside the run's dataset.
        """
        name = self.row(number)[FILMS[which]]
        if name is None:
            raise InputError(f"row {number} has no {which.replace('_', ' ')}.")
        path = (self.synthetic / name).resolve()
        if not path.is_relative_to(self.synthetic.resolve()):
            raise InputError(
                f"row {number} names a {which.replace('_', ' ')} outside the run's dataset; it is not shown."
            )
        if not path.is_file():
            raise InputError(f"{name} of row {number} is not there; make the run again.")
        with path.open("rb") as opened:
            if opened.read(8) != _PNG:
                raise InputError(f"{name} of row {number} is no PNG; it is not shown.")
        return path

    def review(self, number: int, is_valid: bool, reason: str | None) -> None:
        """Write a verdict into ``is_valid`` and ``reject_reason`` of the dataset's metadata, for good.

        Raises:
            InputError: no such row, or its film is not there.
            RunError: a command works on this run.
        """
        name = self.row(number)["file_name"]
        self.film(number, "edit")
        with self._alone():
            record_verdict(self.path, name, is_valid, reason)
            here = pl.col("file_name") == name
            frame = read_metadata(self.synthetic).with_columns(
                is_valid=pl.when(here).then(pl.lit(is_valid)).otherwise("is_valid"),
                reject_reason=pl.when(here).then(pl.lit(reason, pl.String)).otherwise("reject_reason"),
            )
            write_metadata(frame, self.synthetic)

    def add(self, row: dict[str, Any]) -> int:
        """Append a film to the metadata, for good; returns its row.

        Raises:
            RunError: a command works on this run.
        """
        with self._alone():
            record_film(self.path, row)
            frame = read_metadata(self.synthetic)
            write_metadata(pl.concat([frame, metadata_frame([row])]), self.synthetic)
            return frame.height

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No command writes the metadata meanwhile, and no other page does."""
        with self._lock:
            descriptor = lock(self.path)
            try:
                yield
            finally:
                os.close(descriptor)

    def studies(self) -> dict[str, Study]:
        """The run's reader studies by name."""
        return {path.stem: Study(path) for path in sorted((self.path / "readers").glob("*.sqlite"))}

    def reader(self, link: str) -> tuple[Study, int] | None:
        """Whose link this is, in which study."""
        if link not in self._links:
            self._links = {text: (study, reader) for study, reader, text in self._all_links()}
        return self._links.get(link)

    def _all_links(self) -> Iterator[tuple[Study, int, str]]:
        for study in self.studies().values():
            for reader, link in study.links().items():
                yield study, reader, link
