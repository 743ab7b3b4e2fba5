"""Recipes: read, checked, and every shipped one fits its config."""

import pytest

from synthorax.diffusion.networks import TransformerShape, UNetShape
from synthorax.diffusion.recipes import read_recipe
from synthorax.diffusion.train_autoencoder import AutoencoderConfig
from synthorax.diffusion.train_diffusion import DiffusionConfig
from synthorax.errors import InputError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("embedded-autoencoder", AutoencoderConfig),
        ("embedded-diffusion", DiffusionConfig),
        ("roentgen-v2-model", DiffusionConfig),
        ("lora-finetune", DiffusionConfig),
        ("radedit-model", DiffusionConfig),
        ("chexgen-stage1", DiffusionConfig),
        ("chexgen-stage2", DiffusionConfig),
    ],
)
def test_shipped_recipes_fit(name, kind):
    assert read_recipe(name, kind).steps > 0


def test_an_unknown_key_gets_the_closest(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("stepps: 3\n")
    with pytest.raises(InputError, match=r"mine.yaml: key is 'stepps'.*Did you mean 'steps'"):
        read_recipe(str(path), DiffusionConfig)


def test_a_wrong_value_names_key_and_value(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("lr: fast\n")
    with pytest.raises(InputError, match=r"mine.yaml: lr is 'fast'"):
        read_recipe(str(path), DiffusionConfig)


def test_an_unknown_recipe_gets_the_closest():
    with pytest.raises(InputError, match="Did you mean 'embedded-diffusion'"):
        read_recipe("embeded-diffusion", DiffusionConfig)


def test_keys_of_a_transformer_make_one():
    assert isinstance(read_recipe("chexgen-stage1", DiffusionConfig).shape, TransformerShape)
    assert isinstance(read_recipe("radedit-model", DiffusionConfig).shape, UNetShape)
