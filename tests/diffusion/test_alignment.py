"""Losses against their closed forms; a tiny model comes to prefer what its pairs prefer, and goes on where it stopped."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.cli import run
from synthorax.dataset import write_png
from synthorax.diffusion import preference_losses as losses
from synthorax.diffusion.train_alignment import AlignmentConfig, train_alignment
from synthorax.errors import InputError, RunError


def T(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.dpo(T(math.log(3)), T(0.0), 1.0), -math.log(3 / 4)),
        (losses.dpo(T(0.0), T(0.0), 0.1), math.log(2)),
        (losses.ipo(T(0.0), T(0.0), 0.1), 25.0),
        (losses.ipo(T(7.0), T(2.0), 0.1), 0.0),
        (losses.kto(T(0.0), T(0.0), 1.0, T(0.0)), 1.0),
        (losses.kto(T(math.log(3)), T(-math.log(3)), 1.0, T(0.0)), 0.5),
        (losses.kto(T(2.0), T(-3.0), 1.0), 2 - 1 / (1 + math.exp(-2)) - 1 / (1 + math.exp(-3))),  # z0 = 0
        (losses.orpo(T(math.log(0.8)), T(math.log(0.5)), 1.0), -2 * math.log(0.8)),  # odds ratio 4
        (losses.orpo(T(math.log(0.3)), T(math.log(0.3)), 2.0), -math.log(0.3) + 2 * math.log(2)),
        (losses.rdpo(T(1.0), T(0.0), 1.0, 0.05, T(30.0), T(10.0)), math.log1p(math.exp(-2))),
    ],
)
def test_values_by_hand(loss, expected):
    assert float(loss) == pytest.approx(expected, abs=1e-12)


def test_dpo_of_all_pairs_gives_the_tilted_policy():
    """Preferences by Bradley and Terry with rewards r: the minimum is pi_ref exp(r / beta) / Z (Rafailov, equation 4)."""
    r, ref, beta = T(0.0, 0.3, 1.0, -0.5), T(0.4, 0.3, 0.2, 0.1).log(), 0.5
    logits = ref.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]

    def closure():
        optimizer.zero_grad()
        h = logits.log_softmax(0) - ref
        total = sum(torch.sigmoid(r[i] - r[j]) * losses.dpo(h[i], h[j], beta) for i, j in pairs)
        total.backward()
        return total

    optimizer.step(closure)
    assert logits.softmax(0).detach().numpy() == pytest.approx((ref + r / beta).softmax(0).numpy(), abs=1e-6)


def test_length_regularisation_and_reference_point():
    h, z = T(1.0), T(0.0)
    longer, plain = losses.rdpo(h, z, 1.0, 0.1, T(20.0), T(10.0)), losses.dpo(h, z, 1.0)
    assert longer < plain < losses.rdpo(h, z, 1.0, 0.1, T(10.0), T(20.0))
    h_w, h_l = (T(x).requires_grad_() for x in (5.0, 5.0))
    losses.kto(h_w, h_l, 1.0).backward()
    slope = 1 / 4  # sigmoid'(0): as if z0 = 5 were a constant
    assert float(h_w.grad) == pytest.approx(-slope) and float(h_l.grad) == pytest.approx(slope)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eight pairs of noise films: a bright disc on the left is preferred to one on the right."""
    folder = tmp_path_factory.mktemp("pairs")
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    rows = []
    for i in range(8):
        noise = np.random.default_rng(i).uniform(0.2, 0.4, (64, 64))
        for name, side in (("chosen", -0.4), ("rejected", 0.4)):
            film = np.where((x - side) ** 2 + y**2 < 0.1, 0.95, noise).astype(np.float32)
            write_png(film, folder / f"{name}{i}.png")
        rows.append({"prompt": "Left mass.", "chosen": f"chosen{i}.png", "rejected": f"rejected{i}.png"})
    pl.DataFrame(rows).write_parquet(folder / "pairs.parquet")
    return folder / "pairs.parquet"


