r"""One step of an edit, as a step of the *change*: what is added to the inverted source.

====================  ============================================================================
here                  papers
====================  ============================================================================
``alpha_bar``         abar_t now; ``alpha_bar_next`` at the next, cleaner timestep (1 at the end)
``change``            x_t - x^_t
``difference``        eps_t - eps~_t, the edit's predicted noise minus the inversion's
``clean``             D_t = (x_t - sqrt(1 - abar_t) eps_t) / sqrt(abar_t), the predicted x_0
``h``                 lambda_next - lambda_t with lambda = log(sqrt(abar) / sqrt(1 - abar))
``eta``               1: the posterior of a DDPM (stochastic); 0: DDIM (deterministic)
====================  ============================================================================

Edit-friendly inversion adds back at each step what the source's own step misses, r_t = x^_{t-1} - L(x^_t, eps~_t).
Any solver L that is linear in (x, eps) then walks the change alone, L(x_t - x^_t, eps_t - eps~_t), and is exact at
any number of steps. The first order is RadEdit's mu_t. The second is SDE-DPM-Solver++(2M) (Lu et al. 2022, appendix
B; ``eta = 0``: DPM-Solver++(2M)), whose first order is that same mu_t:

    L_2 = L_1 + sqrt(abar_next) (1 - e^{-(1 + eta) h}) (D_t - D_before) / (2 r),    r = h_before / h.

It takes the first order at the first step, where there is no D before, and at the last, where h is infinite.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from synthorax.editing.inversion import posterior_mean


@dataclass
class Solver:
    """Walks a change step by step; keeps the last step's D, and nothing else.

    Attributes:
        alpha_bar: ``(K + 1,)`` float64 on the CPU, ascending, ending in 1.
        order: 1 or 2.
        eta: 1 or 0.
    """

    alpha_bar: Tensor
    order: int = 1
    eta: float = 1.0
    _before: Tensor | None = None

    def step(self, k: int, change: Tensor, difference: Tensor) -> Tensor:
        """The change after the ``k``-th step; ``change`` and ``difference`` are ``(N, C, h, w)`` float32."""
        abar, following = self.alpha_bar[k], self.alpha_bar[k + 1]
        first = posterior_mean(change, difference, abar, following, self.eta)
        if self.order == 1:
            return first
        clean = (change - (1 - abar).sqrt().to(change) * difference) / abar.sqrt().to(change)
        before, self._before = self._before, clean
        if before is None or k + 2 == len(self.alpha_bar):
            return first
        half_logit = torch.logit(self.alpha_bar[k - 1 : k + 2]) / 2  # lambda
        h_before, h = half_logit.diff()
        weight = following.sqrt() * -torch.expm1(-(1 + self.eta) * h) * h / (2 * h_before)
        return first + weight.to(change) * (clean - before)
