"""A tiny autoencoder and diffusion model, trained once a session by the project's own functions."""

import os
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from synthorax.dataset import write_png
from synthorax.seeds import generator
from synthorax.studies import write_manifest

# One thread for torch and NumPy in every test and in every process that one starts, whatever is run together: the same bits
# need the same count. NumPy has read the environment already.
os.environ.setdefault("OMP_NUM_THREADS", "1")
threadpool_limits(1)


@pytest.fixture(scope="session")
def training_manifest(tmp_path_factory):
    """Twelve small films of smooth shapes, half of them with a bright disc that the report calls a mass."""
    folder = tmp_path_factory.mktemp("films")
    y, x = np.mgrid[-1:1:80j, -1:1:80j]
    rows = []
    for i in range(12):
        rng = generator("training films", i)
        film = 0.5 + 0.3 * np.cos(3 * x + rng.uniform(0, 1)) * np.cos(2 * y)
        if i % 2:
            film = np.where((x - 0.4) ** 2 + y**2 < 0.05, 0.95, film)
        write_png(film.astype(np.float32), folder / f"{i}.png")
        finding = "There is a left mass." if i % 2 else "Normal chest."
        rows.append(
            {"study_id": f"s{i}", "patient_id": f"p{i}", "image_id": f"i{i}", "file_name": str(folder / f"{i}.png"),
             "report": f"FINDINGS: {finding}\nIMPRESSION: {finding}", "source": "folder"}
        )  # fmt: skip
    return write_manifest(pl.DataFrame(rows), folder / "studies.parquet")


@pytest.fixture(scope="session")
def tiny(training_manifest, tmp_path_factory):
    """The configs of a training of six steps, and the folders that it gave: ``vae`` and ``pipeline``."""
    from synthorax.diffusion.films import FilmsConfig
    from synthorax.diffusion.networks import AutoencoderShape, UNetShape
    from synthorax.diffusion.train_autoencoder import AutoencoderConfig, train_autoencoder
    from synthorax.diffusion.train_diffusion import DiffusionConfig, train_diffusion

    films = FilmsConfig(size=64, real_variants=2)
    layers = (0, 1, 1, 1)
    shape = AutoencoderShape(
        widths=(8, 8, 16, 16), encoder_layers=layers, decoder_layers=layers, latent_channels=4
    )
    autoencoder = AutoencoderConfig(
        films=films, shape=shape, steps=6, batch_size=4, crop=32, warmup=2, checkpoint_every=3
    )
    shape = UNetShape(widths=(32, 32), text_width=32, text_layers=1)
    diffusion = DiffusionConfig(
        films=films, shape=shape, steps=6, batch_size=4, warmup=2, checkpoint_every=3, preview_every=4
    )
    out = tmp_path_factory.mktemp("training")
    vae = train_autoencoder(autoencoder, [training_manifest], out / "autoencoder")
    pipeline = train_diffusion(diffusion, [training_manifest], out / "diffusion", vae)
    return SimpleNamespace(autoencoder=autoencoder, diffusion=diffusion, vae=vae, pipeline=pipeline)
