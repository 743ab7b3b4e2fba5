"""Does a film show what was asked for? Classifiers read pathology, sex, age group, race and view from it.

A judge is any model (:func:`synthorax.classifiers.load_tested`). Its outputs of the form ``axis:group`` (``sex:F``,
``age_group:19-40``, ``view_position:PA``, ``race:White``) say who and how: of an axis the largest output is read. All
other outputs are findings, and meet the labels asked for by name. What no judge reads is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from synthorax.classifiers.classifier import RECORD, read_record
from synthorax.classifiers.groups import AXES, UNKNOWN, groups_of
from synthorax.classifiers.held_out import plain
from synthorax.classifiers.models import TestedModel, load_tested
from synthorax.errors import InputError
from synthorax.files import sha256_of

PATHOLOGY = "pathology"
SHOWN = tuple(axis for axis in AXES if axis != "site")


@dataclass(frozen=True)
class Asked:
    """What a film shall show.

    Attributes:
        groups: by axis.
        labels: findings asked for; None where nothing is said of findings.
        denied: findings that must not be there.
        source: of an edit, its source film's path.
        stays: of an edit, what of the anatomy must stay, of :data:`synthorax.downstream.anatomy.LIMITS`.
    """

    groups: Mapping[str, str]
    labels: tuple[str, ...] | None
    denied: tuple[str, ...] = ()
    source: str | None = None
    stays: tuple[str, ...] = ()


class Reader(Protocol):
    """What judges a film. ``identity``: of what it reads with; ``reads``: what it can say of a film."""

    @property
    def identity(self) -> str: ...

    @property
    def reads(self) -> Sequence[str]: ...

    def fails(self, paths: Sequence[str], asked: Sequence[Asked]) -> list[dict[str, bool]]:
        """For each film what is read of what was asked, and whether it fails."""
        ...


@dataclass(frozen=True)
class Judge:
    """A classifier; ``identity`` is the SHA-256 of its weights, or its name where it is no file of its own."""

    model: TestedModel
    identity: str

    @classmethod
    def load(cls, where: Path | str, device: str = "cpu") -> "Judge":
        """By where it is, as :func:`~synthorax.classifiers.load_tested` takes it.

        Raises:
            InputError: a model that does not name its outputs.
            ModelError: nothing there, or it cannot be loaded.
        """
        model, path = load_tested(where, device=device), Path(where)
        if model.labels is None:
            raise InputError(f"judge {where} does not name its outputs; a judge's outputs are findings, or groups such as sex:F.")  # fmt: skip
        if (path / RECORD).is_file():
            return cls(model, read_record(path)[1])
        weights = path / "model.safetensors" if path.is_dir() else path
        return cls(model, sha256_of(weights) if weights.is_file() else str(where))

    @property
    def reads(self) -> Sequence[str]:
        return self.model.labels or ()

    def fails(self, paths: Sequence[str], asked: Sequence[Asked]) -> list[dict[str, bool]]:
        """For each film what this judge reads of what was asked, and whether it fails: axis or pathology -> bool.

        Pathology fails where a label asked for is not called or one denied is, and on a film asked to be without findings
        where any is called; other findings beside those asked for are not held against a film.
        """
        labels = self.model.labels or ()
        p = self.model.table(paths, labels)
        places = {axis: [i for i, name in enumerate(labels) if name.startswith(f"{axis}:")] for axis in SHOWN}
        findings = [i for i in range(len(labels)) if not any(i in some for some in places.values())]
        cuts = self.model.thresholds or [self.model.threshold] * len(labels)
        verdicts: list[dict[str, bool]] = []
        for row, one in zip(p, asked, strict=True):
            found = {}
            for axis, group in one.groups.items():
                names = [labels[i].partition(":")[2] for i in places[axis]]
                if group in names:
                    found[axis] = names[int(row[places[axis]].argmax())] != group
            if one.labels is not None:
                called = {plain(labels[i]): bool(row[i] >= cuts[i]) for i in findings}
                wanted, denied = ([called[name] for name in map(plain, some) if name in called] for some in (one.labels, one.denied))  # fmt: skip
                if wanted or denied:
                    found[PATHOLOGY] = not all(wanted) or any(denied)
                elif called and not one.labels:
                    found[PATHOLOGY] = any(called.values())
            verdicts.append(found)
        return verdicts


def judged(judges: Sequence[Reader], paths: Sequence[str], asked: Sequence[Asked]) -> list[dict[str, bool]]:
    """What the judges read of what was asked; True where any of them says that the film fails in it."""
    found: list[dict[str, bool]] = [{} for _ in paths]
    for judge in judges:
        for all_of, one in zip(found, judge.fails(paths, asked), strict=True):
            for name, is_failed in one.items():
                all_of[name] = all_of.get(name, False) or is_failed
    return found


def asked_of(table: pl.DataFrame, no_finding: str) -> list[Asked]:
    """What each row of a table of prompts asks for.

    Args:
        table: any of ``sex``, ``age`` (years), ``race``, ``view_position`` and ``labels_after``, as a cohort's table has them.
        no_finding: the label that stands for none.
    """
    columns = {"sex": pl.String, "age": pl.Float64, "race": pl.String, "view_position": pl.String}
    frame = table.select(
        *(pl.col(name).cast(kind) if name in table.columns else pl.lit(None, kind).alias(name) for name, kind in columns.items()),
        image_id=pl.int_range(pl.len()), source=pl.lit(None, pl.String),
    )  # fmt: skip
    labels = (
        table["labels_after"].to_list()
        if table.schema.get("labels_after") == pl.List(pl.String)
        else [None] * table.height
    )
    return [
        Asked(
            {axis: row[axis] for axis in SHOWN if row[axis] != UNKNOWN},
            None if said is None else tuple(name for name in said if name != no_finding),
        )
        for row, said in zip(groups_of(frame).iter_rows(named=True), labels, strict=True)
    ]
