"""How far a model falls, and whether the fall can be believed.

Accuracy at the model's threshold, on five sets:

    real     the test set as it is
    source   the films that were edited, unedited
    edited   their edits; right = the shift's target
    sham     the same walk asked for what is there; right = the source's target
    blur     the edit mask blurred as much as the edit changed it; counted as if it had made the shift

Every resample draws patients and takes their films of all five sets, so that differences are paired where they can be.
The fall is edited - real, as in RadEdit's tables 1 and 2. It is believed if three controls pass:

    sham     the tested model answers shams as it answers their sources, within :data:`SHAM_TOLERANCE`
    robust   a model known to be robust does not fall by more than :data:`ROBUST_TOLERANCE` on the same edits
    blur     the robust model sees the shift in edits more often than in blurs: the edits are not mere damage
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import Difference, Interval, Replicates, bootstrap
from synthorax.errors import InputError
from synthorax.files import atomic

SETS = ("real", "source", "edited", "sham", "blur")
SHAM_TOLERANCE = 0.05
#: RadEdit's own robust models change by +1.6 and -12.0 points.
ROBUST_TOLERANCE = 0.10
#: Intervals by patient are too narrow below.
FEWEST_PATIENTS = 20


@dataclass(frozen=True)
class Control:
    """One control: what was found, what passes, in words."""

    name: str
    passes: bool
    said: str


@dataclass(frozen=True)
class Figures:
    """One model's accuracy on each set, and the differences that count."""

    model: str
    threshold: float
    accuracy: Mapping[str, Interval]
    fall: Difference
    sham_change: Difference
    edited_over_blur: Difference


