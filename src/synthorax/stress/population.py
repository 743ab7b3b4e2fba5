"""How much of the lungs a segmenter still finds when an abnormality covers them (RadEdit, section 5.4).

A film without findings and its lungs are given; an edit puts oedema, a pacemaker or a consolidation into them. Their outline
should stay, so the masks stay the truth. Of each edited film four versions are segmented:

    source   as it is: the segmenter's own real baseline
    edited   with the abnormality
    sham     the same walk asked for what is there
    blur     the edited lung blurred as much as the edit changed it

Figures are means over the edits, changes are against the same films' sources; resamples draw patients. A fall is believed if

    patients  at least :data:`~synthorax.stress.measuring.FEWEST_PATIENTS` were edited
    sham      Dice on shams moves by :data:`SHAM_TOLERANCE` at most
    shown     edits change the edited lung more than shams do
    robust    a segmenter known to be robust does not lose more than :data:`ROBUST_TOLERANCE` on the same edits
    blur      where Dice falls, it falls more than under the blur: it is not mere loss of detail

and if its p-value, adjusted for all abnormalities (Holm), is at most 0.05.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from synthorax.classifiers.statistics import Difference, Interval, Replicates, bootstrap, holm
from synthorax.dataset import read_png, write_png
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.stress.films import LUNGS, read_mask
from synthorax.stress.mask_overlap import Overlap, overlap
from synthorax.stress.measuring import FEWEST_PATIENTS, Control, points
from synthorax.stress.segmenters import TestedSegmenter
from synthorax.stress.shifts import Shift
from synthorax.stress.stressed import ARMS, make_stressed
from synthorax.studies import read_film

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

SETS = ("source", *ARMS)
#: Of Dice. Smaller than for accuracies: a sham leaves the lungs where they are.
SHAM_TOLERANCE = 0.01
ROBUST_TOLERANCE = 0.05
LEVEL = 0.05

#: Lung -> folder of the stressed set and its metadata.
Stressed = Mapping[str, tuple[Path, pl.DataFrame]]


@dataclass(frozen=True)
class LungFigures:
    """One segmenter under one abnormality.

    Attributes:
        model: its name.
        means: set (:data:`SETS`) -> metric (``dice``, ``assd_px``, ``hd95_px``) -> mean over the edits.
        changes: set -> metric -> paired change against ``source``.
        edited_over_blur: Dice on edits minus Dice on blurs.
        n_empty: edited films in which it finds no lung at all.
    """

    model: str
    means: Mapping[str, Mapping[str, Interval]]
    changes: Mapping[str, Mapping[str, Difference]]
    edited_over_blur: Difference
    n_empty: int


@dataclass(frozen=True)
class LungShift:
    """What one abnormality does; ``p_adjusted`` is Holm's, of the change of Dice, over all of the test."""

    name: str
    tested: LungFigures
    robust: LungFigures | None
    shown: Difference
    controls: tuple[Control, ...]
    p_adjusted: float
    verdict: str
    is_believed: bool
    n_edited: int
    n_rejected: int
    n_patients: int


@dataclass(frozen=True)
class PopulationTest:
    """All abnormalities, and whether the films are simulated."""

    shifts: tuple[LungShift, ...]
    is_simulated: bool

    def save(self, folder: Path | str) -> Path:
        """Write ``population.json``."""
        path = Path(folder) / "population.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def make_lungs_stressed(
    table: pl.DataFrame,
    shifts: Mapping[str, Shift],
    model: "DiffusionModel",
    out: Path | str,
    **settings: Any,
) -> Stressed:
    """Put one abnormality into the lungs, with sham and blur beside; the same call goes on with a stopped one.

    Args:
        table: from :func:`~synthorax.stress.films.read_lungs`.
        shifts: lung (``left``, ``right``, ``both``) -> edit, e.g. ``POPULATION["oedema"]``.
        model: by ``synthorax.diffusion.load_model``.
        out: folder; one set a lung in it.
        settings: as of :func:`~synthorax.stress.stressed.make_stressed`.

    Raises:
        InputError, RunError, ModelError: as there; masks that are empty or of another shape than their film.
    """
    out = Path(out)
    made = {}
    for lung, shift in shifts.items():
        rows = table.with_columns(target=pl.lit(0, pl.Int8), role=pl.lit("source"))
        if lung == "both":
            names = [str(_both(row, out)) for row in rows.iter_rows(named=True)]
            rows = rows.with_columns(edit_mask_file_name=pl.Series(names), keep_mask_file_name=pl.lit(None, pl.String))  # fmt: skip
        else:
            other = {"left": "right", "right": "left"}[lung]
            rows = rows.with_columns(edit_mask_file_name=LUNGS[lung], keep_mask_file_name=LUNGS[other])
        made[lung] = (out / lung, make_stressed(rows, shift, model, out / lung, **settings))
    return made


