"""The solver against diffusers' own, and against a closed form."""

import pytest
import torch

from synthorax.editing.inversion import used_steps
from synthorax.editing.solver import Solver


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize(
    ("order", "eta", "kind"), [(1, 1, "sde-dpmsolver++"), (2, 1, "sde-dpmsolver++"), (2, 0, "dpmsolver++")]
)
def test_steps_are_those_of_diffusers_solver(gaussian, order, eta, kind):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        beta_start=1e-4, beta_end=0.02, algorithm_type=kind, solver_order=order, timestep_spacing="trailing",
        final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(8)
    used, alpha_bar = used_steps(gaussian, 8, 0.0)
    assert used.tolist() == scheduler.timesteps.tolist()
    solver, rng = Solver(alpha_bar, order, float(eta)), torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(1, 2, 4, 4, generator=rng)
    for k, t in enumerate(scheduler.timesteps):
        epsilon = torch.randn(ours.shape, generator=rng)
        ours = solver.step(k, ours, epsilon)
        theirs = scheduler.step(epsilon, t, theirs, variance_noise=torch.zeros_like(theirs)).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_second_order_is_nearer_to_the_flow_of_a_gaussian(gaussian):
    """Zero mean: the probability flow keeps a film's quantile, so x_t is in proportion to its level's spread."""
    used, alpha_bar = used_steps(gaussian, 8, 0.0)
    first, last = (
        alpha_bar[[0, -2]] * gaussian.spread**2 + 1 - alpha_bar[[0, -2]]
    ).sqrt()  # the last step is of order 1
    start, errors = torch.ones(1, *gaussian.latent_shape), {}
    for order in (1, 2):
        solver, x = Solver(alpha_bar, order, eta=0.0), start
        for k, t in enumerate(used[:-1]):
            x = solver.step(k, x, gaussian.predict_noise(x, t[None], torch.zeros(1, 1, 1)))
        errors[order] = float((x - start * float(last / first)).abs().max())
    assert errors[2] < 0.5 * errors[1]
