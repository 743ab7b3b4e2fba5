"""Published models have other parts than the embedded one: they load and edit in the same way."""

import numpy as np
import pytest
import torch

from synthorax.diffusion import load_model
from synthorax.diffusion.model import with_revision
from synthorax.editing import edit


@pytest.fixture(scope="module")
def radedit_in_small(tmp_path_factory):
    """RadEdit's parts, small and untrained, put together as docs/reproduce.md does."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("radedit")
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "left", "effusion", "."])
    )
    bert = BertConfig(
        vocab_size=7, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32, norm_num_groups=8,
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, scaling_factor=0.13025,
        ),
        text_encoder=BertModel(bert),
        tokenizer=BertTokenizer(str(folder / "vocab.txt"), model_max_length=16),
        scheduler=DDIMScheduler(
            beta_schedule="linear", clip_sample=False, prediction_type="epsilon", timestep_spacing="trailing", steps_offset=1
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")  # fmt: skip
    return load_model(folder / "pipeline", dtype="float32")


def test_radedits_form_loads_and_edits(radedit_in_small):
    model = radedit_in_small
    assert (model.latent_shape, model.image_size, model.prediction_type) == ((4, 8, 8), 64, "epsilon")
    assert model.edit_settings == {"guidance_scale": 7.5, "num_inference_steps": 100, "skip": 0.3}
    film = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    edited = edit(film, ["left effusion."], model=model, seeds=[0], num_inference_steps=4)
    assert edited.shape == film.shape and np.abs(edited - film).max() > 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name@0a1b2c", ("owner/name", "0a1b2c")),
        ("owner/name", ("owner/name", None)),
    ],
)
def test_a_repo_id_may_name_its_revision(name, expected):
    assert with_revision(name) == expected