def config_of(tiny, **changes):
    base = {"start": str(tiny.pipeline), "steps": 30, "batch_size": 4, "warmup": 2, "lr": 3e-3, "beta": 20.0}
    return AlignmentConfig(**{**base, "checkpoint_every": 20, **changes})


@pytest.mark.parametrize(("loss", "lora_rank"), [("dpo", 0), ("dpo", 4), ("ipo", 0), ("kto", 0)])
def test_the_margin_between_the_films_grows(tiny, pairs, tmp_path, loss, lora_rank):
    from synthorax.diffusion import load_model

    config = config_of(tiny, loss=loss, lora_rank=lora_rank, lr=2e-2 if lora_rank else 3e-3)
    pipeline = train_alignment(config, pairs, tmp_path, "cpu")
    last = pl.read_csv(tmp_path / "log.csv").row(-1, named=True)
    assert last["margin"] > (1e-4 if lora_rank else 3e-3) and last["right"] >= 0.75
    before, after = (load_model(folder).pipeline.unet.state_dict() for folder in (tiny.pipeline, pipeline))
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved and (not lora_rank or all("attn" in name for name in moved))


def test_a_stopped_alignment_ends_at_the_same_weights(tiny, pairs, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from synthorax.diffusion.checkpoints import Trainer

    config = config_of(tiny, steps=6, checkpoint_every=3)
    whole = train_alignment(config, pairs, tmp_path / "whole", "cpu")
    update = Trainer.update

    def stop_at_5(self, *given):
        if self.step == 4:
            raise KeyboardInterrupt
        return update(self, *given)

    monkeypatch.setattr(Trainer, "update", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        train_alignment(config, pairs, tmp_path / "stopped", "cpu")
    monkeypatch.setattr(Trainer, "update", update)
    again = train_alignment(config, pairs, tmp_path / "stopped", "cpu")
    one, two = (load_file(p / "unet" / "diffusion_pytorch_model.safetensors") for p in (whole, again))
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(RunError, match="trained with another config"):
        train_alignment(config_of(tiny, steps=7), pairs, tmp_path / "stopped", "cpu")


def test_the_command_and_its_messages(tiny, pairs, tmp_path, capsys):
    recipe = tmp_path / "a.yaml"
    recipe.write_text("{steps: 2, batch_size: 2}\n")
    words = ["train", "alignment", str(recipe), "--out", str(tmp_path / "out"), "--start", str(tiny.pipeline), "--beta", "100"]  # fmt: skip
    assert run([*words, "--pairs", str(pairs)]) == 0
    assert (tmp_path / "out" / "pipeline" / "model_index.json").is_file()
    assert run([*words, "--pairs", str(tmp_path / "none.parquet")]) == 2
    assert "does not exist; expected a table of pairs" in capsys.readouterr().err
    pl.DataFrame({"prompt": ["a"], "chosen": ["b"]}).write_parquet(tmp_path / "half.parquet")
    assert run([*words, "--pairs", str(tmp_path / "half.parquet")]) == 2
    assert "has no column 'rejected'; expected pairs with prompt, chosen, rejected" in capsys.readouterr().err
    write_png(np.full((32, 32), 0.5, np.float32), tmp_path / "small.png")
    name = str(tmp_path / "small.png")
    pl.DataFrame({"prompt": ["a"], "chosen": [name], "rejected": [name]}).write_parquet(tmp_path / "small.parquet")  # fmt: skip
    with pytest.raises(InputError, match=r"is 32 x 32 px; .* makes 64 px"):
        train_alignment(config_of(tiny), tmp_path / "small.parquet", tmp_path / "s", "cpu")
    recipe.write_text("loss: orpo\n")
    assert run([*words, "--pairs", str(pairs)]) == 2 and "loss is 'orpo'" in capsys.readouterr().err
