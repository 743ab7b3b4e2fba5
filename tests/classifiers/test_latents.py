"""A classifier reads an autoencoder's latents: stored once, the same from film and store, and learned from."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from synthorax.classifiers import Classifier, TrainingConfig, train
from synthorax.classifiers.latents import encode, latents_of, open_autoencoder
from synthorax.cli import run
from synthorax.errors import InputError, ModelError
from synthorax.studies import read_manifest

SIZE = 32


@pytest.fixture(scope="module")
def embedded():
    return open_autoencoder("embedded")


def files(store):
    return sorted(store.rglob("*.safetensors"))


def test_the_command_trains_on_latents_and_its_classifier_reads_films(tables, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(f"{{image_size_px: {SIZE}, epochs: 12, checkpoint_every_s: 0}}\n")
    words = ["train", "classifier", str(config), "--studies", str(tables / "studies.parquet"), "--concepts", str(tables / "concepts.parquet")]  # fmt: skip
    words += ["--out", str(tmp_path / "c"), "--outputs", "concepts", "--input", "latents", "--latents", str(tmp_path / "store")]  # fmt: skip
    assert run([*words, "--dry-run"]) == 0 and not (tmp_path / "store").exists()
    assert run(words) == 0
    made = files(tmp_path / "store")
    changed = [path.stat().st_mtime_ns for path in made]
    classifier = Classifier.load(tmp_path / "c")
    assert classifier.record.backbone == "latent" and classifier.record.autoencoder["name"] == "embedded"
    paths = read_manifest(tables / "studies.parquet")["file_name"].to_list()
    # by path (from the store or added to it), by pixels, and by latents: one answer
    p = classifier.predict(paths)
    again = classifier.predict(latents_of(paths, open_autoencoder("embedded"), SIZE))
    assert np.abs(p - again).max() < 1e-3
    assert changed == [path.stat().st_mtime_ns for path in made] and len(files(tmp_path / "store")) == 120
    table = pl.read_parquet(tables / "concepts.parquet")
    column = classifier.labels.index("effusion")
    seen = table["effusion"].to_numpy() == 1
    assert p[seen, column].mean() > p[~seen, column].mean() + 0.1
    assert run(["evaluate", "classifier", str(tmp_path / "c"), "--studies", str(tables / "studies.parquet"), "--concepts", str(tables / "concepts.parquet"), "--out", str(tmp_path / "e")]) == 0  # fmt: skip
    capsys.readouterr()


def test_a_stopped_encoding_goes_on(embedded, tables, tmp_path):
    paths = read_manifest(tables / "studies.parquet")["file_name"].to_list()[:6]
    first = latents_of(paths[:4], embedded, SIZE, tmp_path)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    whole = latents_of(paths, embedded, SIZE, tmp_path)
    assert len(before) == 4 and len(files(tmp_path)) == 6
    assert all(path.read_bytes() == content for path, content in before.items())
    assert np.array_equal(whole[:4], first) and whole.shape == (6, 32, 2, 2) and whole.dtype == np.float16
    stored = [load_file(path)["latents"] for path in files(tmp_path)]
    assert np.array_equal(np.sort(np.stack(stored), axis=0), np.sort(whole, axis=0))
    files(tmp_path)[0].write_bytes(b"broken")
    with pytest.raises(InputError, match="Remove it; it is made again"):
        latents_of(paths, embedded, SIZE, tmp_path)


def made(kind, folder):
    """A small autoencoder of diffusers, untrained: a test of the layout, no model."""
    import diffusers

    shapes = {
        "AutoencoderKL": {"in_channels": 3, "out_channels": 3, "block_out_channels": (8, 8), "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 4, "latent_channels": 4, "scaling_factor": 0.5},
        "AutoencoderTiny": {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1), "latent_channels": 4},
    }  # fmt: skip
    torch.manual_seed(0)
    getattr(diffusers, kind)(**shapes[kind]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderTiny"])
def test_autoencoders_of_diffusers_are_read_as_they_encode(kind, tmp_path):
    found = open_autoencoder(made(kind, tmp_path / "vae"))
    assert open_autoencoder(tmp_path).sha256 == found.sha256
    films = torch.rand(2, 16, 16)
    x = (films * 2 - 1)[:, None].expand(-1, 3, -1, -1)
    if kind == "AutoencoderKL":
        expected = found.network.encode(x).latent_dist.mean * 0.5
    else:
        expected = found.network.encode(x).latents * found.network.config.scaling_factor
    assert torch.equal(encode(found.network, films), expected)


def test_messages(embedded, tables, tmp_path):
    with pytest.raises(ModelError, match="holds no autoencoder: expected 'embedded' or a folder"):
        open_autoencoder(tmp_path)
    (tmp_path / "vae_4x_1c_2D.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match="models convert medvae"):
        open_autoencoder(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(ModelError, match="is a VQModel; expected one of AutoencoderKL"):
        open_autoencoder(tmp_path)
    z, y = np.zeros((4, 32, 2, 2), np.float16), np.array([[0], [1], [0], [1]])
    config = TrainingConfig(backbone="latent", image_size_px=SIZE, epochs=1)
    with pytest.raises(InputError, match="ImageNet weights are for films"):
        train(TrainingConfig(pretrained=True), z, y, ["a"], autoencoder=embedded)
    films = np.random.default_rng(0).random((4, SIZE, SIZE))
    on_pixels = train(config, films, y, ["a"])
    with pytest.raises(InputError, match="reads other inputs"):
        train(config, films, y, ["a"], start=on_pixels, autoencoder=embedded)
    other = train(config, films, y, ["a"], autoencoder=embedded, out=tmp_path / "c")
    assert other.predict(films).shape == (4, 1)
    record = tmp_path / "c" / "classifier.json"
    record.write_text(record.read_text().replace(embedded.sha256, "0" * 64))
    with pytest.raises(ModelError, match="is not the one whose latents"):
        Classifier.load(tmp_path / "c").predict(films)
