"""Figures over sets: closed forms, planted copies, and the command on drawn films."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.classifiers import TrainingConfig, train
from synthorax.cli import run
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError, ModelError
from synthorax.quality.extractors import load_extractor
from synthorax.quality.memorisation import nearest_by_feature, nearest_by_pixel
from synthorax.quality.samples import (
    factual_correctness,
    feature_map,
    frechet_distance,
    kernel_distance,
    seed_similarity,
)
from synthorax.studies import MANIFEST, write_manifest

RNG = np.random.default_rng(0)


def test_frechet_distance_of_shifted_sets_is_the_square_of_the_shift():
    a = RNG.normal(size=(60, 5))
    shift = np.array([1.0, -2, 0, 0.5, 0])
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + shift) == pytest.approx((shift**2).sum(), abs=1e-6)


def test_frechet_distance_of_scaled_axes():
    """Diagonal covariances: sum of (s - s')^2 over the deviations."""
    a = RNG.normal(size=(400, 3))
    a = (a - a.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(a.T)).T)
    assert frechet_distance(a, a * [2.0, 1, 3]) == pytest.approx(1 + 0 + 4, abs=1e-5)


def test_kernel_distance_is_the_unbiased_cubic_mmd():
    a, b = RNG.normal(size=(2, 30, 4))
    b = b + 1
    k = (np.concatenate([a, b]) @ np.concatenate([a, b]).T / 4 + 1) ** 3
    n = 30
    within = sum((block.sum() - np.trace(block)) / (n * (n - 1)) for block in (k[:n, :n], k[n:, n:]))
    mean, deviation = kernel_distance(a, b)
    assert mean == pytest.approx(within - 2 * k[:n, n:].mean(), rel=1e-5) and deviation < 1e-6 * mean


