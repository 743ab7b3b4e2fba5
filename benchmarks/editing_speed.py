"""Six edits of one source: a plain loop, call by call with a stored trajectory, against the streamed walk.

    python benchmarks/editing_speed.py [--steps 100] [--skip 0.3] [--edits 6]

Prints one JSON line: evaluations, seconds, and the largest difference of the edited latents. Both use the embedded
model, fp32, one thread and the same noise; the source's latents are random. Encoding and decoding are not timed.
"""

import argparse
import json
import time

import torch

from synthorax.diffusion import load_model
from synthorax.editing import stream
from synthorax.editing.inversion import posterior_mean, sigma, step_noise, used_steps


@torch.no_grad()
def plain(model, x0, text, null, steps: int, skip: float, w: float) -> torch.Tensor:
    """One edit as the paper writes it: z_t stored and divided by sigma_t, one row a call; the last step adds none."""
    used, abar = used_steps(model, steps, skip)
    path = [abar[k].sqrt().float() * x0 + (1 - abar[k]).sqrt().float() * step_noise([0], int(t), x0)
            for k, t in enumerate(used)] + [x0]  # fmt: skip
    z = []
    for k, t in enumerate(used):
        mean = posterior_mean(path[k], model.predict_noise(path[k], t[None], null), abar[k], abar[k + 1])
        spread = sigma(abar[k], abar[k + 1])
        z.append((path[k + 1] - mean) / spread.float() if spread > 0 else path[k + 1] - mean)
    x = path[0]
    for k, t in enumerate(used):
        cond, uncond = (model.predict_noise(x, t[None], e) for e in (text, null))
        spread = sigma(abar[k], abar[k + 1])
        scale = spread.float() if spread > 0 else 1.0
        x = posterior_mean(x, uncond + w * (cond - uncond), abar[k], abar[k + 1]) + scale * z[k]
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--skip", type=float, default=0.3)
    parser.add_argument("--edits", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, n, w = load_model(dtype="float32"), arguments.edits, 7.5
    x0 = torch.randn((1, *model.latent_shape), generator=torch.Generator().manual_seed(1))
    text, null = model.encode_text(["Left effusion."]), model.encode_text([""])

    plain(model, x0, text, null, 1, 0.0, w)  # the first calls are slow
    began = time.perf_counter()
    looped = torch.cat([plain(model, x0, text, null, arguments.steps, arguments.skip, w) for _ in range(n)])
    plain_s, began = time.perf_counter() - began, time.perf_counter()
    streamed = stream(
        model, x0, null, [0], [0] * n, text.expand(n, -1, -1), null.expand(n, -1, -1),
        guidance_scale=w, num_inference_steps=arguments.steps, skip=arguments.skip,
    )  # fmt: skip
    stream_s = time.perf_counter() - began
    k = len(used_steps(model, arguments.steps, arguments.skip)[0])
    print(json.dumps({
        "evaluations": {"plain": 3 * k * n, "stream": k * (1 + 2 * n)},
        "seconds": {"plain": round(plain_s, 2), "stream": round(stream_s, 2)},
        "times_faster": round(plain_s / stream_s, 2),
        "largest_difference": float((looped - streamed).abs().max()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
