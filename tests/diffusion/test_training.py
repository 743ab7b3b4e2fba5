"""A tiny autoencoder and diffusion model, tiny by the project's functions, load and edit."""

import re

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.diffusion import load_model
from synthorax.diffusion.captions import captions
from synthorax.diffusion.train_autoencoder import train_autoencoder
from synthorax.diffusion.train_diffusion import train_diffusion
from synthorax.editing import edit
from synthorax.errors import InputError, ModelError, RunError
from synthorax.seeds import is_held_out
from synthorax.studies import read_manifest, write_manifest


def test_the_result_is_a_pipeline_that_loads_and_edits(tiny):
    model = load_model(tiny.pipeline, dtype="float32")
    film = np.full((64, 64), 0.5, dtype=np.float32)
    edited = edit(film[None], ["Left mass."], model=model, seeds=[1], num_inference_steps=3, batch_size=1)
    assert edited.shape == (1, 64, 64) and np.isfinite(edited).all()
    assert model.model_sha256 and model.prediction_type == "v_prediction" and model.image_size == 64


def test_the_pipeline_runs_in_diffusers_itself(tiny):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny.pipeline, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline.to(dtype=torch.float32)(
        "Left mass.", num_inference_steps=2, output_type="latent"
    ).images
    assert pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample.shape == (1, 1, 64, 64)


def test_latents_have_about_unit_variance(tiny, training_manifest):
    from synthorax.studies import prepare, read_film

    model = load_model(tiny.pipeline, dtype="float32")
    films = [prepare(read_film(name), 64) for name in read_manifest(training_manifest)["file_name"]]
    assert 0.3 < model.encode(torch.from_numpy(np.stack(films))).std() < 3


def test_a_stopped_training_ends_at_the_same_weights(tiny, training_manifest, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from synthorax.diffusion.checkpoints import Trainer

    update = Trainer.update

    def stop_at_5(self, *losses):
        if self.step == 4:
            raise KeyboardInterrupt
        return update(self, *losses)

    monkeypatch.setattr(Trainer, "update", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(tiny.diffusion, [training_manifest], tmp_path, tiny.vae)
    monkeypatch.setattr(Trainer, "update", update)
    again = train_diffusion(tiny.diffusion, [training_manifest], tmp_path, tiny.vae)
    name = "unet/diffusion_pytorch_model.safetensors"
    one, two = load_file(tiny.pipeline / name), load_file(again / name)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_published_model_is_trained_on(tiny, training_manifest, tmp_path, lora_rank):
    from safetensors.torch import load_file

    config = tiny.diffusion.model_copy(
        update={
            "start": str(tiny.pipeline),
            "lora_rank": lora_rank,
            "train_text": True,
            "accumulate": 2,
            "steps": 2,
        }
    )
    again = train_diffusion(config, [training_manifest], tmp_path)
    changed = {}
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
        ("vae", "diffusion_pytorch_model"),
    ):
        one, two = (load_file(folder / part / f"{name}.safetensors") for folder in (tiny.pipeline, again))
        assert one.keys() == two.keys()
        changed[part] = {key for key in one if not torch.equal(one[key], two[key])}
    assert not changed["vae"]
    if lora_rank:
        assert not changed["text_encoder"]
        assert changed["unet"] and all(
            re.search(r"to_(q|k|v|out\.0)\.weight$", key) for key in changed["unet"]
        )
    else:
        assert changed["text_encoder"] and len(changed["unet"]) > 20
    assert load_model(again).card == load_model(tiny.pipeline).card


def test_gradients_of_several_batches_make_one_step(tmp_path):
    from synthorax.diffusion.checkpoints import Trainer

    x, weights = torch.randn(8, 3), []
    for parts in (1, 4):
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        trainer = Trainer(
            net, tmp_path / str(parts), config_json="", steps=5, lr=0.1, warmup=1, ema=0.5, clip=0.3
        )
        loss, norm = trainer.update((net(part).square().mean() for part in x.chunk(parts)), parts)
        weights.append(net.weight.detach().clone())
    assert loss > 0 and norm > 0.3  # so that clipping happened
    torch.testing.assert_close(*weights)


def test_a_training_begins_either_anew_or_from_a_model(tiny, training_manifest, tmp_path):
    with pytest.raises(InputError, match="give one"):
        train_diffusion(tiny.diffusion, [training_manifest], tmp_path)
    larger = tiny.diffusion.films.model_copy(update={"size": 128})
    config = tiny.diffusion.model_copy(update={"start": str(tiny.pipeline), "films": larger})
    with pytest.raises(InputError, match=r"films.size is 128 px; .* takes 64"):
        train_diffusion(config, [training_manifest], tmp_path)


def test_another_config_in_the_same_folder_is_refused(tiny, training_manifest):
    with pytest.raises(RunError, match="was trained with another config"):
        train_autoencoder(
            tiny.autoencoder.model_copy(update={"lr": 1.0}), [training_manifest], tiny.vae.parent
        )


def test_captions_are_the_pipelines_prompts_and_the_impression(training_manifest):
    said = captions([training_manifest])
    texts = {name: [text for text, _ in choices] for name, choices in said.items()}
    assert "There is a left mass." in texts["i1"] and "Mass." in texts["i1"]
    assert "No findings." in texts["i0"]


def test_one_patient_in_ten_is_held_out():
    assert 60 < sum(is_held_out(f"patient {i}") for i in range(1000)) < 140


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "has no model_index.json"),
        (
            lambda folder: (folder / "model_index.json").write_text(
                '{"_class_name": "StableDiffusionPipeline"}'
            ),
            "names no 'vae'",
        ),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            "cannot be loaded",
        ),
    ],
    ids=["no index", "no vae", "no weights"],
)
def test_a_broken_folder_is_named(tiny, tmp_path, break_it, message):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(tiny.pipeline, folder)
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_a_film_of_another_size_is_refused(tiny):
    with pytest.raises(ModelError, match=r"takes \(N, 64, 64\)"):
        load_model(tiny.pipeline).encode(torch.zeros(1, 32, 32))


