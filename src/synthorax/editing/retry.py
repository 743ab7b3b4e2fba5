"""Edit, score, and try again with another strength or seed where the score is too low.

The judge is passed in, so editing never imports what judges it (and a judge that made the training set of the editor, or saw
its outputs, should not be passed). Removals need this: they fail more often than additions, and from another seed or at
another strength the same removal often works.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthorax.editing.engine import edit
from synthorax.errors import InputError
from synthorax.seeds import derive_seed

#: A score for each edited film, higher = better: called with the films ``(M, H, W)`` and their rows.
Judge = Callable[[np.ndarray, Sequence[int]], Sequence[float]]
#: What guidance is multiplied with, try by try; longer budgets begin again, each try with a seed of its own.
STRENGTHS = (1.0, 1.0, 1.4, 0.7, 2.0)


@dataclass(frozen=True)
class Tried:
    """The best try of each film.

    Attributes:
        images: ``(N, H, W)``.
        scores: ``(N,)`` float64.
        is_accepted: bool ``(N,)``: the score reached what was asked.
        n_tries: int ``(N,)``, tries that were made.
        seeds: ``(N,)``, of the best try.
        guidance_scales: ``(N,)`` float64, of the best try.
    """

    images: np.ndarray
    scores: np.ndarray
    is_accepted: np.ndarray
    n_tries: np.ndarray
    seeds: list[int]
    guidance_scales: np.ndarray


def edit_until(
    images: np.ndarray,
    prompts: Sequence[str],
    judge: Judge,
    *,
    seeds: Sequence[int],
    guidance_scale: float,
    accept: float = 0.5,
    budget: int = 4,
    strengths: Sequence[float] = STRENGTHS,
    **settings: Any,
) -> Tried:
    """Edit films until the judge accepts each, or its budget is spent; the best try stands.

    The first try is :func:`synthorax.editing.edit` as it is. Only films that are not accepted are tried again: guidance
    times the next of ``strengths``, and a seed derived from the film's own, so that a film's tries do not depend on the
    others.

    Args:
        images, prompts, seeds, guidance_scale, settings: as :func:`synthorax.editing.edit` takes them; settings with one
            entry a film (prompts, masks) are lists or arrays.
        judge: higher = better, e.g. the smallest margin over a classifier's thresholds towards the target.
        accept: the score that is enough.
        budget: tries a film, 1 or more.
        strengths: factors of guidance, in turn.

    Raises:
        InputError: a budget below 1, a judge whose scores do not fit, or what ``edit`` refuses.
    """
    if budget < 1:
        raise InputError(f"budget is {budget}; expected 1 or more tries a film.")
    n = len(images)
    best = np.array(images, copy=True)
    scores, strength = np.full(n, -np.inf), np.full(n, float(guidance_scale))
    n_tries, chosen, left = np.zeros(n, dtype=int), list(seeds), list(range(n))
    per_film = {k: v for k, v in settings.items() if isinstance(v, list | tuple | np.ndarray) and len(v) == n}
    for number in range(budget):
        if not left:
            break
        tried = [int(seeds[i]) if number == 0 else derive_seed("try", seeds[i], number) for i in left]
        w = guidance_scale * strengths[number % len(strengths)]
        some = {name: [values[i] for i in left] for name, values in per_film.items()}
        edited = edit(
            images[left], [prompts[i] for i in left], seeds=tried, guidance_scale=w, **settings | some
        )
        found = np.asarray(judge(edited, left), dtype=float)
        if found.shape != (len(left),):
            raise InputError(
                f"the judge gave scores of shape {found.shape}; expected one a film, ({len(left)},)."
            )
        n_tries[left] += 1
        for i, film, score, seed in zip(left, edited, found, tried, strict=True):
            if score > scores[i]:
                best[i], scores[i], chosen[i], strength[i] = film, score, seed, w
        left = [i for i in left if scores[i] < accept]
    return Tried(best, scores, scores >= accept, n_tries, chosen, strength)
