"""Splits by patient, stratified over many labels at once (Sechidis et al. 2011, iterative stratification)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from synthorax.errors import InputError
from synthorax.seeds import derive_seed
from synthorax.studies.tables import closest

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split_by_patient(
    frame: pl.DataFrame,
    labels: Sequence[str] = ("labels_present",),
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
) -> pl.DataFrame:
    """Put every patient with all films into one split, so that each label's rate is alike in all.

    A patient has a label if any film has it; 'unknown' (NULL) is stratified as a state of its own, never as
    absent. The result depends on the patients, their labels and the seed, not on the order of rows.
    Fractions are of patients, so a split's share of films may differ; with few patients a rare label can be
    missing from a split.

    Args:
        frame: has ``patient_id`` and the columns.
        labels: columns of 0, 1 and NULL (Boolean too), or of lists of label names such as ``labels_present``.
        fractions: split -> share of the patients, more than 0, together 1.
        seed: another seed, another split.

    Returns:
        The frame with its rows as they were and the column ``split``.

    Raises:
        InputError: fractions don't add up, a column is missing or no label column, a patient_id is blank,
            or there are fewer patients than splits.
    """
    if any(not share > 0 for share in fractions.values()) or not math.isclose(
        sum(fractions.values()), 1, abs_tol=1e-6
    ):
        shown = ", ".join(f"{name}={share:g}" for name, share in fractions.items())
        raise InputError(
            f"fractions are {shown}; expected shares above 0 that add up to 1. Change one of them."
        )
    if "patient_id" not in frame.columns or frame["patient_id"].null_count():
        raise InputError(
            "patient_id is missing or blank in a row; expected one for each film. Name the patients."
        )
    states = _patient_states(frame, labels)
    # A seeded order that only the ids decide, so the rows' order can't.
    ids = sorted(
        states["patient_id"].to_list(), key=lambda patient: (derive_seed(seed, "split", patient), patient)
    )
    if len(ids) < len(fractions):
        raise InputError(
            f"{len(ids)} patients cannot fill {len(fractions)} splits; expected at least one a split. "
            "Add patients or ask for fewer splits."
        )
    ordered = pl.DataFrame({"patient_id": ids}).join(states, "patient_id", "left", maintain_order="left")
    matrix = ordered.drop("patient_id").to_numpy().astype(bool).reshape(len(ids), -1)
    names = list(fractions)
    chosen = _stratify(matrix, np.array([fractions[name] for name in names]), derive_seed(seed, "stratify"))
    split_of = dict(zip(ids, (names[index] for index in chosen), strict=True))
    return frame.with_columns(
        pl.Series("split", [split_of[patient] for patient in frame["patient_id"]], dtype=pl.String)
    )


def _patient_states(frame: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """patient_id and one Boolean column a label state: present in any film, or unknown in any film."""
    columns: list[pl.Expr] = []
    for name in labels:
        if name not in frame.columns:
            close = closest(name, frame.columns)
            hint = f" Did you mean {close!r}?" if close else ""
            raise InputError(
                f"the table has no column {name!r} to stratify by; found {', '.join(frame.columns)}.{hint}"
            )
        dtype = frame[name].dtype
        if isinstance(dtype, pl.List):
            found = frame[name].explode(empty_as_null=True).drop_nulls().unique().sort()
            columns += [pl.col(name).list.contains(label).alias(f"{name}={label}") for label in found]
        elif dtype == pl.Boolean or dtype.is_numeric():
            columns.append((pl.col(name).cast(pl.Float64) == 1).alias(name))
        else:
            raise InputError(
                f"column {name!r} has type {dtype}; expected 0/1/NULL or lists of names to stratify by."
            )
        columns.append(pl.col(name).is_null().alias(f"{name} unknown"))
    states = frame.select("patient_id", *columns)
    return states.group_by("patient_id").agg(pl.all().fill_null(False).any())


def _stratify(matrix: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Index of the split for each patient, ``(n_patients,)``; no split stays empty.

    The package's splitter classes know two-way and equal splits only; the function below them takes any
    shares in one pass. It follows the labels first, so a small split can end up empty: it then gets the last
    patient of the largest one.
    """
    from iterstrat.ml_stratifiers import IterativeStratification

    state = np.random.RandomState(seed % 2**32)
    chosen = np.asarray(IterativeStratification(labels=matrix, r=shares, random_state=state))
    for index in range(len(shares)):
        if not (chosen == index).any():
            largest = np.bincount(chosen, minlength=len(shares)).argmax()
            chosen[np.flatnonzero(chosen == largest)[-1]] = index
    return chosen
