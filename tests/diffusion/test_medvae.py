"""MedVAE's layout, with low-rank updates and without, becomes the same autoencoder in diffusers' layout."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from synthorax.classifiers.latents import open_autoencoder
from synthorax.cli import run
from synthorax.diffusion.convert import convert
from synthorax.errors import ModelError

WIDTHS, LATENTS, RANK = (32, 64), 3, 4


def published(has_updates: bool) -> dict[str, torch.Tensor]:
    """Weights by MedVAE's names: two levels, one block a level on the way down and two on the way up."""
    random = torch.Generator().manual_seed(4)
    weights: dict[str, torch.Tensor] = {}

    def conv(name: str, n_in: int, n_out: int, side: int = 3, is_updated: bool = False) -> None:
        at = f"{name}.conv" if is_updated and has_updates else name
        weights[f"{at}.weight"] = (
            torch.randn(n_out, n_in, side, side, generator=random) / (n_in * side**2) ** 0.5
        )
        weights[f"{at}.bias"] = torch.randn(n_out, generator=random) / 10
        if is_updated and has_updates:
            weights[f"{name}.lora_down.weight"] = torch.randn(RANK, n_in, side, side, generator=random) / 10
            weights[f"{name}.lora_up.weight"] = torch.randn(n_out, RANK, 1, 1, generator=random) / 10

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + torch.randn(width, generator=random) / 10
        weights[f"{name}.bias"] = torch.randn(width, generator=random) / 10

    def block(name: str, n_in: int, n_out: int) -> None:
        norm(f"{name}.norm1", n_in)
        conv(f"{name}.conv1", n_in, n_out, is_updated=True)
        norm(f"{name}.norm2", n_out)
        conv(f"{name}.conv2", n_out, n_out, is_updated=True)
        if n_in != n_out:
            conv(f"{name}.nin_shortcut", n_in, n_out, 1, is_updated=True)

    def middle(name: str, width: int) -> None:
        block(f"{name}.block_1", width, width)
        norm(f"{name}.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.attn_1.{part}", width, width, 1, is_updated=True)
        block(f"{name}.block_2", width, width)

    conv("encoder.conv_in", 3, WIDTHS[0])
    block("encoder.down.0.block.0", WIDTHS[0], WIDTHS[0])
    conv("encoder.down.0.downsample.conv", WIDTHS[0], WIDTHS[0])
    block("encoder.down.1.block.0", WIDTHS[0], WIDTHS[1])
    middle("encoder.mid", WIDTHS[1])
    norm("encoder.norm_out", WIDTHS[1])
    conv("encoder.conv_out", WIDTHS[1], 2 * LATENTS)
    conv("quant_conv", 2 * LATENTS, 2 * LATENTS, 1)
    conv("post_quant_conv", LATENTS, LATENTS, 1)
    conv("decoder.conv_in", LATENTS, WIDTHS[1])
    middle("decoder.mid", WIDTHS[1])
    for level, n_in in ((1, WIDTHS[1]), (0, WIDTHS[1])):
        block(f"decoder.up.{level}.block.0", n_in, WIDTHS[level])
        block(f"decoder.up.{level}.block.1", WIDTHS[level], WIDTHS[level])
    conv("decoder.up.1.upsample.conv", WIDTHS[1], WIDTHS[1])
    norm("decoder.norm_out", WIDTHS[0])
    conv("decoder.conv_out", WIDTHS[0], 3)
    conv("channel_proj", LATENTS, LATENTS, 1)  # nothing here reads it
    return weights


