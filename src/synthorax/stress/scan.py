"""Which shift hurts most? Every finding and device, one after another, put into films that the model reads as normal.

RadEdit names it as future work (section 6): failure modes found without a guess. The films have target 0; what comes in is
another finding than the target, so 0 stays right, and a model that answers 1 now has taken one thing for another. Of each
film edit and sham are made; the change is the accuracy on edits minus that on shams of the same films, so that what the
editor does to any film is no fall. Resamples draw patients; p-values are adjusted for all shifts (Holm). It proposes and
gives no verdict: whether an edit shows what it was asked for is not seen here. Test the one it proposes by ``stress custom``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import Difference, Interval, bootstrap, holm
from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, unknown_choice
from synthorax.files import atomic
from synthorax.perturbations import prompt
from synthorax.stress.shifts import Shift

LEVEL = 0.05
#: Vocabulary -> which of its concepts the scan adds to the pathologies of ``corpa``.
BESIDE = {"radedit": ("pulmonary_oedema", "chest_drain", "pacemaker")}


@dataclass(frozen=True)
class ScanRow:
    """One finding: accuracy on shams and on edits, the paired change, adjusted p."""

    name: str
    prompt: str
    sham: Interval
    edited: Interval
    change: Difference
    p_adjusted: float
    falls: bool


@dataclass(frozen=True)
class Scan:
    """All findings, the largest fall first."""

    model: str
    rows: tuple[ScanRow, ...]
    is_simulated: bool

    @property
    def proposal(self) -> str:
        """One sentence: which shift to test."""
        falling = [row for row in self.rows if row.falls]
        if not falling:
            return f"None of {len(self.rows)} shifts was shown to hurt (Holm, {LEVEL:g})."
        return f"{falling[0].prompt!r} hurts most; {len(falling)} of {len(self.rows)} shifts hurt (Holm, {LEVEL:g}). Test it by 'stress custom'."

    def save(self, folder: Path | str) -> Path:
        """Write ``scan.json``."""
        path = Path(folder) / "scan.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self) | {"proposal": self.proposal}, indent=1) + "\n")
        return path


def scan_shifts(names: list[str] | None = None, leave_out: tuple[str, ...] = ()) -> dict[str, Shift]:
    """A shift a finding or device, those with a side on the left.

    Args:
        names: concepts; default all pathologies of ``corpa``, oedema, drain and pacemaker.
        leave_out: concepts that mean the tested finding itself.

    Raises:
        InputError: no such concept.
    """
    vocabularies = {name: Vocabulary.load(name) for name in ("corpa", *BESIDE)}
    known = dict.fromkeys(vocabularies["corpa"].pathologies, "corpa")
    known |= {concept: name for name, concepts in BESIDE.items() for concept in concepts}
    for asked in (*(names or ()), *leave_out):
        if asked not in known:
            raise unknown_choice("concept", asked, known)
    shifts = {}
    for concept in names or known:
        if concept not in leave_out:
            sentence = prompt([concept], vocabularies[known[concept]], {concept: "left"})
            shifts[concept] = Shift(concept, sentence, "No findings.", target_after=1, needs_mask=False)
    return shifts


def measure_scan(
    tested: TestedModel,
    stressed: Mapping[str, tuple[Path, pl.DataFrame]],
    prompts: Mapping[str, str],
    *,
    seed: int = 0,
) -> Scan:
    """Test a model on one stressed set a finding.

    Args:
        tested: the model.
        stressed: name -> folder and metadata of :func:`~synthorax.stress.stressed.make_stressed` with films of target 0.
        prompts: name -> what the edits show.
        seed: of the bootstrap.

    Raises:
        InputError: no edit of a finding is left.
        ModelError: the model's answers cannot be used.
    """
    found: list[tuple[str, str, Interval, Interval, Difference]] = []
    for name, (folder, frame) in stressed.items():
        valid = frame.filter("is_valid")
        parts = [valid.filter(perturbation_type=kind) for kind in ("sham", name)]
        if not parts[1].height:
            raise InputError(f"{folder}: all edits were left out by their score; nothing can be measured.")
        right = [~tested.says([str(folder / file) for file in part["file_name"]]) for part in parts]
        values = np.stack(right, axis=1).astype(float)
        both = bootstrap(lambda w, v=values: w @ v / w.sum(1, keepdims=True), parts[1]["patient_id"].to_list(), seed=seed)  # type: ignore[misc]  # fmt: skip
        found.append((name, prompts[name], both[0].interval(), both[1].interval(), both[1].minus(both[0]).difference()))  # fmt: skip
    adjusted = holm([row[4].p_value for row in found])
    rows = [ScanRow(*row, float(p), bool(p <= LEVEL and row[4].estimate < 0)) for row, p in zip(found, adjusted, strict=True)]  # fmt: skip
    rows.sort(key=lambda row: row.change.estimate)
    simulated = any(frame["is_simulated"].any() for _, frame in stressed.values())
    return Scan(tested.name, tuple(rows), bool(simulated))
