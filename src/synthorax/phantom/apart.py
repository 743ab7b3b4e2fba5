"""That an experiment on virtual patients holds no leak: what trains and what tests have no patient in common, and what
trains shows no withheld pair."""

from collections.abc import Collection, Mapping

import polars as pl

from synthorax.concepts import label_column
from synthorax.errors import RunError
from synthorax.phantom.combinations import withheld_pairs


def check_apart(cohorts: Mapping[str, pl.DataFrame], tests: Collection[str]) -> None:
    """Refuse an experiment that leaks.

    Args:
        cohorts: role -> a table with ``patient_id``, ``study_id`` and a ``label_*`` column a label (concepts.parquet).
        tests: the roles whose films may show a withheld pair; every other role trains, judges or chooses.

    Raises:
        RunError: a patient in two roles, or a withheld pair outside the tests.
    """
    owner: dict[str, str] = {}
    for role, table in cohorts.items():
        for patient in table["patient_id"].unique(maintain_order=True):
            if owner.setdefault(patient, role) != role:
                raise RunError(
                    f"patient {patient} is in {owner[patient]!r} and in {role!r}; no patient may have two roles."
                )
        if role in tests:
            continue
        for pair in sorted(sorted(pair) for pair in withheld_pairs()):
            shown = table.filter(pl.all_horizontal(pl.col(label_column(name)) == 1 for name in pair))
            if shown.height:
                raise RunError(
                    f"film {shown['study_id'][0]} of {role!r} shows {' and '.join(pair)}, a withheld pair; only test "
                    "films may. Sample these patients with pairs='allowed'."
                )
