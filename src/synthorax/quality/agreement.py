"""Agreement of the concepts read back from an image with those asked for (CARS table 4).

Per image, over the concepts that the target vector knows, with T = asked for and R = read back:

    Jaccard = |T & R| / |T | R|        U_FP = 1 - precision = |R - T| / |R|   (hallucinated)
    Hamming = |T ^ R| / |known|        U_FN = 1 - recall    = |T - R| / |T|   (missed)

Empty sets: nothing asked for and nothing read is agreement (Jaccard 1, U_FP 0, U_FN 0). Nothing read where
something was asked for scores Jaccard 0, U_FP 0, U_FN 1, and is counted, because its U_FP flatters.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl

from synthorax.errors import InputError

#: Films ``(N, H, W)`` in [0, 1] -> concept probabilities ``(N, C)``, e.g. ``Classifier.predict``.
Judge = Callable[[np.ndarray], np.ndarray]


def agreement(targets: np.ndarray, read_back: np.ndarray) -> pl.DataFrame:
    """Agreement of each image.

    Args:
        targets: ``(N, C)`` 1 asked for, 0 absent, NaN unknown (left out of that image's comparison).
        read_back: ``(N, C)`` 1 read, 0 not read, NaN where the judge cannot tell (left out too).

    Returns:
        A row an image, in order: ``jaccard, hamming, u_fp, u_fn`` (null where no concept is known to both),
        ``n_compared``, ``is_empty_read_back``.
    """
    targets, read_back = _checked("target", targets), _checked("read-back value", read_back)
    if targets.shape != read_back.shape:
        raise InputError(
            f"targets have shape {targets.shape} and the read-back {read_back.shape}; expected two equal "
            "(images, concepts) tables, concepts in one order."
        )
    known = ~np.isnan(targets) & ~np.isnan(read_back)
    t, r = known & (targets == 1), known & (read_back == 1)
    both, either = (t & r).sum(1), (t | r).sum(1)
    n = known.sum(1)
    columns = {
        "jaccard": _share(both, either, empty=1.0),
        "hamming": _share((t ^ r).sum(1), n, empty=0.0),
        "u_fp": _share((r & ~t).sum(1), r.sum(1), empty=0.0),
        "u_fn": _share((t & ~r).sum(1), t.sum(1), empty=0.0),
    }
    frame = pl.DataFrame({name: np.where(n > 0, values, np.nan) for name, values in columns.items()})
    return frame.fill_nan(None).with_columns(
        n_compared=pl.Series(n), is_empty_read_back=pl.Series((r.sum(1) == 0) & (t.sum(1) > 0))
    )


def agreement_of_films(
    judge: Judge, batches: Iterable[np.ndarray], targets: np.ndarray, thresholds: Sequence[float]
) -> pl.DataFrame:
    """Read concepts back with a judge and compare: for edits, true counterfactuals (ceiling), shams (floor).

    Args:
        judge: films -> concept probabilities; one that never saw the editor's outputs.
        batches: films ``(n, H, W)`` in [0, 1] in the order of ``targets``, in batches of any size.
        targets: ``(N, C)`` 1, 0 or NaN, concepts in the judge's order.
        thresholds: ``(C,)``; a concept counts as read where its probability reaches it. Fit them on
            validation films of the judge, never on what is judged.
    """
    probabilities = np.concatenate([np.asarray(judge(batch), dtype=float) for batch in batches])
    if probabilities.shape[1:] != np.shape(thresholds):
        raise InputError(
            f"the judge gives {probabilities.shape[1:]} concepts and there are {len(thresholds)} thresholds; "
            "give one for each, in the judge's order."
        )
    read_back = np.where(np.isnan(probabilities), np.nan, probabilities >= np.asarray(thresholds))
    return agreement(targets, read_back)


def _checked(what: str, table: np.ndarray) -> np.ndarray:
    table = np.asarray(table, dtype=float)
    odd = ~(np.isnan(table) | (table == 0) | (table == 1))
    if odd.any():
        row, concept = np.argwhere(odd)[0]
        raise InputError(
            f"{what} of image {row}, concept {concept} is {table[row, concept]:g}; expected 0, 1 or NaN. "
            "Apply thresholds to probabilities first."
        )
    return table


def _share(part: np.ndarray, whole: np.ndarray, *, empty: float) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), empty), where=whole > 0)
