"""Which edits are walked together, and how large each call of a network is."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: Edits that are walked together for each row of a network call: enough to share inversions and to fill calls.
EDITS_PER_ROW = 4


@dataclass(frozen=True)
class Chunk:
    """Edits that are walked together.

    Attributes:
        edits: their rows, ``N`` of them.
        sources: for each, the position of its source in ``first``.
        first: for each of the ``S`` sources, the row of its first edit.
    """

    edits: list[int]
    sources: list[int]
    first: list[int]


def chunks(
    films: np.ndarray, inversion_prompts: Sequence[str], seeds: Sequence[int], size: int
) -> Iterator[Chunk]:
    """All edits, ``size`` at a time, those of one source side by side.

    One source = the same film, inversion prompt and seed: what an inversion follows from.
    """
    of_source: dict[tuple[bytes, str, int], list[int]] = {}
    for row, film in enumerate(films):
        key = (hashlib.sha256(film.tobytes()).digest(), inversion_prompts[row], int(seeds[row]))
        of_source.setdefault(key, []).append(row)
    side_by_side = [(row, rows[0]) for rows in of_source.values() for row in rows]
    for start in range(0, len(side_by_side), size):
        some = side_by_side[start : start + size]
        first = list(dict.fromkeys(source for _, source in some))
        yield Chunk([row for row, _ in some], [first.index(source) for _, source in some], first)


def in_calls(function: Callable[..., Tensor], rows_per_call: int, pad: bool, *inputs: Tensor) -> Tensor:
    """``function`` of the rows of ``inputs``, in calls of at most ``rows_per_call`` rows; with ``pad``, of exactly so many.

    Padding repeats the last row and throws the copies' results away. A row of a full call does not depend on the others
    in it, so padded results are the same bits in any company (tested on a CPU).
    """
    found = []
    for rows in torch.arange(len(inputs[0])).split(rows_per_call):
        n, missing = len(rows), rows_per_call - len(rows)
        if pad and missing:
            rows = torch.cat([rows, rows[-1:].expand(missing)])
        found.append(function(*(some[rows.to(some.device)] for some in inputs))[:n].float())
    return torch.cat(found)


def evaluate(
    model: "DiffusionModel", x: Tensor, t: Tensor, embeddings: Tensor, rows_per_call: int, pad: bool
) -> Tensor:
    """eps_theta of ``x`` ``(M, C, h, w)`` at one timestep, by :func:`in_calls`."""
    return in_calls(
        lambda x_t, texts: model.predict_noise(x_t, t.to(x.device).expand(len(x_t)), texts),
        rows_per_call, pad, x, embeddings,
    )  # fmt: skip
