"""Spatial control: pictures of annotations, a ControlNet that begins as nothing, its training, and folders of others."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from synthorax.dataset import write_png
from synthorax.diffusion import load_model, sample
from synthorax.diffusion.annotations import Annotation, draw, masks_of_picture, palette, transformed
from synthorax.diffusion.control import new_control, with_control
from synthorax.diffusion.recipes import read_recipe
from synthorax.diffusion.train_control import ControlConfig, train_control
from synthorax.errors import InputError, ModelError, RunError
from synthorax.phantom.findings import CONCEPTS
from synthorax.phantom.truth import Box, boxes
from synthorax.studies import write_manifest

spec = importlib.util.spec_from_file_location("published_parts", Path(__file__).parent / "published_parts.py")
published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(published)

PROMPTS, SEEDS = ["Left mass.", "No findings."], [3, 4]


def disc(size, x, y, r):
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 < r**2


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Ten films of 64 px with a bright disc, and the table of its masks, as ``phantom sample`` writes them."""
    folder = tmp_path_factory.mktemp("cohort")
    films, found = [], []
    for i in range(10):
        mask = disc(64, 20 + 2 * i, 30, 6)
        write_png(np.where(mask, 0.9, 0.4).astype(np.float32), folder / f"images/v{i}.png")
        write_png(mask, folder / f"masks/v{i}__mass.png")
        text = "There is a left mass."
        films.append(
            {"study_id": f"v{i}", "patient_id": f"v{i}", "image_id": f"v{i}", "file_name": str(folder / f"images/v{i}.png"),
             "report": f"FINDINGS: {text}\nIMPRESSION: {text}", "source": "phantom"}
        )  # fmt: skip
        found.append({"image_id": f"v{i}", "finding": "mass", "mask_file_name": f"masks/v{i}__mass.png",
                      "boxes": [box._asdict() for box in boxes(mask)]})  # fmt: skip
    pl.DataFrame(found).write_parquet(folder / "findings.parquet")
    return write_manifest(pl.DataFrame(films), folder / "studies.parquet")


@pytest.fixture(scope="module")
def config(tiny):
    asked = read_recipe("tiny-control", ControlConfig)
    return asked.model_copy(update={"start": str(tiny.pipeline), "checkpoint_every": 3, "classes": ("mass",)})


