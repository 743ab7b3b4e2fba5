"""The editing score in closed form, on a dataset by command, and BioViL-T's two sides as published."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tests.diffusion import published_parts
from torchvision.models import resnet50
from transformers import BertConfig, BertForMaskedLM

from synthorax.cli import run
from synthorax.dataset import metadata_frame, read_metadata, write_metadata, write_png
from synthorax.diffusion.biovil_images import IMAGE_WEIGHTS, BioViLT
from synthorax.downstream.image_text import ImageText, load_encoder
from synthorax.errors import InputError, ModelError
from synthorax.phantom import counterfactual_pairs
from synthorax.phantom.patient import cohort_patient_ids
from synthorax.quality.editing_score import editing_scores, fits, score_dataset

ANGLES = {"none": 0, "a": 90, "b": 180}


def on_a_circle(degrees):
    radians = np.deg2rad(np.asarray(degrees, float))
    return np.stack([np.cos(radians), np.sin(radians)], 1)


#: A film's mean grey value is its angle in units of 360 degrees, a text's angle is looked up.
circle = SimpleNamespace(
    least_fit=0.5,
    images=lambda films: on_a_circle(360 * np.asarray(films).mean((1, 2))),
    texts=lambda texts: on_a_circle([ANGLES[text] for text in texts]),
)


def films(*degrees):
    return np.stack([np.full((4, 4), each / 360) for each in degrees])


def test_the_score_in_closed_form():
    # asked for: from 0 to 90 degrees, a step along (-1, 1)
    scores = editing_scores(
        circle, films(0, 0, 90, 0, 90), films(90, 180, 0, 0, 180), ["none"] * 5, ["a"] * 5
    )
    assert scores == pytest.approx([1, np.sqrt(0.5), -1, 0, 0], abs=1e-6)
    assert np.isnan(editing_scores(circle, films(0), films(90), ["a"], ["a"])).all()
    assert fits(circle, films(90, 0), ["a", "b"]) == pytest.approx([1, -1])
    with pytest.raises(InputError, match="expected as many of each"):
        editing_scores(circle, films(0), films(90), ["a"], [])


def dataset(folder, pairs, texts, **more):
    rows = []
    for i, ((before, after), (was, asked)) in enumerate(zip(pairs, texts, strict=True)):
        write_png(before, folder / f"sources/{i}.png")
        write_png(after, folder / f"images/{i}.png")
        rows.append({
            "file_name": f"images/{i}.png", "image_id": f"e{i}", "patient_id": f"p{i}", "source_image_id": f"i{i}", "source_file_name": f"sources/{i}.png",
            "inversion_prompt": was, "prompt": asked, "perturbation_type": "insertion", "is_synthetic": True, "is_simulated": True, **more,
        })  # fmt: skip
    write_metadata(metadata_frame(rows), folder)
    return rows


def test_a_dataset_keeps_its_scores(tmp_path):
    rows = dataset(tmp_path, [films(0, 90), films(0, 0)], [("none", "a"), ("b", "a")])
    other = {"file_name": "sources/0.png", "image_id": "i0", "patient_id": "p0", "is_synthetic": True, "is_simulated": True}  # fmt: skip
    write_metadata(metadata_frame([other, *rows]), tmp_path)
    found = score_dataset(tmp_path, circle)
    assert found["score_edit"].to_list() == pytest.approx([1, 0], abs=0.02)
    assert found["source_is_odd"].to_list() == [False, True]
    kept = read_metadata(tmp_path)
    assert kept["image_id"].to_list() == ["i0", "e0", "e1"] and kept["score_edit"][0] is None
    assert kept["score_edit"][1:].to_list() == found["score_edit"].to_list()
    assert pl.read_csv(tmp_path / "scores.csv")["image_id"].to_list() == ["e0", "e1"]
    write_metadata(metadata_frame([other]), tmp_path)
    with pytest.raises(InputError, match="has no edit"):
        score_dataset(tmp_path, circle)


@pytest.fixture(scope="module")
def biovil(tmp_path_factory):
    """The repository as published: the small text side, and the image side at full size with random numbers."""
    folder = published_parts.biovil_t(tmp_path_factory.mktemp("biovil") / "BiomedVLP-BioViL-T")
    torch.manual_seed(0)
    net = resnet50()
    weights = {f"encoder.encoder.{key}": value for key, value in net.state_dict().items()}
    weights |= {
        "encoder.backbone_to_vit.weight": torch.randn(256, 2048, 1, 1) / 45, "encoder.missing_previous_emb": torch.randn(1, 256, 1, 1),
        "encoder.vit_pooler.type_embed": torch.randn(2, 1, 256), "projector.model.0.weight": torch.randn(8, 512, 1, 1),
        "projector.model.1.weight": torch.rand(8), "projector.model.1.bias": torch.randn(8), "projector.model.1.running_mean": torch.randn(8),
        "projector.model.1.running_var": torch.rand(8) + 0.5, "projector.model.1.num_batches_tracked": torch.tensor(1),
        "projector.model.3.weight": torch.randn(8, 8, 1, 1), "projector.model.3.bias": torch.randn(8),
    }  # fmt: skip
    torch.save(weights, folder / IMAGE_WEIGHTS)
    return folder


def test_biovil_t_computes_what_was_published(biovil):
    """Film: trunk, narrow, beside it the stand-in for the film before, projected place by place, mean. Text: first token, head."""
    encoder = load_encoder(biovil)
    assert isinstance(encoder, BioViLT)
    w = torch.load(biovil / IMAGE_WEIGHTS)
    film = np.random.default_rng(0).uniform(size=(1, 512, 560)).astype(np.float32)
    x = torch.from_numpy(film[:, 32:480, 56:504])[:, None].expand(-1, 3, -1, -1)
    net = resnet50()
    net.load_state_dict({k.removeprefix("encoder.encoder."): v for k, v in w.items() if "encoder.encoder." in k})  # fmt: skip
    trunk = torch.nn.Sequential(*[*net.eval().children()][:-2])
    with torch.no_grad():
        static = torch.einsum("oc,bchw->bohw", w["encoder.backbone_to_vit.weight"][:, :, 0, 0], trunk(x))
        places = torch.cat([static, w["encoder.missing_previous_emb"].expand(1, -1, 14, 14)], 1).flatten(2)
        inner = torch.einsum("oc,bcn->bon", w["projector.model.0.weight"][:, :, 0, 0], places)
        norm = {name: w[f"projector.model.1.{name}"][:, None] for name in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        inner = (inner - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]  # fmt: skip
        row = torch.einsum("oc,bcn->bo", w["projector.model.3.weight"][:, :, 0, 0], inner.relu()) / 14**2 + w["projector.model.3.bias"]  # fmt: skip
    assert encoder.images(film)[0] == pytest.approx((row / row.norm())[0].numpy(), abs=1e-4)


def test_biovil_ts_text_is_its_first_token_through_the_head(biovil):
    published = load_file(biovil / "model.safetensors")
    sizes = {k: v for k, v in json.loads((biovil / "config.json").read_text()).items() if k.endswith("_size") or k.startswith(("num", "max"))}  # fmt: skip
    reference = BertForMaskedLM(BertConfig(**sizes)).eval()
    reference.load_state_dict(published, strict=False)
    ids = torch.tensor([[2, 5, 7, 11, 3]])  # [CLS] left effusion . [SEP]
    with torch.no_grad():
        first = reference(ids, output_hidden_states=True).hidden_states[-1][:, 0]
        x = first @ published["cls_projection_head.dense_to_hidden.weight"].T + published["cls_projection_head.dense_to_hidden.bias"]  # fmt: skip
        x = torch.nn.functional.gelu(x)
        x = (x - x.mean()) / x.std(correction=0) * published["cls_projection_head.LayerNorm.weight"] + published["cls_projection_head.LayerNorm.bias"]  # fmt: skip
        x = x @ published["cls_projection_head.dense_to_output.weight"].T + published["cls_projection_head.dense_to_output.bias"]  # fmt: skip
    rows = load_encoder(biovil).texts(["Left effusion.", "No findings. Right mass."])
    assert rows[0] == pytest.approx((x / x.norm())[0].numpy(), abs=1e-4)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)


def test_another_layout_is_refused_in_one_sentence(biovil, tmp_path):
    with pytest.raises(ModelError, match=r"neither image_text.json .* nor BioViL-T's biovil_t_image"):
        load_encoder(tmp_path)
    folder = published_parts.biovil_t(tmp_path / "biovil")
    weights = torch.load(biovil / IMAGE_WEIGHTS)
    missing = weights.pop("encoder.missing_previous_emb")
    torch.save(weights, folder / IMAGE_WEIGHTS)
    with pytest.raises(ModelError, match="is it BioViL without -T"):
        load_encoder(folder)
    del weights["projector.model.3.bias"]
    torch.save(weights | {"encoder.missing_previous_emb": missing}, folder / IMAGE_WEIGHTS)
    with pytest.raises(ModelError, match=r"of another layout: .*projector.3.bias"):
        load_encoder(folder)


def test_the_shipped_encoder_tells_edits_from_their_opposite(tmp_path, capsys):
    """True counterfactuals of virtual patients that it has not seen: effusions and big hearts come."""
    ids = cohort_patient_ids(515151, 8, "public", ["built-in"])
    asked = [(f"{name}_0", [], ["effusion"] if i % 2 else ["enlarged_heart"]) for i, name in enumerate(ids)]
    pairs = [[film.image.astype(np.float32) for film in pair] for pair in counterfactual_pairs(asked, 192)]
    texts = [("No findings.", "Effusion." if i % 2 else "Enlarged heart.") for i in range(8)]
    rows = dataset(tmp_path, pairs, texts)
    assert run(["score", str(tmp_path)]) == 0
    assert "insertion: mean 0." in capsys.readouterr().out
    scores = read_metadata(tmp_path)["score_edit"].to_numpy()
    before, after = (np.stack(each) for each in zip(*pairs, strict=True))
    shipped = ImageText.shipped()
    back = editing_scores(shipped, before, after, *([t[k] for t in texts] for k in (1, 0)))
    assert np.mean(scores >= 0.2) > 0.85 and back == pytest.approx(-scores, abs=0.05)
    words = shipped.texts(["A left-sided pleural effusion is seen.", "Left effusion.", "There is no effusion.", "No findings."])  # fmt: skip
    assert words[0] == pytest.approx(words[1], abs=1e-5) and words[2] == pytest.approx(words[3], abs=1e-5)
    write_metadata(metadata_frame([row | {"is_simulated": False} for row in rows]), tmp_path)
    assert run(["score", str(tmp_path)]) == 2
    assert "knows virtual patients alone. Give --encoder" in capsys.readouterr().err
