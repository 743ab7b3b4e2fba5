"""``results.json``: every figure of a run, the contract between what measures and what shows.

Sections that a run does not have are left out or null: a run on real films has no true counterfactuals
and trains no classifier. Image paths are relative to the run folder.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synthorax.errors import RunError

Verdict = Literal["better", "worse", "no difference shown"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cohort(_Section):
    """What the run started from; ``labels`` counts films a label."""

    n_images: int
    n_patients: int
    n_rejected: int = 0
    source: str
    labels: dict[str, int] = {}


class Combination(_Section):
    """A set of labels or concepts, how often it occurs, and how often independence would let it occur."""

    combination: tuple[str, ...]
    level: Literal["label", "concept"]
    count: int
    expected: float | None = None
    status: str


class Coverage(_Section):
    """Combinations in the cohort alone (``before``) and with the synthetic films added (``after``)."""

    before: list[Combination] = []
    after: list[Combination] = []
    withheld_pairs: list[tuple[str, str]] = []


class Plan(_Section):
    """Edits by perturbation type; ``impossible`` are undefined for a film (intra-class Cardiomegaly)."""

    requested: dict[str, int] = {}
    made: dict[str, int] = {}
    impossible: dict[str, int] = {}
    rejected: int = 0

    def kinds(self) -> list[str]:
        """Every perturbation type of the plan, in order."""
        return list(dict.fromkeys([*self.requested, *self.made, *self.impossible]))


class Example(_Section):
    """One edit with its images; ``ssim`` is between source and edit, whole film."""

    title: str
    prompt: str
    inversion_prompt: str | None = None
    perturbation_type: str
    source: str
    edit: str
    counterfactual: str | None = None
    mask: str | None = None
    ssim: float | None = None


class Structure(_Section):
    """SSIM and mean absolute difference (grey levels, film in [0, 1]) between source and edit, by type."""

    perturbation_type: str
    n: int
    ssim_mean: float
    ssim_sd: float | None = None
    ssim_inside_mean: float | None = None
    ssim_outside_mean: float | None = None
    mad_inside: float | None = None
    mad_outside: float | None = None


class Agreement(_Section):
    """Concepts read back from the images against the target, as CARS measures it; one row an arm."""

    arm: str
    n: int
    jaccard_mean: float
    jaccard_sd: float | None = None
    hamming_mean: float
    hamming_sd: float | None = None
    u_fp_mean: float
    u_fp_sd: float | None = None
    u_fn_mean: float
    u_fn_sd: float | None = None


class Metric(_Section):
    """A figure with its 95 % bootstrap interval over patients."""

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None


class Difference(Metric):
    """Arm minus baseline, paired by patient."""

    verdict: Verdict


class Arm(_Section):
    """A classifier; ``difference`` is null for the baseline."""

    arm: str
    metrics: dict[str, Metric]
    difference: dict[str, Difference] | None = None


class Classifier(_Section):
    """The classifiers' test, all arms on the same patients."""

    backbone: str
    n_train: int
    n_test: int
    n_test_patients: int
    test_description: str
    rows: list[Arm]
    thresholds: dict[str, Any] = {}


class Model(_Section):
    """What made the images."""

    model_id: str
    model_sha256: str | None = None
    settings: dict[str, Any] = {}
    card_notes: list[str] = []


class RejectedRow(_Section):
    """An input that was refused while the rest went on."""

    row: int | str | None = None
    file_name: str | None = None
    reason: str


class Provenance(BaseModel):
    """How to make the run again; further keys are shown as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    command: str
    seed: int | None = None
    software_version: str


class Results(_Section):
    """The whole of ``results.json``."""

    title: str
    kind: Literal["demo", "run"]
    is_simulated: bool
    notes: list[str] = []
    cohort: Cohort
    coverage: Coverage | None = None
    plan: Plan | None = None
    examples: list[Example] = []
    structure: list[Structure] = []
    agreement: list[Agreement] = []
    classifier: Classifier | None = None
    model: Model | None = None
    provenance: Provenance
    rejected: list[RejectedRow] = []


def read_results(run_folder: Path | str) -> Results:
    """Read and check a run's ``results.json``.

    Raises:
        RunError: the file is missing or breaks the contract; the message names the first field at fault.
    """
    path = Path(run_folder) / "results.json"
    if not path.is_file():
        raise RunError(
            f"{path} does not exist; expected a finished run. Give its command again to finish it."
        )
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(
            f"{path}: {where}: {first['msg']}; see synthorax.runs.results for the contract."
        ) from error