def test_no_such_model():
    with pytest.raises(ModelError, match="no model at nowhere"):
        load_model("nowhere")


def test_a_film_with_a_withheld_pair_is_not_trained_on_and_unknown_is_not_normal(tmp_path):
    common = {"file_name": str(tmp_path / "film.png"), "source": "nih", "labels_uncertain": []}
    labels = {"pair": ["Pneumonia", "Cardiomegaly"], "one": ["Pneumonia"], "unknown": None}
    frame = pl.DataFrame(
        [
            {**common, "study_id": name, "patient_id": name, "image_id": name, "labels_present": found,
             "labels_absent": None if found is None else []}
            for name, found in labels.items()
        ],
        schema_overrides={"labels_uncertain": pl.List(pl.String), "labels_absent": pl.List(pl.String)},
    )  # fmt: skip
    said = captions([write_manifest(frame, tmp_path / "studies.parquet")])
    assert set(said) == {"one", "unknown"}
    assert said["unknown"] == (("", frozenset()),)
    assert ("Pneumonitis.", frozenset({"Pneumonitis."})) in said["one"]


def test_captions_name_what_other_vocabularies_see_and_who_was_filmed(tmp_path):
    row = {
        "file_name": str(tmp_path / "film.png"), "source": "phantom", "study_id": "a", "patient_id": "a", "image_id": "a",
        "report": "FINDINGS: A left chest wall pacemaker is present. Pulmonary edema.\nIMPRESSION: Enlarged heart.",
        "sex": "F", "age": 63.0, "view_position": "AP",
    }  # fmt: skip
    said = dict(captions([write_manifest(pl.DataFrame([row]), tmp_path / "studies.parquet")])["a"])
    whole = "Female, 63 years, AP view. Enlarged heart. Pulmonary oedema. Pacemaker in place."
    assert said[whole] == {
        "Enlarged heart.", "Pulmonary oedema.", "Pacemaker in place.", "Female", "60s", "AP view",
    }  # fmt: skip
    assert said["Enlarged heart."] == {"Enlarged heart."}


def test_the_text_encoder_learns_to_name_findings():
    from synthorax.diffusion.networks import UNetShape, text_encoder, tokenizer
    from synthorax.diffusion.train_text import train_text

    said = {
        side + finding: (
            (f"{side} {finding}.", frozenset({f"{side} {finding}.", f"{finding.capitalize()}."})),
        )
        for side in ("Left", "Right")
        for finding in ("effusion", "mass", "nodule")
    }
    words = tokenizer(text for choices in said.values() for text, _ in choices)
    encoder = text_encoder(UNetShape(text_width=64, text_layers=2), words)
    assert train_text(encoder, words, said, 0) > 0.9
    assert not any(p.requires_grad for p in encoder.parameters())