@pytest.fixture(scope="module")
def trained(config, cohort, tmp_path_factory):
    return train_control(config, [cohort], tmp_path_factory.mktemp("control"), "cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_control_that_has_learned_nothing_changes_no_bit(tiny, dtype):
    model = load_model(tiny.pipeline, dtype=dtype)
    pictures = np.stack([draw(Annotation({"mass": disc(64, 30, 30, 8)}), palette(["mass"]), 64)] * 2)
    controlled = new_control(model).added_to(model).annotated(pictures)
    one, two = (sample(m, PROMPTS, SEEDS, num_inference_steps=3) for m in (model, controlled))
    assert torch.equal(one, two)


def test_only_the_control_is_trained_and_it_then_matters(tiny, trained):
    model = load_model(tiny.pipeline, dtype="float32")
    before = {name: p.clone() for name, p in model.network.state_dict().items()}
    steered = with_control(model, trained)
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    pictures[0] = draw(Annotation({"mass": disc(64, 30, 30, 8)}), palette(["mass"]), 64)
    plain = sample(model, PROMPTS, SEEDS, num_inference_steps=3)
    controlled = sample(steered.annotated(pictures), PROMPTS, SEEDS, num_inference_steps=3)
    alone = sample(steered.annotated(pictures[:1]), PROMPTS[:1], SEEDS[:1], num_inference_steps=3)
    assert not torch.equal(plain, controlled)
    torch.testing.assert_close(controlled[:1], alone, atol=1e-4, rtol=0)
    after = load_model(tiny.pipeline).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((trained / "card.json").read_text())["classes"] == {"mass": [0, 0, 128]}


def test_a_stopped_training_ends_at_the_same_weights(config, cohort, trained, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from synthorax.diffusion.checkpoints import Trainer

    update = Trainer.update

    def stop_at_5(self, *losses):
        if self.step == 4:
            raise KeyboardInterrupt
        return update(self, *losses)

    monkeypatch.setattr(Trainer, "update", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        train_control(config, [cohort], tmp_path, "cpu")
    monkeypatch.setattr(Trainer, "update", update)
    again = train_control(config, [cohort], tmp_path, "cpu")
    name = "diffusion_pytorch_model.safetensors"
    one, two = load_file(trained / name), load_file(again / name)
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(RunError, match="another config"):
        train_control(config.model_copy(update={"lr": 1.0}), [cohort], tmp_path, "cpu")


def test_real_films_have_no_masks_to_learn_from(config, training_manifest, tmp_path):
    with pytest.raises(InputError, match=r"has no findings.parquet beside it"):
        train_control(config, [training_manifest], tmp_path)


@pytest.mark.parametrize("name", ["embedded-control", "chexgen-control", "tiny-control"])
def test_shipped_recipes_fit(name):
    assert read_recipe(name, ControlConfig).steps > 0


def test_a_published_control_that_takes_pixels_works_and_a_foreign_one_is_refused(tmp_path):
    from diffusers import ControlNetModel

    model = load_model(published.stable_diffusion(tmp_path / "pipeline"), dtype="float32")
    net = ControlNetModel.from_unet(model.network)
    torch.nn.init.normal_(net.controlnet_mid_block.weight, std=0.5)
    net.save_pretrained(tmp_path / "control")
    steered = with_control(model, tmp_path / "control")
    assert not steered.control.takes_latents
    picture = draw(Annotation({"anything": disc(64, 30, 30, 8)}), None, 64)[None]
    one, two = (
        sample(m, PROMPTS[:1], [1], num_inference_steps=2) for m in (model, steered.annotated(picture))
    )
    assert not torch.equal(one, two)
    with pytest.raises(ModelError, match=r"has in_channels 4, .* 32; take the model that it was trained on"):
        with_control(load_model(), tmp_path / "control")
    with pytest.raises(
        ModelError, match=r"has no config.json; expected the folder of a diffusers ControlNet"
    ):
        with_control(model, tmp_path / "nothing")


def test_a_picture_gives_its_masks_back_and_a_smooth_edge_is_named():
    colours = palette(list(CONCEPTS))
    masks = {"mass": disc(64, 20, 20, 6), "effusion": disc(64, 44, 44, 12)}
    picture = draw(Annotation(masks), colours, 64)
    found = masks_of_picture(picture, colours, "a.png")
    assert found.keys() == masks.keys() and all((found[name] == masks[name]).all() for name in masks)
    smooth = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR))
    with pytest.raises(InputError, match=r"a.png has the colour .*, which is no class's"):
        masks_of_picture(smooth, colours, "a.png")


def test_a_transformed_annotation_moves_masks_and_boxes_together():
    mask = disc(128, 60, 70, 12)
    asked = Annotation({"mass": mask}, [("mass", boxes(mask)[0])])
    seen = []
    for seed in range(20):
        moved = transformed(asked, np.random.default_rng(seed), 128)
        new, box = moved.masks["mass"], moved.boxes[0][1]
        x, y, width, height = boxes(new)[0]
        assert (
            box.x <= x and box.y <= y and x + width <= box.x + box.width and y + height <= box.y + box.height
        )
        seen.append(((x, y), new.sum() / mask.sum()))
    assert len({place for place, _ in seen}) > 10
    assert 0.7 < min(area for _, area in seen) < 1 < max(area for _, area in seen) < 1.4
    leaving = Annotation(boxes=[("mass", Box(0, 0, 2, 2))])
    assert all(transformed(leaving, np.random.default_rng(i), 128).boxes[0][1].width > 0 for i in range(20))
