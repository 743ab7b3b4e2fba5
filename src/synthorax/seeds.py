"""Seeds derived from what an item *is*, so that batch, order, worker and resume never change a result."""

import hashlib

import numpy as np


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the parts' text, the same on every machine and in every process.

    Args:
        parts: what identifies the item, e.g. ``(run_seed, image_id, "insertion", 0)``. Each part's ``str`` counts.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def is_held_out(patient_id: str) -> bool:
    """One patient in ten is never trained on, real or virtual; decided by the patient's id alone."""
    return derive_seed("held-out", patient_id) % 10 == 0


def generator(*parts: object) -> np.random.Generator:
    """A NumPy generator seeded by :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(*parts))