@dataclass(frozen=True)
class StressTest:
    """A stress test's figures and its verdict.

    Attributes:
        shift: its name.
        tested, robust: figures of the model and of the one known to be robust (None: none was given).
        controls: the three, or what kept them from being made.
        verdict: one sentence; it says that there is none where a control fails.
        is_believed: all controls pass.
        n_edited, n_rejected, n_patients: edits measured, edits left out by the score, patients edited.
        is_simulated: films of virtual patients.
    """

    shift: str
    tested: Figures
    robust: Figures | None
    controls: tuple[Control, ...]
    verdict: str
    is_believed: bool
    n_edited: int
    n_rejected: int
    n_patients: int
    is_simulated: bool

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json``."""
        path = Path(folder) / "results.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def measure(
    tested: TestedModel,
    table: pl.DataFrame,
    stressed: pl.DataFrame,
    folder: Path | str,
    *,
    robust: TestedModel | None = None,
    seed: int = 0,
) -> StressTest:
    """Test a model on a stressed set.

    Args:
        tested: the model.
        table: the films, from :func:`~synthorax.stress.films.read_films`; its test films are the real set.
        stressed: metadata from :func:`~synthorax.stress.stressed.make_stressed`.
        folder: of that set.
        robust: a model known not to use what the shift changes, e.g. trained where it carries no information.
        seed: of the bootstrap.

    Raises:
        InputError: no test film, or no edit is left.
        ModelError: a model's answers cannot be used.
    """
    sets = _sets(table, stressed, Path(folder))
    figures = _figures(tested, sets, seed)
    reference = None if robust is None else _figures(robust, sets, seed)
    n_patients = sets.filter(set="edited")["patient_id"].n_unique()
    controls = _controls(figures, reference, n_patients)
    kind = stressed.filter(~pl.col("perturbation_type").is_in(SETS))
    return StressTest(
        shift=kind["perturbation_type"][0],
        tested=figures,
        robust=reference,
        controls=controls,
        verdict=_verdict(figures, controls),
        is_believed=all(control.passes for control in controls),
        n_edited=sets.filter(set="edited").height,
        n_rejected=kind.filter(~pl.col("is_valid")).height,
        n_patients=n_patients,
        is_simulated=bool(stressed["is_simulated"].any()),
    )


def _sets(table: pl.DataFrame, stressed: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """A row a film of each set: ``set, file_name, patient_id, target``."""
    columns = ("file_name", "patient_id", "target")
    real = table.filter(pl.col("role") != "source")
    if not real.height:
        raise InputError("no film has the role test or both; accuracy on real films needs some.")
    valid = stressed.filter("is_valid")
    if not valid.height:
        raise InputError(f"all {stressed.height} edits were left out by their score; nothing can be measured.")  # fmt: skip
    before = table.select(source_image_id="image_id", before="target")
    made = valid.join(before, on="source_image_id", maintain_order="left").with_columns(
        pl.concat_str(pl.lit(f"{folder}/"), "file_name").alias("file_name"),
        set=pl.when(pl.col("perturbation_type").is_in(["sham", "blur"]))
        .then("perturbation_type")
        .otherwise(pl.lit("edited")),
        target=pl.when(perturbation_type="sham").then("before").otherwise(1 - pl.col("before")),
    )
    edited = table.filter(pl.col("image_id").is_in(valid["source_image_id"].unique().implode()))
    return pl.concat(
        [
            real.select(pl.lit("real").alias("set"), *columns),
            edited.select(pl.lit("source").alias("set"), *columns),
            made.select("set", *columns),
        ],
        how="vertical_relaxed",
    )


def _figures(model: TestedModel, sets: pl.DataFrame, seed: int) -> Figures:
    unique = sets["file_name"].unique(maintain_order=True).to_list()
    says = dict(zip(unique, model.says(unique), strict=True))
    seen = np.array([says[name] for name in sets["file_name"]])
    right = (seen == (sets["target"].to_numpy() == 1)).astype(float)
    members = np.stack([(sets["set"] == name).to_numpy() for name in SETS], axis=1).astype(float)

    def accuracies(counts: np.ndarray) -> np.ndarray:
        total = counts @ members
        return np.divide(counts @ (members * right[:, None]), total, out=np.full(total.shape, np.nan), where=total > 0)  # fmt: skip

    found = bootstrap(accuracies, sets["patient_id"].to_list(), seed=seed)
    each: dict[str, Replicates] = {}
    for index, name in enumerate(SETS):
        some = sets.filter(set=name)
        one = found[index]
        each[name] = Replicates(one.estimate, one.values, some.height, some["patient_id"].n_unique())
    return Figures(
        model=model.name,
        threshold=float(model.threshold),
        accuracy={name: one.interval() for name, one in each.items()},
        fall=each["edited"].minus(each["real"]).difference(),
        sham_change=each["sham"].minus(each["source"]).difference(),
        edited_over_blur=each["edited"].minus(each["blur"]).difference(),
    )


def _controls(tested: Figures, robust: Figures | None, n_patients: int) -> tuple[Control, ...]:
    sham = abs(tested.sham_change.estimate) <= SHAM_TOLERANCE
    found = [
        Control(
            "patients",
            n_patients >= FEWEST_PATIENTS,
            f"{n_patients} patients were edited; at least {FEWEST_PATIENTS} are needed.",
        ),
        Control(
            "sham",
            sham,
            f"On sham edits the model's accuracy is {points(tested.sham_change)} from that on their sources; "
            f"at most {100 * SHAM_TOLERANCE:g} either way is allowed.",
        ),
    ]
    if robust is None:
        nobody = "No model known to be robust was given (--robust)."
        return (*found, Control("robust", False, nobody), Control("blur", False, nobody))
    over = robust.edited_over_blur
    return (
        *found,
        Control(
            "robust",
            robust.fall.estimate >= -ROBUST_TOLERANCE,
            f"The robust model's accuracy is {points(robust.fall)} from that on real films; a fall of at most "
            f"{100 * ROBUST_TOLERANCE:g} is allowed.",
        ),
        Control(
            "blur",
            over.ci_low > 0,
            f"The robust model sees the shift in edits more often than in blurred films by {points(over)}; the interval "
            "must lie above 0.",
        ),
    )


def _verdict(tested: Figures, controls: tuple[Control, ...]) -> str:
    failed = [control.name for control in controls if not control.passes]
    if failed:
        return f"No verdict: {', '.join(failed)} did not pass."
    real, edited = (tested.accuracy[name].estimate for name in ("real", "edited"))
    change = f"accuracy {100 * real:.1f} % on real films, {100 * edited:.1f} % on stressed ones: {points(tested.fall)}"
    if tested.fall.verdict == "lower":
        return f"The model is not robust to this shift: {change}."
    return f"No fall was shown: {change}."


def points(change: Difference) -> str:
    """A difference of accuracies in points, with its interval."""
    return f"{100 * change.estimate:+.1f} points ({100 * change.ci_low:+.1f} to {100 * change.ci_high:+.1f})"