def written_out(weights: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mode of the latents and the film decoded from it, by the network's equations, updates beside their convolutions."""

    def conv(name: str, h: torch.Tensor, **options) -> torch.Tensor:
        at = f"{name}.conv" if f"{name}.lora_up.weight" in weights else name
        side = weights[f"{at}.weight"].shape[-1]
        options = {"padding": side // 2} | options
        y = functional.conv2d(h, weights[f"{at}.weight"], weights[f"{at}.bias"], **options)
        if at != name:
            few = functional.conv2d(h, weights[f"{name}.lora_down.weight"], **options)
            y = y + functional.conv2d(few, weights[f"{name}.lora_up.weight"])
        return y

    def norm(name: str, h: torch.Tensor) -> torch.Tensor:
        return functional.group_norm(h, 32, weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def block(name: str, h: torch.Tensor) -> torch.Tensor:
        y = conv(f"{name}.conv1", functional.silu(norm(f"{name}.norm1", h)))
        y = conv(f"{name}.conv2", functional.silu(norm(f"{name}.norm2", y)))
        is_wider = any(key.startswith(f"{name}.nin_shortcut") for key in weights)
        return y + (conv(f"{name}.nin_shortcut", h) if is_wider else h)

    def middle(name: str, h: torch.Tensor) -> torch.Tensor:
        h = block(f"{name}.block_1", h)
        y = norm(f"{name}.attn_1.norm", h)
        q, k, v = (conv(f"{name}.attn_1.{part}", y).flatten(2) for part in "qkv")
        share = (torch.einsum("bci,bcj->bij", q, k) / q.shape[1] ** 0.5).softmax(-1)
        seen = torch.einsum("bij,bcj->bci", share, v).reshape(h.shape)
        return block(f"{name}.block_2", h + conv(f"{name}.attn_1.proj_out", seen))

    h = block("encoder.down.0.block.0", conv("encoder.conv_in", x))
    h = conv("encoder.down.0.downsample.conv", functional.pad(h, (0, 1, 0, 1)), stride=2, padding=0)
    h = middle("encoder.mid", block("encoder.down.1.block.0", h))
    h = conv("encoder.conv_out", functional.silu(norm("encoder.norm_out", h)))
    z = conv("quant_conv", h)[:, :LATENTS]
    h = middle("decoder.mid", conv("decoder.conv_in", conv("post_quant_conv", z)))
    for level in (1, 0):
        for i in (0, 1):
            h = block(f"decoder.up.{level}.block.{i}", h)
        if level:
            h = conv("decoder.up.1.upsample.conv", functional.interpolate(h, scale_factor=2.0))
    return z, conv("decoder.conv_out", functional.silu(norm("decoder.norm_out", h)))


@pytest.mark.parametrize("has_updates", [False, True])
def test_latents_and_films_are_those_of_the_published_equations(tmp_path, has_updates):
    weights = published(has_updates)
    torch.save({"state_dict": weights}, tmp_path / "vae_8x_4c_2D.ckpt")
    out = convert("medvae", {"checkpoint": tmp_path / "vae_8x_4c_2D.ckpt"}, tmp_path / "medvae")
    assert not list(out.rglob("*.ckpt"))
    autoencoder = open_autoencoder(out)
    film = np.random.default_rng(1).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    x = torch.from_numpy(film).float()[:, None].expand(-1, 3, -1, -1) / 127.5 - 1
    with torch.no_grad():
        z, y = written_out(weights, x)
        decoded = autoencoder.network.decode(z).sample
    assert torch.allclose(torch.from_numpy(autoencoder.encode(film)).float(), z, atol=5e-3)
    assert torch.allclose(decoded, y, atol=1e-4)


def test_another_network_is_refused_in_one_sentence(tmp_path, capsys):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"encoder.conv_in.weight": torch.zeros(1)}}, path)
    with pytest.raises(ModelError, match="expected MedVAE's two-dimensional autoencoder"):
        convert("medvae", {"checkpoint": path}, tmp_path / "out")
    path.write_bytes(b"no")
    with pytest.raises(ModelError, match="no checkpoint that can be read safely"):
        convert("medvae", {"checkpoint": path}, tmp_path / "out")
    assert run(["models", "list"]) == 0
    assert "medvae" in capsys.readouterr().out
