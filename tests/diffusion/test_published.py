"""Published models: their exact layouts convert, load, sample and equal the original's equations; others are refused."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from synthorax.cli import run
from synthorax.diffusion import biovil, chexgen, load_model, sample
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.convert import convert, load_part
from synthorax.diffusion.denoising import denoising_loss, prediction_of
from synthorax.diffusion.films import FilmsConfig
from synthorax.diffusion.published import card_of_repo, published_models
from synthorax.diffusion.train_diffusion import DiffusionConfig, train_diffusion
from synthorax.editing import edit
from synthorax.errors import InputError, ModelError
from synthorax.seeds import generator

spec = importlib.util.spec_from_file_location("published_parts", Path(__file__).parent / "published_parts.py")
layouts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(layouts)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Model -> part -> tiny published folder."""
    folder = tmp_path_factory.mktemp("published")
    torch.save({"state_dict": {}, "state_dict_ema": layouts.chexgen_weights()}, folder / "chexgen.pth")
    vae = layouts.vae(folder / "vae")
    layouts.unet(folder / "radedit" / "unet", 32)
    return {
        "radedit": {"unet": folder / "radedit", "vae": vae, "text": layouts.biovil_t(folder / "biovil")},
        "roentgen": {"pipeline": layouts.stable_diffusion(folder / "roentgen")},
        "roentgen-v2": {"pipeline": layouts.stable_diffusion(folder / "v2")},
        "chexgen": {"checkpoint": folder / "chexgen.pth", "vae": vae, "text": layouts.t5(folder / "t5")},
    }


