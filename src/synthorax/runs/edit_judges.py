"""Judges of a plan's edits: classifiers that must find exactly the labels asked for, and lungs and heart that must stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.downstream.anatomy import LIMITS, Segmenters, anatomy, changes
from synthorax.errors import InputError
from synthorax.generation.obedience import Asked, Judge, Reader

#: Names :class:`Anatomy` where judges are named.
ANATOMY = "anatomy"
RATIO, HEART = "cardiothoracic_ratio", "Cardiomegaly"


@dataclass(frozen=True)
class Anatomy:
    """Lungs and heart as two segmenters find them on source and edit, held to :data:`~synthorax.downstream.anatomy.LIMITS`.

    What is not found on one of the two films fails.
    """

    segmenters: Segmenters
    identity: str = ANATOMY
    reads: Sequence[str] = tuple(LIMITS)

    def fails(self, paths: Sequence[str], asked: Sequence[Asked]) -> list[dict[str, bool]]:
        """Of each edit what had to stay, and whether it did not; nothing of a film that has no source."""
        some = [i for i, one in enumerate(asked) if one.source is not None]
        found: list[dict[str, bool]] = [{} for _ in asked]
        if some:
            before, after = (anatomy(films, self.segmenters) for films in ([str(asked[i].source) for i in some], [paths[i] for i in some]))  # fmt: skip
            change = changes(before, after)
            for n, i in enumerate(some):
                found[i] = {name: not np.abs(change[name][n]) <= LIMITS[name] for name in asked[i].stays}
        return found


def edit_judges(judges: Sequence[str], device: str, is_simulated: bool) -> list[Reader]:
    """By where they are; ``anatomy`` is :class:`Anatomy` with the shipped segmenters.

    Raises:
        InputError: a model that does not name its outputs, or ``anatomy`` for real films, which the segmenters do not know.
        ModelError: nothing there.
    """
    if ANATOMY in judges and not is_simulated:
        raise InputError(
            "--judge anatomy is for virtual patients: the shipped segmenters learned from them alone and are often wrong on "
            "real films. Leave it out, and measure with 'evaluate anatomy --lungs --heart' afterwards."
        )
    return [
        Anatomy(Segmenters.load(device=device)) if name == ANATOMY else Judge.load(name, device)
        for name in judges
    ]


def asked_of_edits(edits: pl.DataFrame, sources: Mapping[str, object]) -> dict[str, Asked]:
    """``edit_id`` -> what the edit shall show: the labels of the plan, none of the vocabulary's others, and its source's anatomy.

    The cardiothoracic ratio need not stay where an enlarged heart comes or goes.

    Args:
        edits: a plan.
        sources: ``image_id`` -> path of each film that can be edited; the others' edits are left out.
    """
    vocabulary = Vocabulary.load()
    known, none = vocabulary.pathology_labels, vocabulary.no_finding_label
    found = {}
    for row in edits.iter_rows(named=True):
        if row["image_id"] not in sources:
            continue
        before, after = ({name for name in row[key] or () if name != none} for key in ("labels_before", "labels_after"))  # fmt: skip
        stays = tuple(name for name in LIMITS if name != RATIO or HEART not in before ^ after)
        denied = tuple(name for name in known if name not in after)
        found[row["edit_id"]] = Asked({}, tuple(sorted(after)), denied, str(sources[row["image_id"]]), stays)
    return found