def measure_population(
    tested: TestedSegmenter,
    table: pl.DataFrame,
    stressed: Mapping[str, Stressed],
    *,
    robust: TestedSegmenter | None = None,
    seed: int = 0,
) -> PopulationTest:
    """Test a segmenter on stressed lungs.

    Args:
        tested: the segmenter.
        table: the films, from :func:`~synthorax.stress.films.read_lungs`.
        stressed: abnormality -> sets from :func:`make_lungs_stressed`.
        robust: a segmenter known to find covered lungs, e.g. trained on many abnormal films.
        seed: of the bootstrap.

    Raises:
        InputError: no edit is left.
        ModelError: a segmenter's answers cannot be used.
    """
    truth = {row["image_id"]: lungs_of(row) for row in table.iter_rows(named=True)}
    shown = {name: edits_of(sets) for name, sets in stressed.items()}
    all_sources = list(dict.fromkeys(file for edits in shown.values() for file in edits["source"]))
    figures: list[dict[str, LungFigures]] = []
    for model in (tested, robust):
        if model is not None:
            baseline = dict(zip(all_sources, model.masks(all_sources), strict=True))
            figures.append({name: _figures(model, edits, truth, baseline, seed) for name, edits in shown.items()})  # fmt: skip
    falls = [figures[0][name].changes["edited"]["dice"] for name in shown]
    adjusted = holm([fall.p_value for fall in falls])
    found = []
    for (name, edits), p in zip(shown.items(), adjusted, strict=True):
        reference = figures[1][name] if robust is not None else None
        seen = _shown(edits, seed)
        controls = _controls(figures[0][name], reference, seen, edits["patient_id"].n_unique(), float(p))
        frames = [frame for _, frame in stressed[name].values()]
        found.append(
            LungShift(
                name, figures[0][name], reference, seen, controls, float(p), _verdict(name, figures[0][name], controls, float(p)),
                all(control.passes for control in controls), edits.height,
                sum(frame.filter(~pl.col("is_valid")).height // len(ARMS) for frame in frames), edits["patient_id"].n_unique(),
            )
        )  # fmt: skip
    simulated = any(frame["is_simulated"].any() for sets in stressed.values() for _, frame in sets.values())
    return PopulationTest(tuple(found), bool(simulated))


def lungs_of(row: Mapping[str, Any]) -> np.ndarray:
    """Both lungs of a row of the table, bool ``(H, W)``."""
    shape = read_film(row["file_name"]).pixels.shape
    masks = [read_mask(row[name], shape) for name in LUNGS.values()]
    return np.any([mask for mask in masks if mask is not None], axis=0)


def overlaps(segmenter: TestedSegmenter, paths: Sequence[str], truth: Sequence[np.ndarray]) -> np.ndarray:
    """``(N, 3)``: Dice, average and 95th-percentile distance of films by path to their true lungs."""
    return np.array([overlap(mask, lungs) for mask, lungs in zip(segmenter.masks(paths), truth, strict=True)])


def edits_of(sets: Stressed) -> pl.DataFrame:
    """A row an edit that is left: ``image_id, patient_id, mask, source, edited, sham, blur`` (files)."""
    rows = []
    for folder, frame in sets.values():
        for row in frame.filter("is_valid", ~pl.col("perturbation_type").is_in(ARMS)).iter_rows(named=True):
            name = row["source_image_id"]
            files = {arm: str(folder / f"{arm}/{name}.png") for arm in ARMS}
            rows.append({"image_id": name, "patient_id": row["patient_id"], "mask": str(folder / row["edit_mask_file_name"]), "source": row["source_file_name"], **files})  # fmt: skip
    if not rows:
        raise InputError("all edits were left out by their score; nothing can be measured.")
    return pl.DataFrame(rows)


def _both(row: Mapping[str, Any], out: Path) -> Path:
    path = out / "lungs" / f"{row['image_id']}.png"
    if not path.is_file():
        write_png(lungs_of(row), path)
    return path


def _figures(
    model: TestedSegmenter,
    edits: pl.DataFrame,
    truth: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    seed: int,
) -> LungFigures:
    lungs = [truth[name] for name in edits["image_id"]]
    values = [np.array([overlap(baseline[file], mask) for file, mask in zip(edits["source"], lungs, strict=True)])]  # fmt: skip
    values += [overlaps(model, edits[arm].to_list(), lungs) for arm in ARMS]
    flat = np.concatenate(values, axis=1)
    found = bootstrap(lambda counts: counts @ flat / counts.sum(1, keepdims=True), edits["patient_id"].to_list(), seed=seed)  # fmt: skip
    n = len(Overlap._fields)

    def one(set_name: str, metric: int) -> Replicates:
        return found[n * SETS.index(set_name) + metric]

    names = list(enumerate(Overlap._fields))
    return LungFigures(
        model=model.name,
        means={name: {metric: one(name, i).interval() for i, metric in names} for name in SETS},
        changes={name: {metric: one(name, i).minus(one("source", i)).difference() for i, metric in names} for name in ARMS},
        edited_over_blur=one("edited", 0).minus(one("blur", 0)).difference(),
        n_empty=int((values[1][:, 0] == 0).sum()),
    )  # fmt: skip


def _shown(edits: pl.DataFrame, seed: int) -> Difference:
    """By how much more grey (mean absolute change in the edit mask) edits change than shams."""
    changes = []
    for row in edits.iter_rows(named=True):
        inside, source = read_png(row["mask"]) > 0, read_film(row["source"]).pixels
        changes.append([np.abs(read_png(row[arm]) - source)[inside].mean() for arm in ("sham", "edited")])
    both = np.array(changes)
    found = bootstrap(lambda counts: counts @ both / counts.sum(1, keepdims=True), edits["patient_id"].to_list(), seed=seed)  # fmt: skip
    return found[1].minus(found[0]).difference()


def _controls(
    tested: LungFigures, robust: LungFigures | None, shown: Difference, n_patients: int, p_adjusted: float
) -> tuple[Control, ...]:
    sham, over = tested.changes["sham"]["dice"], tested.edited_over_blur
    fall = None if robust is None else robust.changes["edited"]["dice"]
    return (
        Control("patients", n_patients >= FEWEST_PATIENTS, f"{n_patients} patients were edited; at least {FEWEST_PATIENTS} are needed."),
        Control("sham", abs(sham.estimate) <= SHAM_TOLERANCE,
                f"On sham edits Dice moves by {points(sham)}; at most {100 * SHAM_TOLERANCE:g} either way is allowed."),
        Control("shown", shown.ci_low > 0,
                f"Edits change the edited lung more than shams by {points(shown)} of the grey range; the interval must lie above 0."),
        Control("robust", fall is not None and fall.estimate >= -ROBUST_TOLERANCE,
                "No segmenter known to be robust was given (--robust)." if fall is None else
                f"The robust segmenter's Dice moves by {points(fall)}; a fall of at most {100 * ROBUST_TOLERANCE:g} is allowed."),
        Control("blur", not _falls(tested, p_adjusted) or over.ci_high < 0,
                f"Dice on edits is {points(over)} from that on blurs; where there is a fall, the interval must lie below 0."),
    )  # fmt: skip


def _falls(tested: LungFigures, p_adjusted: float) -> bool:
    return tested.changes["edited"]["dice"].estimate < 0 and p_adjusted <= LEVEL


def _verdict(name: str, tested: LungFigures, controls: tuple[Control, ...], p_adjusted: float) -> str:
    failed = [control.name for control in controls if not control.passes]
    if failed:
        return f"{name}: no verdict, {', '.join(failed)} did not pass."
    before, after = (tested.means[one]["dice"].estimate for one in ("source", "edited"))
    change = f"Dice {100 * before:.1f} unedited, {100 * after:.1f} edited: {points(tested.changes['edited']['dice'])}"
    said = "the lungs are found less well" if _falls(tested, p_adjusted) else "no fall was shown"
    return f"{name}: {said}, {change}."


def in_own_words(shifts: Mapping[str, Shift], prompts: Mapping[str, str]) -> dict[str, Shift]:
    """The same edits with other prompts, by lung."""
    return {lung: replace(shift, prompt=prompts.get(lung, shift.prompt)) for lung, shift in shifts.items()}
