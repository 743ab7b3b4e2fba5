"""Did the film change as its text did? RadEdit's editing score (Perez-Garcia et al. 2023, section 4.4), from any encoder.

| variable | symbol | meaning |
| --- | --- | --- |
| v, v_edit | E_I(I_real), E_I(I_edit) | unit rows, source and edit |
| w, w_edit | E_T(T_real), E_T(T_edit) | unit rows, what the source shows and what the edit should show |
| s | S | cos(v - v_edit, w - w_edit) |

The paper prints 1 - cos, and discards edits with S < 0.2. Both cannot be meant: 1 - cos is 0 where image and text change
alike, so the best edits would be discarded and edits against their text kept. The score is the cosine here, in [-1, 1].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from synthorax.classifiers.loading import batches
from synthorax.dataset import read_metadata, write_metadata
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.studies import read_film

#: Unit rows that are no farther apart differ by rounding alone.
SAME = 1e-4
#: Edits at a time; each is read with its source.
AT_ONCE = 16


class ImageTextEncoder(Protocol):
    """Films and texts in one space."""

    @property
    def least_fit(self) -> float | None:
        """cos(E_I, E_T) that nearly every film exceeds with its own text; None where that is not known."""

    def images(self, films: np.ndarray) -> np.ndarray:
        """Unit rows ``(N, D)`` of films ``(N, H, W)`` in [0, 1]."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit rows ``(N, D)``."""


def editing_scores(
    encoder: ImageTextEncoder,
    films: np.ndarray,
    edits: np.ndarray,
    before: Sequence[str],
    after: Sequence[str],
) -> np.ndarray:
    """The editing score of each edit, ``(N,)`` float64 in [-1, 1].

    0 where the film did not change at all; NaN where both texts say the same, since then nothing was asked for.

    Args:
        encoder: of films and texts.
        films, edits: ``(N, H, W)`` in [0, 1].
        before, after: what the film shows, and what the edit should show.

    Raises:
        InputError: not one edit and two texts a film.
    """
    if not len(films) == len(edits) == len(before) == len(after):
        raise InputError(f"{len(films)} films, {len(edits)} edits, {len(before)} and {len(after)} texts; expected as many of each.")  # fmt: skip
    v, w = (
        last.astype(np.float64) - first
        for first, last in (
            (encoder.images(films), encoder.images(edits)),
            (encoder.texts(before), encoder.texts(after)),
        )
    )
    n_v, n_w = np.linalg.norm(v, axis=1), np.linalg.norm(w, axis=1)
    s = np.divide((v * w).sum(1), n_v * n_w, out=np.zeros(len(v)), where=np.minimum(n_v, n_w) > SAME)
    return np.where(n_w > SAME, s, np.nan)


def fits(encoder: ImageTextEncoder, films: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """cos(E_I, E_T) of films and their own texts, ``(N,)``: low where a source's text does not describe it."""
    return (encoder.images(films).astype(np.float64) * encoder.texts(texts)).sum(1)


def score_dataset(dataset: Path, encoder: ImageTextEncoder) -> pl.DataFrame:
    """The editing score of each edit of a dataset, into ``score_edit`` of its metadata, and with the sources' fit into ``scores.csv``.

    The texts are ``inversion_prompt`` and ``prompt``; a source is an image of the dataset or lies where ``source_file_name`` says.
    Give the command again when edits have been added.

    Args:
        dataset: a folder with ``metadata.parquet``.
        encoder: of films and texts; none that had a part in making the edits. Sources whose text fits worse than its
            ``least_fit`` are marked.

    Returns:
        image_id, perturbation_type, score_edit, source_fit, source_is_odd: a row an edit with a source and two texts.

    Raises:
        InputError: no such edit, or one of another size than its source.
    """
    table = read_metadata(dataset)
    edits = table.filter(pl.all_horizontal(pl.col("source_file_name", "prompt").is_not_null()))
    if edits.is_empty():
        raise InputError(f"{dataset} has no edit: no row has source_file_name and prompt.")
    rows = edits.to_dicts()
    scores, fit = np.empty(len(rows)), np.empty(len(rows))
    company = batches([str(dataset / row["file_name"]) for row in rows], AT_ONCE)
    for places, films in track(company, "Editing scores", unit="batches", total=None):
        origin = [read_film(dataset / rows[i]["source_file_name"]).pixels for i in places]
        if any(film.shape != films[0].shape for film in origin):
            raise InputError(
                f"{rows[places[0]]['image_id']} or a neighbour has another size than its source."
            )
        before, after = ([rows[i][column] or "" for i in places] for column in ("inversion_prompt", "prompt"))
        sources = np.stack(origin)
        scores[places] = editing_scores(encoder, sources, films, before, after)
        fit[places] = fits(encoder, sources, before)
    least = -np.inf if encoder.least_fit is None else encoder.least_fit
    found = edits.select("image_id", "perturbation_type").with_columns(
        score_edit=pl.Series(scores).fill_nan(None),
        source_fit=pl.Series(fit),
        source_is_odd=pl.Series(fit < least),
    )
    write_metadata(table.update(found.select("image_id", "score_edit"), on="image_id", include_nulls=True), dataset)  # fmt: skip
    with atomic(dataset / "scores.csv") as temporary:
        found.write_csv(temporary)
    return found