@pytest.fixture(scope="module")
def converted(parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted")
    return {name: convert(name, parts[name], out / name) for name in parts}


@pytest.mark.parametrize("name", [name for name in published_models() if name != "medvae"])
def test_a_published_model_loads_samples_and_edits(converted, name):
    model = load_model(converted[name], dtype="float32")
    card = json.loads((converted[name] / "card.json").read_text())
    assert card["licence"] and card["source"] and card["citation"] and card["notes"]
    assert model.sample_settings == card["sample"] and model.edit_settings == card["edit"]
    assert not [*converted[name].rglob("*.bin"), *converted[name].rglob("*.pth")]
    films = sample(model, ["Left effusion.", "No findings."], [1, 2], num_inference_steps=2)
    assert films.shape == (2, 64, 64) and torch.isfinite(films).all()
    film = np.full((1, 64, 64), 0.5, np.float32)
    assert (
        edit(film, ["Left mass."], model=model, seeds=[1], num_inference_steps=2, skip=0).shape == film.shape
    )


FILMS = FilmsConfig(size=64, real_variants=1)
DIT = {"layers": 1, "heads": 2, "head_width": 16, "text_tokens": 24}


def test_a_transformer_is_trained_from_nothing_and_goes_on_at_twice_the_size(
    parts, training_manifest, tmp_path, monkeypatch
):
    """ChexGen's two stages, tiny: 32 px, then 64 px with the same positions from edge to edge."""
    config = DiffusionConfig(
        films=FILMS.model_copy(update={"size": 32}), shape=DIT, prediction="epsilon", steps=3, batch_size=2, warmup=0, decay=False
    )  # fmt: skip
    of = {"vae": parts["chexgen"]["vae"], "text": parts["chexgen"]["text"]}
    first = train_diffusion(config, [training_manifest], tmp_path / "one", **of)
    stopped = tmp_path / "stopped"
    update = Trainer.update
    monkeypatch.setattr(Trainer, "update", lambda self, *x: _stop() if self.step == 2 else update(self, *x))
    config_of_steps = config.model_copy(update={"checkpoint_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(config_of_steps, [training_manifest], stopped, **of)
    monkeypatch.setattr(Trainer, "update", update)
    again = train_diffusion(config_of_steps, [training_manifest], stopped, **of)
    name = "transformer/diffusion_pytorch_model.safetensors"
    one, two = load_file(first / name), load_file(again / name)
    assert all(torch.equal(one[key], two[key]) for key in one)

    model = load_model(first, dtype="float32")
    assert model.image_size == 32 and model.null_text.shape == (24, 16)
    assert not model.encode_text(["Left effusion."]).equal(model.encode_text(["Mass."]))
    second = train_diffusion(
        config.model_copy(update={"films": FILMS, "start": str(first)}), [training_manifest], tmp_path / "two"
    )
    larger = load_model(second, dtype="float32")
    assert larger.image_size == 64
    small, large = (
        m.network.pos_embed.pos_embed.reshape(m.network.config.sample_size // 2, -1, 32)
        for m in (model, larger)
    )
    assert torch.allclose(small, large[::2, ::2], atol=1e-5)
    assert sample(larger, ["Left effusion."], [1], num_inference_steps=2).shape == (1, 64, 64)
    for wrong in ({"lora_rank": 2}, {"train_text": True}):
        with pytest.raises(InputError, match="a transformer is trained whole"):
            train_diffusion(
                config.model_copy(update={"start": str(first), **wrong}), [training_manifest], tmp_path / "no"
            )


def _stop():
    raise KeyboardInterrupt


def test_a_transformers_loss_is_the_squared_error_of_its_noise(converted):
    model = load_model(converted["chexgen"], dtype="float32")
    latents = np.random.default_rng(1).standard_normal((2, *model.latent_shape))
    texts, seen = ["Left mass.", ""], []

    def predict(x_t, t, embeddings):
        seen.append((x_t, t, embeddings))
        return model.predict_noise(x_t, t, embeddings)

    loss = denoising_loss(model, predict, model.encode_text, latents, texts, generator("a test"), None)
    (x_t, t, embeddings), abar = seen[0], model.alphas_cumprod[seen[0][1]].float()[:, None, None, None]
    eps = (x_t - abar.sqrt() * torch.from_numpy(latents).float()) / (1 - abar).sqrt()
    ours = prediction_of(model.network, is_transformer=True)(x_t, t, embeddings)
    assert torch.allclose(loss, (ours - eps).square().mean(), rtol=1e-4)


def test_a_unet_is_trained_with_a_published_text_encoder(parts, training_manifest, tmp_path):
    config = DiffusionConfig(
        films=FILMS, shape={"widths": [16, 32]}, prediction="epsilon", steps=2, batch_size=2, snr_gamma=None
    )
    of = {"vae": parts["radedit"]["vae"], "text": parts["radedit"]["text"]}
    model = load_model(train_diffusion(config, [training_manifest], tmp_path, **of), dtype="float32")
    assert model.prediction_type == "epsilon" and model.network.config.cross_attention_dim == 32
    assert model.encode_text(["left mass."]).equal(
        load_model(tmp_path / "pipeline", dtype="float32").encode_text(["left mass."])
    )
    published = load_part_text(parts["radedit"]["text"])
    assert torch.allclose(
        model.pipeline.text_encoder.state_dict()["embeddings.word_embeddings.weight"], published, atol=1e-3
    )
    with pytest.raises(InputError, match="leave --text out"):
        train_diffusion(
            config.model_copy(update={"start": "x"}), [training_manifest], tmp_path, text=of["text"]
        )


def load_part_text(folder):
    encoder, _, _ = biovil.load_text(folder)
    return encoder.state_dict()["embeddings.word_embeddings.weight"]


def test_the_models_keep_the_settings_of_their_papers_and_cards(converted):
    settings = {name: load_model(folder).sample_settings for name, folder in converted.items()}
    assert (settings["radedit"]["num_inference_steps"], settings["radedit"]["guidance_scale"]) == (100, 7.5)
    assert (settings["chexgen"]["num_inference_steps"], settings["chexgen"]["guidance_scale"]) == (100, 4.0)
    assert (settings["roentgen-v2"]["num_inference_steps"], settings["roentgen-v2"]["guidance_scale"]) == (
        75,
        3.0,
    )
    assert card_of_repo("stanfordmimi/RoentGen-v2")["sample"] == settings["roentgen-v2"]
    config = load_model(converted["radedit"]).pipeline.scheduler.config
    assert (config.beta_schedule, config.timestep_spacing, config.steps_offset) == ("linear", "trailing", 1)


def test_generate_takes_the_models_own_settings_unless_told_otherwise(converted, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("Left effusion.\nNo findings.\n")
    words = ["generate", str(tmp_path / "prompts.txt"), "--model", str(converted["radedit"])]
    more = ["--num-inference-steps", "2", "--sampler", "dpm-solver"]
    assert run([*words, *more, "--out", str(tmp_path / "run")]) == 0
    rows = pl.read_parquet(tmp_path / "run" / "synthetic" / "metadata.parquet")
    assert rows["guidance_scale"].to_list() == [7.5, 7.5] and rows["num_inference_steps"].to_list() == [2, 2]
    assert run([*words, "--sampler", "dpm", "--out", str(tmp_path / "other")]) == 2
    assert (
        "sampler is 'dpm'; expected one of ancestral, ddim, dpm-solver, dpm-solver-sde"
        in capsys.readouterr().err
    )


def test_each_kind_of_autoencoder_has_the_same_interface(converted, tmp_path):
    from diffusers import AutoencoderDC, AutoencoderTiny, StableDiffusionPipeline

    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    layers = {"encoder_layers_per_block": (1,) * 4, "decoder_layers_per_block": (1,) * 4}
    tiny = AutoencoderTiny(**widths, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    deep = AutoencoderDC(**widths, **layers, encoder_qkv_multiscales=((),) * 4, decoder_qkv_multiscales=((),) * 4,
                         latent_channels=4)  # fmt: skip
    deep.register_to_config(block_out_channels=(8,) * 4)  # from which diffusers' pipeline counts the halvings
    pipeline = load_model(converted["roentgen"]).pipeline
    films = torch.rand(2, 64, 64)
    for vae in (tiny, deep):
        StableDiffusionPipeline(
            **{**pipeline.components, "vae": vae}, requires_safety_checker=False
        ).save_pretrained(tmp_path / type(vae).__name__)
        model = load_model(tmp_path / type(vae).__name__, dtype="float32")
        latents = model.encode(films)
        assert latents.shape == (2, 4, 8, 8) and model.decode(latents).shape == films.shape


#: Largest difference of a film (0 to 1) between batches of 1 and 16, by what the network computes in.
BATCH_TOLERANCE = {"float32": 2e-5, "bfloat16": 1e-4}


@pytest.mark.parametrize("dtype", sorted(BATCH_TOLERANCE))
@pytest.mark.parametrize("name", ["radedit", "roentgen-v2", "chexgen"])
def test_the_same_seed_gives_the_same_film_in_a_batch_of_1_and_16(converted, name, dtype):
    model = load_model(converted[name], dtype=dtype)
    prompts = [
        f"{side} {finding}." for side in ("Left", "Right") for finding in ("mass", "effusion", "no", "")
    ] * 2
    settings = {"num_inference_steps": 4, "sampler": "dpm-solver-sde"}
    together = sample(model, prompts, range(16), **settings)
    assert together.std(0).mean() > 0.01  # they are not all the same film
    for i in (0, 7, 15):
        alone = sample(model, prompts[i : i + 1], [i], **settings)
        difference = float((together[i] - alone[0]).abs().max())
        print(f"{name}, {dtype}: {difference:.2g}")
        assert difference <= BATCH_TOLERANCE[dtype]


# --- BioViL-T ------------------------------------------------------------------------------------------------------


def test_the_key_map_takes_every_published_name_of_biovil_t():
    from transformers import BertConfig, BertModel

    shapes = layouts.listed("biovil_t_keys.txt")
    bert, head = biovil.split_weights(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    with torch.device("meta"):
        expected = BertModel(BertConfig(), add_pooling_layer=False).state_dict()
    assert {key: value.shape for key, value in bert.items()} == {
        key: value.shape for key, value in expected.items()
    }
    assert sorted(head) == sorted(f"{n}.{k}" for n in ("LayerNorm", "dense_to_hidden", "dense_to_output") for k in ("bias", "weight"))  # fmt: skip


def test_radedits_text_is_bert_masked_language_models_last_hidden_state(converted, parts):
    from safetensors.torch import load_file
    from transformers import BertConfig, BertForMaskedLM

    folder = parts["radedit"]["text"]
    published = load_file(folder / "model.safetensors")
    raw = json.loads((folder / "config.json").read_text())
    config = BertConfig(
        **{key: raw[key] for key in raw if key not in ("model_type", "architectures", "auto_map")}
    )
    reference = BertForMaskedLM(config).eval()
    reference.load_state_dict(published, strict=False)
    model = load_model(converted["radedit"], dtype="float32")
    ids = torch.zeros(1, 128, dtype=torch.long)
    ids[0, :5] = torch.tensor(
        [2, 5, 7, 11, 3]
    )  # [CLS] left effusion . [SEP] and padding, all attended to as published
    expected = reference(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states[
        -1
    ]
    torch.testing.assert_close(model.encode_text(["Left effusion."]), expected, atol=1e-5, rtol=1e-5)
    head = load_file(converted["radedit"] / biovil.PROJECTION)
    assert torch.equal(
        head["dense_to_output.weight"], published["cls_projection_head.dense_to_output.weight"]
    )


def test_biovil_t_as_a_bin_is_the_same(parts, tmp_path):
    encoder, _, _ = biovil.load_text(layouts.biovil_t(tmp_path / "bin", "pytorch_model.bin"))
    other, _, _ = biovil.load_text(parts["radedit"]["text"])
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), other.parameters(), strict=True))


# --- ChexGen -------------------------------------------------------------------------------------------------------


def test_the_key_map_takes_every_published_name_of_chexgen():
    from diffusers import PixArtTransformer2DModel

    weights = {
        key: torch.empty(shape, device="meta") for key, shape in layouts.listed("chexgen_keys.txt").items()
    }
    mapped, null_text, _ = chexgen.map_keys(weights, "the list")
    with torch.device("meta"):
        network = PixArtTransformer2DModel(sample_size=64, caption_channels=4096)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in mapped.items()} == expected
    assert null_text.shape == (120, 4096)
    assert sum(value.numel() for value in mapped.values()) == sum(p.numel() for p in network.parameters())


def dit(weights, x, t, text, heads=6):
    """ChexGen's network from its equations: patches, adaLN-single blocks with cross-attention, unpatchify."""
    w = weights

    def linear(name, x):
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def attend(q, k, v):
        q, k, v = (a.unflatten(-1, (heads, -1)).transpose(1, 2) for a in (q, k, v))
        return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def norm(x):
        return functional.layer_norm(x, x.shape[-1:], eps=1e-6)

    def gelu(x):
        return functional.gelu(x, approximate="tanh")

    h = (
        functional.conv2d(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=2).flatten(2).mT
        + w["pos_embed"]
    )
    angle = t[:, None] * 10000.0 ** -(torch.arange(128) / 128)
    t = linear(
        "t_embedder.mlp.2",
        functional.silu(linear("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], 1))),
    )
    modulation = linear("t_block.1", functional.silu(t)).unflatten(1, (6, -1))
    y = linear("y_embedder.y_proj.fc2", gelu(linear("y_embedder.y_proj.fc1", text)))
    for i in range(2):
        b = f"blocks.{i}"
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (modulation + w[f"{b}.shift_scale_gate_table"])[
            :, :, None
        ].unbind(1)
        q, k, v = linear(f"{b}.attn.qkv", norm(h) * (1 + scale) + shift).chunk(3, -1)
        h = h + gate * linear(f"{b}.attn.proj", attend(q, k, v))
        k, v = linear(f"{b}.cross_attn.kv_linear", y).chunk(2, -1)
        h = h + linear(f"{b}.cross_attn.proj", attend(linear(f"{b}.cross_attn.q_linear", h), k, v))
        h = h + gate_mlp * linear(
            f"{b}.mlp.fc2", gelu(linear(f"{b}.mlp.fc1", norm(h) * (1 + scale_mlp) + shift_mlp))
        )
    shift, scale = (w["final_layer.shift_scale_table"] + t[:, None])[:, :, None].unbind(1)
    h = linear("final_layer.linear", norm(h) * (1 + scale) + shift)
    side = x.shape[-1] // 2
    return (
        h.unflatten(1, (side, side))
        .unflatten(-1, (2, 2, 8))
        .permute(0, 5, 1, 3, 2, 4)
        .reshape(len(x), 8, *x.shape[2:])
    )


def test_chexgens_noise_is_the_one_of_its_equations(converted, parts):
    model = load_model(converted["chexgen"], dtype="float32")
    weights = torch.load(parts["chexgen"]["checkpoint"], weights_only=True)["state_dict_ema"]
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([999, 30])
    text = model.encode_text(["Left effusion.", ""])
    n = int((text[0] != 0).any(-1).sum())
    assert 1 < n < 120 and torch.equal(text[1], weights["y_embedder.y_embedding"])
    expected = torch.cat([dit(weights, x[:1], t[:1], text[:1, :n]), dit(weights, x[1:], t[1:], text[1:])])[
        :, :4
    ]
    torch.testing.assert_close(model.predict_noise(x, t, text), expected, atol=2e-5, rtol=1e-4)


def test_chexgens_text_for_no_prompt_is_as_long_as_the_prompt_beside_it(converted):
    model = load_model(converted["chexgen"], dtype="float32")
    text = model.encode_text(["Left effusion.", "Mass."])
    null = model.encode_text(["", ""], like=text)
    assert ((null != 0).any(-1) == (text != 0).any(-1)).all()
    assert torch.equal(null[0, :2], model.null_text[:2])
    assert torch.equal(model.encode_text(["LEFT (effusion)."]), model.encode_text(["left effusion ."]))


def test_older_weights_become_the_same_safetensors(parts, converted, tmp_path):
    from safetensors.torch import load_file

    def to_bin(folder):
        for path in folder.rglob("*.safetensors"):
            stem = "pytorch_model" if path.stem == "model" else path.stem
            torch.save(load_file(path), path.with_name(f"{stem}.bin"))
            path.unlink()

    out = convert(
        "roentgen", {"pipeline": _edited(parts["roentgen"]["pipeline"], tmp_path, to_bin)}, tmp_path / "out"
    )
    assert load_model(out).model_sha256 == load_model(converted["roentgen"]).model_sha256


def test_an_autoencoder_with_the_names_of_2022_is_read_in_full(parts, tmp_path):
    """sd-vae-ft-ema and its like call the attention's matrices query, key, value and proj_attn."""
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file, save_file

    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(folder):
        path = folder / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        for new, name in old.items():
            weights = {
                key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): w for key, w in weights.items()
            }
        assert sum("proj_attn" in key for key in weights) == 4
        save_file(weights, path)

    found = load_part(AutoencoderKL, _edited(parts["radedit"]["vae"], tmp_path, rename), "vae").state_dict()
    expected = load_part(AutoencoderKL, parts["radedit"]["vae"], "vae").state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# --- what is refused -----------------------------------------------------------------------------------------------


def _edited(folder, tmp_path, change):
    """A copy of a part, changed."""
    copy = tmp_path / "copy"
    if folder.is_file():
        shutil.copy(folder, copy)
    else:
        shutil.copytree(folder, copy)
    change(copy)
    return copy


def _config(copy, **more):
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def _checkpoint(copy, change):
    state = torch.load(copy, weights_only=True)
    change(state)
    torch.save(state, copy)


def _extra(state):
    state["state_dict_ema"]["control.zero.weight"] = torch.zeros(1)


def _short(state):
    del state["state_dict_ema"]["blocks.1.attn.qkv.weight"]


def _moved(state):
    state["state_dict_ema"]["pos_embed"][0, 5] += 1


@pytest.mark.parametrize(
    ("name", "part", "change", "message"),
    [
        ("radedit", "unet", lambda c: (c / "unet" / "config.json").unlink(), "unet has no config.json; expected the published"),
        ("radedit", "unet", lambda c: _config(c / "unet", cross_attention_dim=48), "cannot be read|do not fit"),
        ("radedit", "vae", lambda c: _config(c, _class_name="AsymmetricAutoencoderKL"), "expected AutoencoderKL"),
        ("radedit", "text", lambda c: (c / "vocab.txt").unlink(), "has no vocab.txt"),
        ("radedit", "text", lambda c: (c / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"), "5 words; config.json says 12"),
        ("radedit", "text", lambda c: _config(c, num_hidden_layers=3), "is of another layout: Missing key"),
        ("roentgen", "pipeline", lambda c: (c / "model_index.json").unlink(), "expected a Stable Diffusion pipeline"),
        ("chexgen", "checkpoint", lambda c: c.write_text("no"), "no checkpoint that can be read safely"),
        ("chexgen", "checkpoint", lambda c: _checkpoint(c, lambda s: s.pop("state_dict_ema")), "has no 'state_dict_ema'"),
        ("chexgen", "checkpoint", lambda c: _checkpoint(c, _extra), "'control.zero.weight', which ChexGen's"),
        ("chexgen", "checkpoint", lambda c: _checkpoint(c, _short), "another layout: Missing key"),
        ("chexgen", "checkpoint", lambda c: _checkpoint(c, _moved), "another table of positions than sines at scale 2"),
        ("chexgen", "text", lambda c: (c / "spiece.model").unlink(), "has no spiece.model"),
    ],
)  # fmt: skip
def test_another_layout_is_refused(parts, tmp_path, name, part, change, message):
    changed = {**parts[name], part: _edited(parts[name][part], tmp_path, change)}
    with pytest.raises(ModelError, match=message):
        convert(name, changed, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_parts_that_do_not_belong_together_are_refused(parts, tmp_path):
    wide = {**parts["radedit"], "unet": layouts.unet(tmp_path / "wide", 48)}
    with pytest.raises(ModelError, match="takes text 48 wide, and the text encoder gives 32"):
        convert("radedit", wide, tmp_path / "out")
    deep = {**parts["radedit"], "vae": layouts.vae(tmp_path / "deep", latent_channels=8)}
    with pytest.raises(ModelError, match="takes 4 latent channels, and the autoencoder gives 8"):
        convert("radedit", deep, tmp_path / "out")


def test_missing_and_unknown_parts_are_named(parts, tmp_path):
    with pytest.raises(InputError, match="give --part text=PATH as well"):
        convert("radedit", {k: v for k, v in parts["radedit"].items() if k != "text"}, tmp_path / "out")
    with pytest.raises(InputError, match="Did you mean 'unet'"):
        convert("radedit", {**parts["radedit"], "unett": tmp_path}, tmp_path / "out")
    with pytest.raises(InputError, match="Did you mean 'radedit'"):
        convert("rad-edit", {}, tmp_path / "out")
    with pytest.raises(InputError, match="exists already"):
        convert("radedit", parts["radedit"], tmp_path)


def test_a_transformer_without_its_null_text_is_refused(converted, tmp_path):
    folder = _edited(converted["chexgen"], tmp_path, lambda c: (c / "null_text.safetensors").unlink())
    with pytest.raises(ModelError, match=r"has a transformer and no null_text\.safetensors"):
        load_model(folder)