def test_kernel_distance_does_not_touch_the_global_generator():
    before = torch.random.get_rng_state()
    assert kernel_distance(*RNG.normal(size=(2, 150, 3))) != (0, 0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_factual_correctness_is_pearson_with_an_interval():
    real = RNG.random((40, 14))
    synthetic = real + 0.3 * RNG.random((40, 14))
    found = factual_correctness(real, synthetic, [f"p{i // 2}" for i in range(40)])
    assert found.estimate == pytest.approx(np.corrcoef(real.ravel(), synthetic.ravel())[0, 1], abs=1e-12)
    assert found.ci_low < found.estimate < found.ci_high and found.n_patients == 20


def test_the_same_film_from_every_seed_has_similarity_one():
    film = RNG.random((176, 176))
    found = seed_similarity({"a": np.stack([film] * 2), "b": np.stack([film] * 3)})
    assert found["SSIM"].estimate == pytest.approx(1) and found["MS-SSIM"].estimate == pytest.approx(
        1, abs=1e-5
    )
    assert set(seed_similarity({"a": RNG.random((2, 32, 32))})) == {"SSIM"}


def test_sets_of_one_film_or_of_other_features_are_refused():
    with pytest.raises(InputError, match="N >= 2"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(InputError, match="of one F"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(InputError, match="four at least"):
        feature_map(np.zeros((3, 2)))


def test_planted_copies_are_found_and_new_films_are_not():
    training, held_out, new = (RNG.normal(size=(n, 16, 16)) for n in (50, 100, 20))
    copies = (
        0.7 * training[7:10] + 3 + 0.01 * RNG.normal(size=(3, 16, 16))
    )  # contrast and exposure do not hide them
    found = nearest_by_pixel(np.concatenate([copies, new]), training, held_out)
    assert (
        found.is_near[:3].all() and found.index[:3].tolist() == [7, 8, 9] and found.is_near[3:].mean() < 0.2
    )
    flat = [x.reshape(len(x), -1) for x in (np.concatenate([2 * training[7:10], new]), training, held_out)]
    found = nearest_by_feature(*flat)
    assert found.distance[:3] == pytest.approx([0, 0, 0], abs=1e-12) and found.is_near[:3].all()


def test_one_in_a_hundred_held_out_films_lies_below_the_limit():
    training, held_out = RNG.normal(size=(50, 10)), RNG.normal(size=(500, 10))
    assert nearest_by_feature(held_out, training, held_out).is_near.mean() == pytest.approx(0.01, abs=0.002)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Real films (p0 to p29) with or without a bright disc, a classifier of it, and two models' datasets."""
    folder, draw = tmp_path_factory.mktemp("samples"), np.random.default_rng(1)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]

    def film(has: bool) -> np.ndarray:
        centre = draw.uniform(-0.3, 0.3, 2)
        disc = 0.5 * (((x - centre[0]) ** 2 + (y - centre[1]) ** 2) < 0.1) * has
        return np.clip(
            0.3 + 0.1 * np.cos(3 * x + draw.uniform(0, 3)) + disc + 0.02 * draw.normal(size=x.shape), 0, 1
        )

    rows, films, targets = [], [], []
    for i in range(60):
        films.append(film(i % 2 == 1))
        targets.append([float(i % 2)])
        write_png(films[-1], folder / f"real/{i}.png")
        rows.append({"study_id": f"s{i}", "image_id": f"i{i}", "patient_id": f"p{i // 2}", "source": "drawn", "file_name": str(folder / f"real/{i}.png")})  # fmt: skip
    frame = pl.DataFrame([{name: row.get(name) for name in MANIFEST} for row in rows], schema=MANIFEST)
    write_manifest(frame, folder / "real.parquet")
    write_manifest(frame.head(20), folder / "trained.parquet")
    data = (np.stack(films), np.array(targets))
    train(TrainingConfig(epochs=8, image_size_px=32, seed=0), *data, ["Suspicious Malignancy"], validation=data, out=folder / "oracle")  # fmt: skip
    for name in ("good", "blind"):
        made = []
        for i in range(24):
            has = (i // 2) % 2 == 1
            write_png(film(has and name == "good"), folder / f"{name}/synthetic/{i}.png", Synthetic="YES")
            made.append({"file_name": f"{i}.png", "study_id": f"s{i}", "image_id": f"m{i}", "prompt": "Mass." if has else "Normal.", "seed": i,
                         "labels_after": ["Suspicious Malignancy"] if has else ["No Relevant Finding"], "is_synthetic": True})  # fmt: skip
        write_png(films[3], folder / f"{name}/synthetic/3.png")  # a training film, kept by heart
        write_metadata(metadata_frame(made), folder / f"{name}/synthetic")
    return folder


def test_the_command_tells_a_model_that_obeys_from_one_that_does_not(drawn, capsys):
    words = ["evaluate", "samples", f"{drawn}/good/synthetic", f"{drawn}/blind/synthetic", "--real", f"{drawn}/real.parquet", "--extractor", f"{drawn}/oracle",
             "--oracle", f"{drawn}/oracle", "--trained-on", f"{drawn}/trained.parquet", "--out", f"{drawn}/out"]  # fmt: skip
    assert run(words) == 0
    table = pl.read_csv(drawn / "out/samples.csv")

    def value(dataset: str, figure: str) -> float:
        return table.filter((pl.col("dataset") == dataset) & (pl.col("figure") == figure))["value"].item()

    assert value("good", "every label as asked for") > 0.9
    assert value("blind", "Suspicious Malignancy: seen where asked for") < 0.2
    assert value("good", "Frechet distance") < value("blind", "Frechet distance")
    assert value("real halves", "kernel distance") < value("blind", "kernel distance")
    assert table.filter(figure="Frechet distance")["n_features"].to_list() == [256] * 3
    assert "ours (oracle)" in capsys.readouterr().out
    near = pl.read_csv(drawn / "out/nearest_good.csv")
    assert near["file_name"][0].endswith("good/synthetic/3.png") and near["nearest"][0].endswith("real/3.png")
    assert json.loads((drawn / "out/samples.json").read_text())["figures"][0]["dataset"] == "real halves"
    assert "good (24)" in (drawn / "out/map.svg").read_text() and (drawn / "out/nearest_good.png").is_file()


def test_models_that_drew_other_prompts_are_not_compared(drawn, tmp_path, capsys):
    other = tmp_path / "other/synthetic"
    write_png(np.zeros((8, 8), np.float32), other / "0.png")
    write_metadata(metadata_frame([{"file_name": "0.png", "prompt": "Else.", "seed": 1}]), other)
    words = ["evaluate", "samples", f"{drawn}/good/synthetic", str(other), "--real", f"{drawn}/real.parquet", "--extractor", f"{drawn}/oracle", "--out", f"{tmp_path}/out"]  # fmt: skip
    assert run(words) == 2
    assert "other prompts or seeds than good" in capsys.readouterr().err


def test_without_films_of_other_patients_there_is_no_audit(drawn, tmp_path, capsys):
    words = ["evaluate", "samples", f"{drawn}/good/synthetic", "--real", f"{drawn}/trained.parquet", "--extractor", f"{drawn}/oracle",
             "--trained-on", f"{drawn}/real.parquet", "--out", f"{tmp_path}/out"]  # fmt: skip
    assert run(words) == 2
    assert "films of others" in capsys.readouterr().err


def test_clip_and_torchxrayvision_are_read_from_files(drawn, tmp_path):
    """Untrained networks of the right layout: shapes and order of films, no figure."""
    import torchxrayvision as xrv
    from safetensors.torch import save_file
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    paths = [str(drawn / f"real/{i}.png") for i in range(3)]
    shape = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16, projection_dim=12)  # fmt: skip
    CLIPVisionModelWithProjection(shape).save_pretrained(tmp_path / "clip")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path / "clip")  # fmt: skip
    found = load_extractor(f"clip:{tmp_path / 'clip'}")
    assert found.features(paths).shape == (3, 12) and found.scores is None
    network = xrv.models.DenseNet(num_classes=18)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "xrv.safetensors")
    found = load_extractor(f"xrv:{tmp_path / 'xrv.safetensors'}")
    assert found.features(paths).shape == (3, 1024) and found.scores(paths).shape == (3, 18) and len(found.labels) == 18  # fmt: skip
    assert np.allclose(found.features(paths)[2], found.features(paths[2:])[0], atol=1e-5)
    for wrong in (f"clip:{tmp_path}", f"xrv:{tmp_path / 'none'}"):
        with pytest.raises(ModelError):
            load_extractor(wrong)
