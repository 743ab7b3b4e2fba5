r"""Inversion and edit in one walk: RadEdit's Algorithms 1 and 3 without a stored trajectory.

====================  ============================================================================
here                  paper
====================  ============================================================================
``path``              x^_t of each source;  ``x``: x_t of each edit;  ``change``: x_t - x^_t
``source``            eps~_t = f_theta(x^_t, t, c_inv), one row a source
``cond``, ``uncond``  f_theta(x_t, t, c) and f_theta(x_t, t, c = empty), one row an edit each
``edit_cells``        m_edit: guidance acts here
``keep_cells``        m_keep: x^ returns here
``missed``            sigma_t z_t = x^_{t-1} - mu_t(x^_t, eps~_t), what inversion adds back at each step
``f``                 ``fresh_noise``
====================  ============================================================================

The forward samples x^_t of Algorithm 1 have noise of their own, independent over t, drawn from a generator keyed
by (film, timestep). So x^_t can be drawn when the edit reaches t, and forgotten after: memory does not grow with
the number of steps. Edits of one source share its row of the inversion, so a step costs ``S + 2 N`` evaluations for
``N`` edits of ``S`` sources. ``inversion`` and ``radedit`` hold the stored form, which this equals up to the rounding
of calls of another size.

z_t holds the source, a finding that should go included. With ``fresh_noise`` f, the edit mask gets
sqrt(1 - f^2) sigma_t z_t + f sigma_t n_t with new noise n_t instead: 0 is RadEdit, 1 is SDEdit inside the mask
(Blended Latent Diffusion, Avrahami et al. 2023), where nothing but the start ties the film to its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synthorax.editing.batches import evaluate
from synthorax.editing.inversion import n_used, posterior_mean, sigma, step_noise, used_steps
from synthorax.editing.solver import Solver
from synthorax.errors import InputError
from synthorax.seeds import derive_seed

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Way:
    """How an edit walks.

    Attributes:
        guidance_scale: w; 15 in the paper, 7.5 on RadEdit's model card. Raising it makes the finding stronger, and
            tears the film where it is too high.
        num_inference_steps: steps of the whole way from noise to film, 1 or more; exact at any number.
        skip: fraction in [0, 1) of the steps left out at the noisy end; raising it keeps more of the source.
        order: of the solver, 1 (the papers') or 2.
        unguided: fraction in [0, 1] of the used steps, at the clean end, that take the conditional answer alone
            (guidance interval, Kynkaanniemi et al. 2024): ``S + N`` evaluations each.
        fresh_noise: f in [0, 1], see above: raising it removes more, and keeps less of what lies in the edit mask.
        reuse: the unconditional branch is evaluated at every ``reuse``-th guided step; between, the last
            cond - uncond stands. 1 = always.
    """

    guidance_scale: float
    num_inference_steps: int
    skip: float = 0.0
    order: int = 1
    unguided: float = 0.0
    reuse: int = 1
    fresh_noise: float = 0.0

    def __post_init__(self) -> None:
        n_used(self.num_inference_steps, self.skip)
        if not 0 <= self.fresh_noise <= 1:
            raise InputError(f"fresh_noise is {self.fresh_noise}; expected a share from 0 (RadEdit) to 1.")
        if self.order not in (1, 2) or self.reuse < 1 or not 0 <= self.unguided <= 1:
            raise InputError(
                f"order is {self.order}, reuse {self.reuse}, unguided {self.unguided}; expected order 1 or 2, "
                "reuse from 1 up, unguided from 0 to 1."
            )

    def branches(self, n_steps: int) -> list["Branch"]:
        """What each of the used steps does with the unconditional branch."""
        n_guided = n_steps - int(self.unguided * n_steps + 1e-9)
        return [
            Branch.LEFT_OUT if k >= n_guided else Branch.REUSED if k % self.reuse else Branch.EVALUATED
            for k in range(n_steps)
        ]

    def evaluations(self) -> tuple[int, int]:
        """Network evaluations a source, and an edit of it."""
        n_steps = n_used(self.num_inference_steps, self.skip)
        return n_steps, n_steps + self.branches(n_steps).count(Branch.EVALUATED)


class Branch(Enum):
    """The unconditional branch at a step."""

    EVALUATED = "evaluated"
    REUSED = "cond - uncond of the last evaluation stands"
    LEFT_OUT = "no guidance: the conditional answer alone, inside and outside the edit mask"


@torch.no_grad()
def stream(
    model: "DiffusionModel",
    x0: Tensor,
    inversion_embeddings: Tensor,
    seeds: Sequence[int],
    sources: Sequence[int],
    embeddings: Tensor,
    null_embeddings: Tensor,
    *,
    way: Way,
    edit_cells: Tensor | None = None,
    keep_cells: Tensor | None = None,
    path: Sequence[Tensor] | None = None,
    rows_per_call: int | None = None,
    pad: bool = False,
) -> Tensor:
    """Invert ``S`` sources and walk ``N`` edits of them back, in ``S + 2 N`` evaluations a step.

    Args:
        model: the diffusion model.
        x0: source latents ``(S, C, h, w)`` float32.
        inversion_embeddings: inversion prompts ``(S, T, D)``.
        seeds: one a source; the noise depends on it and on the timestep alone.
        sources: which row of ``x0`` each edit changes, ``N`` numbers from 0 to ``S - 1``.
        embeddings: editing prompts ``(N, T, D)``.
        null_embeddings: the empty or a negative prompt ``(N, T, D)``.
        way: how to walk.
        edit_cells: bool ``(N, 1, h, w)``, where guidance acts; None = everywhere.
        keep_cells: bool ``(N, 1, h, w)``, where the source stays bit for bit; None = nowhere.
        path: x^_t at each used step and x_0, from :func:`synthorax.editing.ddim.ddim_path`, where the noise is not to
            be drawn; the walk is DDIM's then.
        rows_per_call: rows of a network call at most; None = a step's rows in one call.
        pad: all calls have exactly ``rows_per_call`` rows.

    Returns:
        Edited latents ``(N, C, h, w)`` float32.
    """
    used, alpha_bar = used_steps(model, way.num_inference_steps, way.skip)
    solver = Solver(alpha_bar, way.order, eta=1.0 if path is None else 0.0)
    rows = torch.as_tensor(sources, device=x0.device)
    n_sources, n_edits = len(x0), len(rows)
    change, guidance = torch.zeros_like(x0[rows]), torch.zeros_like(x0[rows])
    for k, (t, branch) in enumerate(zip(used, way.branches(len(used)), strict=True)):
        x_source = noised(x0, alpha_bar[k], seeds, int(t)) if path is None else path[k]
        x = x_source[rows] + change
        states, texts = [x_source, x], [inversion_embeddings, embeddings]
        if branch is Branch.EVALUATED:
            states, texts = [*states, x], [*texts, null_embeddings]
        epsilon = evaluate(
            model, torch.cat(states), t, torch.cat(texts), rows_per_call or n_sources + 2 * n_edits, pad
        )
        source, cond = epsilon[:n_sources], epsilon[n_sources : n_sources + n_edits]
        if branch is not Branch.LEFT_OUT:
            uncond = epsilon[n_sources + n_edits :] if branch is Branch.EVALUATED else cond - guidance
            guidance = cond - uncond
            guided = torch.lerp(uncond, cond, way.guidance_scale)  # exact at w = 0 and w = 1
            cond = guided if edit_cells is None else torch.where(edit_cells, guided, uncond)
        change = solver.step(k, change, cond - source[rows])
        if way.fresh_noise:
            after = noised(x0, alpha_bar[k + 1], seeds, int(used[k + 1])) if k + 1 < len(used) else x0
            renewed = _renewal(x_source, after, source, alpha_bar[k], alpha_bar[k + 1], seeds, int(t), way.fresh_noise)[rows]  # fmt: skip
            change = change + (renewed if edit_cells is None else renewed * edit_cells)
        if keep_cells is not None:
            change = change.masked_fill(keep_cells, 0)
    return x0[rows] + change


def _renewal(
    x_source: Tensor,
    after: Tensor,
    source: Tensor,
    alpha_bar: Tensor,
    following: Tensor,
    seeds: Sequence[int],
    timestep: int,
    f: float,
) -> Tensor:
    """(sqrt(1 - f^2) - 1) sigma_t z_t + f sigma_t n_t of each source; ``after`` is x^_{t-1}."""
    missed = after - posterior_mean(x_source, source, alpha_bar, following)
    n_t = step_noise([derive_seed("fresh noise", seed) for seed in seeds], timestep, after)
    return ((1 - f**2) ** 0.5 - 1) * missed + f * sigma(alpha_bar, following).to(after) * n_t


def noised(x0: Tensor, alpha_bar: Tensor, seeds: Sequence[int], timestep: int) -> Tensor:
    """x^_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps~_t, with eps~_t of each film's own."""
    level = alpha_bar.to(x0)
    return level.sqrt() * x0 + (1 - level).sqrt() * step_noise(seeds, timestep, x0)
