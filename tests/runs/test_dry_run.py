"""``--dry-run``: what a long command would cost, and nothing is made."""

import re

import pytest

from synthorax.cli import run as command
from synthorax.runs.estimate import Estimate, estimate_training

SAID = r"(\d+) rows, (\d+) evaluations, about ([\d.e-]+) hours on this machine, at most ([\d.e-]+) GB; nothing was made\."


def test_a_training_costs_its_steps():
    calls = []
    found = estimate_training(lambda: calls.append(1), steps=100, batch_size=8, n_films=50, disk=2e9)
    assert (found.rows, found.evaluations, found.disk_gb) == (50, 800, 2.0) and len(calls) == 3


def test_one_after_the_other_costs_the_sum():
    assert Estimate(1, 2, 3.0, 4.0) + Estimate(1, 1, 1.0, 1.0) == Estimate(2, 3, 4.0, 5.0)


@pytest.fixture
def words(tiny, training_manifest, tmp_path):
    """Each long command on twelve films, without its own folder."""
    concepts, prompts = tmp_path / "concepts.parquet", tmp_path / "prompts.txt"
    assert command(["concepts", "annotate", str(training_manifest), "--out", str(concepts)]) == 0
    prompts.write_text("Left effusion.\nEnlarged heart.\n")
    for name, config in (("autoencoder", tiny.autoencoder), ("diffusion", tiny.diffusion)):
        (tmp_path / f"{name}.yaml").write_text(config.model_dump_json())
    (tmp_path / "classifier.yaml").write_text("{backbone: small, image_size_px: 32, batch_size: 4}")
    films, model = ["--films", str(training_manifest)], ["--model", str(tiny.pipeline)]
    studies = ["--studies", str(training_manifest)]
    return {
        "generate": ["generate", str(prompts), *model],
        "run": ["run", *studies, "--format", "manifest", *model],
        "train autoencoder": ["train", "autoencoder", str(tmp_path / "autoencoder.yaml"), *films],
        "train diffusion": ["train", "diffusion", str(tmp_path / "diffusion.yaml"), *films, "--vae", str(tiny.vae)],
        "train classifier": ["train", "classifier", str(tmp_path / "classifier.yaml"), *studies, "--concepts", str(concepts)],
        "phantom": ["phantom", "sample", "--n", "40", "--size", "64", "--renderings", "2"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rows", "evaluations"),
    [
        ("generate", 2, 2 * 2 * 30),
        ("train autoencoder", 24, 6 * 4),
        ("train diffusion", 24, 6 * 4),
        ("train classifier", None, None),
        ("run", None, None),
        ("phantom", 80, 0),
    ],
)
def test_every_long_command_says_its_cost_and_makes_nothing(words, capsys, tmp_path, name, rows, evaluations):
    out = tmp_path / "out"
    assert command([*words[name], "--out", str(out), "--dry-run"]) == 0
    said = re.search(SAID, capsys.readouterr().out)
    assert said and not out.exists()
    found = [int(said[1]), int(said[2])]
    assert found == [rows, evaluations] if rows is not None else min(found) > 0
    assert float(said[3]) > 0 and float(said[4]) > 0
