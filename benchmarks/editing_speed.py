"""Six edits of one source: a plain loop over diffusers' own components against ``edit`` with its presets.

    python benchmarks/editing_speed.py [--steps 100] [--skip 0.3] [--edits 6] [--dtype float32] [--model FOLDER | --full-size]

The plain loop is the public recipe: batch 1, each edit inverted anew over *all* steps with its trajectory stored, z_t
divided by sigma_t (the last step's, where sigma is 0, is added as it is), prompt and empty prompt in calls of their own: 100 + 2 x 70 = 240 calls an
image. Same network, dtype, threads, noise and film; encoding and decoding are in the times, which are the processor's, one thread, so that
other work on the machine counts little.
``--full-size`` times the U-Net of Stable Diffusion 1 (850 million weights; films of 256 px, so that two cores end it) with weights
that have learned nothing: its seconds mean something, its films do not; diffusers' LEDITS++ pipeline runs beside it with as many
evaluations as `exact` (it is written for four latent channels, so it cannot run on the embedded model). Prints one JSON object:
evaluations, seconds, ratios, the largest difference of the films (grey levels of 255), and the latents alive at a time
against the number of steps, stored and streamed.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    LEditsPPPipelineStableDiffusion,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from synthorax.diffusion import load_model
from synthorax.editing import PRESETS, Way, edit, evaluations
from synthorax.editing.inversion import invert, step_noise
from synthorax.editing.radedit import radedit
from synthorax.editing.streaming import stream

PROMPTS = (
    "Left effusion.",
    "Right effusion.",
    "Enlarged heart.",
    "Left consolidation.",
    "Right mass.",
    "No findings.",
)
SEED = 1


class Counted:
    """A model that counts the rows it evaluates."""

    def __init__(self, model) -> None:
        self.model, self.rows = model, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def predict_noise(self, x_t, t, embeddings):
        self.rows += len(x_t)
        return self.model.predict_noise(x_t, t, embeddings)


class Weighed(Counted):
    """Says 0 at no cost, and weighs the tensors that are alive at every hundredth call."""

    calls = most = 0

    def predict_noise(self, x_t, t, embeddings):
        self.calls += 1
        if self.calls % 100 == 0:
            self.most = max(self.most, sum(x.nbytes for x in gc.get_objects() if type(x) is torch.Tensor))
        return torch.zeros_like(x_t)


@torch.no_grad()
def plain(model, film: torch.Tensor, prompt: str, steps: int, skip: float, w: float) -> torch.Tensor:
    """One edit by diffusers' U-Net and scheduler, as published; without masks."""
    scheduler = DDIMScheduler.from_config(model.pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    text, null = (model.encode_text([words]) for words in (prompt, ""))

    def step(x, t, embedding, noise):
        with torch.autocast("cpu", model.dtype, enabled=model.dtype != torch.float32):
            output = model.pipeline.unet(x, t, encoder_hidden_states=embedding).sample.float()
        return output, scheduler.step(output, t, x, eta=1.0, variance_noise=noise).prev_sample

    x0 = model.encode(film)
    ts = scheduler.timesteps
    path = [
        scheduler.add_noise(x0, step_noise([SEED], int(t), x0), t[None]) for t in ts
    ] + [x0]  # fmt: skip
    nothing, z = torch.zeros_like(x0), []
    for k, t in enumerate(ts):
        _, mean = step(path[k], t, null, nothing)
        sigma = scheduler._get_variance(t, t - scheduler.config.num_train_timesteps // steps) ** 0.5
        z.append((path[k + 1] - mean) / sigma if sigma > 0 else path[k + 1] - mean)
    n_skipped = int(steps * skip)
    x = path[n_skipped]
    for k, t in list(enumerate(ts))[n_skipped:]:
        cond, uncond = (step(x, t, embedding, nothing)[0] for embedding in (text, null))
        x = scheduler.step(uncond + w * (cond - uncond), t, x, eta=1.0, variance_noise=z[k]).prev_sample
    x = x + z[-1]  # sigma is 0 at the last step: what is missing is added as it is
    return model.decode(x)


def full_size(folder: str):
    """A model of the published shape, its weights as they are drawn."""
    small = load_model().pipeline
    parts = {
        "unet": UNet2DConditionModel(sample_size=32, cross_attention_dim=small.unet.config.cross_attention_dim),
        "vae": AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=256,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        **{name: getattr(small, name) for name in ("text_encoder", "tokenizer", "scheduler")},
    }  # fmt: skip
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionPipeline(**parts, **nothing).save_pretrained(folder)
    return load_model(folder, dtype="float32")


def ledits(model, film: np.ndarray, prompts: list[str], steps: int) -> None:
    """One inversion and all edits of it by diffusers' pipeline, at its defaults, with the solver it was published with."""
    parts = {name: getattr(model.pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    solver = DPMSolverMultistepScheduler.from_config(model.pipeline.scheduler.config, algorithm_type="sde-dpmsolver++", solver_order=2)  # fmt: skip
    pipeline = LEditsPPPipelineStableDiffusion(**parts, scheduler=solver, safety_checker=None, feature_extractor=None, requires_safety_checker=False)  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    pipeline.invert(
        Image.fromarray((film * 255).astype(np.uint8)).convert("RGB"), num_inversion_steps=steps, skip=0.0
    )
    for prompt in prompts:
        pipeline(editing_prompt=[prompt])


def timed(function: Callable) -> tuple[object, float]:
    began = time.process_time()
    return function(), time.process_time() - began


def bytes_alive(model, steps: int) -> dict[str, int]:
    """Bytes of all tensors alive during one edit, the networks' included: stored and streamed."""
    x0, stored, streamed = torch.zeros(1, *model.latent_shape), Weighed(model), Weighed(model)
    text, null = model.encode_text([PROMPTS[0]]), model.encode_text([""])
    stream(streamed, x0, null, [SEED], [0], text, null, way=Way(2.0, steps))
    radedit(
        stored, invert(stored, x0, null, [SEED], num_inference_steps=steps), text, null, guidance_scale=2.0
    )
    return {"stored": stored.most, "streamed": streamed.most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--skip", type=float, default=0.3)
    parser.add_argument("--edits", type=int, default=6)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--model", default=None)
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = (
            full_size(folder) if arguments.full_size else load_model(arguments.model, dtype=arguments.dtype)
        )
    w = 2.5
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(arguments.edits)]
    y, x = np.mgrid[-1 : 1 : 1j * model.image_size, -1 : 1 : 1j * model.image_size]
    film = (0.5 + 0.3 * np.cos(3 * x) * np.cos(2 * y)).astype(np.float32)[None]
    settings = {"guidance_scale": w, "num_inference_steps": arguments.steps, "skip": arguments.skip}

    def ours(preset: str, counted: Counted) -> np.ndarray:
        return edit(
            film.repeat(len(prompts), 0), prompts, model=counted, seeds=[SEED] * len(prompts), preset=preset,
            paste=False, batch_size=arguments.batch_size, **settings,
        )  # fmt: skip

    plain(model, torch.from_numpy(film), prompts[0], 2, 0.0, w)  # the first calls are slow
    ours("fast", Counted(model))
    looped, plain_s = timed(
        lambda: [
            plain(model, torch.from_numpy(film), p, arguments.steps, arguments.skip, w).numpy()
            for p in prompts
        ]
    )
    looped = np.concatenate(looped)
    calls = len(prompts) * (arguments.steps + 2 * (arguments.steps - int(arguments.steps * arguments.skip)))
    found = {"plain": {"evaluations": calls, "seconds": round(plain_s, 2)}}
    for preset in PRESETS:
        counted = Counted(model)
        films, seconds = timed(lambda preset=preset, counted=counted: ours(preset, counted))
        assert counted.rows == evaluations(
            "radedit", arguments.steps, arguments.skip, preset, n_edits=len(prompts)
        )
        found[preset] = {
            "evaluations": counted.rows,
            "seconds": round(seconds, 2),
            "times_fewer_evaluations": round(calls / counted.rows, 2),
            "times_faster": round(plain_s / seconds, 2),
            "largest_difference_grey_levels": round(float(np.abs(films - looped).max()) * 255, 3),
        }
    if arguments.full_size:
        steps = arguments.steps - int(arguments.steps * arguments.skip)
        _, seconds = timed(lambda: ledits(model, film[0], prompts, steps))
        rows = steps * (1 + 2 * len(prompts))
        found["LEDITS++ (diffusers)"] = {
            "evaluations": rows,
            "seconds": round(seconds, 2),
            "times_faster": round(plain_s / seconds, 2),
        }
    memory = {} if arguments.full_size else {steps: bytes_alive(model, steps) for steps in (100, 300, 900)}
    print(
        json.dumps(
            {"dtype": str(model.dtype), "threads": 1, **found, "bytes_alive_at_steps": memory}, indent=1
        )
    )


if __name__ == "__main__":
    main()
