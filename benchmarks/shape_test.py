"""Shape test: one denoising step of a published architecture at full size, with random numbers for weights.

This is no model and makes no film: it says whether the networks fit a machine, and how long a step takes there.

    python benchmarks/shape_test.py radedit | stable-diffusion-2.1 | chexgen [--more 3]

bfloat16 (minutes a step where a CPU has none in hardware), batch 1, one process an architecture, because the peak is of the process. Weights are built in bfloat16
from the first, so that the peak is the running network's and not that of its making.
"""

import argparse
import resource
import time

import torch
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel

from synthorax.diffusion import transformer

#: Text features: (tokens, width). Latents are 4 x 64 x 64, 512 px.
TEXT = {"radedit": (128, 768), "stable-diffusion-2.1": (77, 1024), "chexgen": (120, 4096)}
LATENTS = (1, 4, 64, 64)


def network(name: str) -> torch.nn.Module:
    """The architecture, from its published settings."""
    if name == "chexgen":  # era-ai-biomed/ChexGen, configs/train/mimic-example.py: DiT-XL/2
        return PixArtTransformer2DModel(
            num_attention_heads=16, attention_head_dim=72, num_layers=28, sample_size=64, patch_size=2,
            in_channels=4, out_channels=8, cross_attention_dim=1152, caption_channels=4096, interpolation_scale=2,
        )  # fmt: skip
    if (
        name == "radedit"
    ):  # RadEdit, appendix: 128 x (1, 2, 4, 6, 8), attention at 32 x 32 and below, heads of 32
        widths = tuple(128 * factor for factor in (1, 2, 4, 6, 8))
        return UNet2DConditionModel(
            sample_size=64, in_channels=4, out_channels=4, block_out_channels=widths, layers_per_block=2,
            down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 4,
            up_block_types=("CrossAttnUpBlock2D",) * 4 + ("UpBlock2D",),
            cross_attention_dim=768,
            attention_head_dim=tuple(width // 32 for width in widths),  # diffusers' word for the number of heads
        )  # fmt: skip
    return UNet2DConditionModel(  # stabilityai/stable-diffusion-2-1-base, unet/config.json
        sample_size=64, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
    )  # fmt: skip


@torch.no_grad()
def main(name: str, more: int) -> None:
    """Print one row: architecture, parameters, peak memory, seconds of the first step and of the best of ``more``."""
    torch.manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.set_default_dtype(torch.bfloat16)
    net = network(name).eval()
    x, t, text = torch.randn(LATENTS), torch.tensor([500]), torch.randn(1, *TEXT[name])

    def step() -> float:
        start = time.perf_counter()
        if name == "chexgen":
            out = transformer.predict(net, x, t, text)
        else:
            out = net(x, t, encoder_hidden_states=text, return_dict=False)[0]
        if out.shape != x.shape:
            raise SystemExit(f"{name} gives {tuple(out.shape)}; expected {tuple(x.shape)}.")
        return time.perf_counter() - start

    first, *later = [step() for _ in range(1 + more)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n = sum(p.numel() for p in net.parameters())
    print(
        f"| architecture | parameters | peak memory | of which Python and its libraries | first step | best of the next {more} |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {name} | {n / 1e6:.1f} M | {peak / 2**20:.2f} GiB | {before / 2**20:.2f} GiB | {first:.2f} s | {f'{min(later):.2f} s' if later else ''} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=TEXT)
    parser.add_argument("--more", type=int, default=3, help="steps after the first")
    arguments = parser.parse_args()
    main(arguments.name, arguments.more)
