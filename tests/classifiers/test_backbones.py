"""Every backbone builds and gives logits from features; weights come from files here or not at all."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synthorax.classifiers.backbones import BACKBONES, CARS_BACKBONES, build_network, normalisation
from synthorax.classifiers.classifier import Classifier, ClassifierRecord
from synthorax.errors import InputError, ModelError


def test_the_seven_of_cars_are_there():
    others = {"densenet121", "small", "small_peaks", "latent"}
    assert len(CARS_BACKBONES) == 7 and set(CARS_BACKBONES) | others == set(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_head_on_features_gives_the_logits(name):
    """On the meta device: shapes of the largest networks cost nothing."""
    with torch.device("meta"):
        network = build_network(name, 5, seed=0).eval()
        x = torch.empty(2, BACKBONES[name].n_channels, 64, 64)
        features = network.forward_head(network.forward_features(x), pre_logits=True)
        assert network.get_classifier()(features).shape == network(x).shape == (2, 5)
    scale = normalisation(name)
    assert scale is None if name in ("small", "small_peaks", "latent") else len(scale[0]) == 3


@pytest.mark.parametrize("name", ["small", "resnet50"])
def test_predicts_through_features_and_head(name):
    scale = normalisation(name) or ((0.5,), (0.25,))
    network = build_network(name, 2, seed=3)
    classifier = Classifier(network, ClassifierRecord(name, 32, *scale, ("a", "b"), seed=3))
    films = np.random.default_rng(0).random((2, 48, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = network.get_classifier()(torch.from_numpy(classifier.features(films))).sigmoid().numpy()
    assert classifier.predict(films) == pytest.approx(expected, abs=1e-6)


def test_weights_follow_the_seed_and_nothing_else():
    state = torch.random.get_rng_state()
    one, two, other = (build_network("small", 2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_a_local_weights_file_is_used_but_for_the_head(tmp_path):
    path = tmp_path / "weights.safetensors"
    source = build_network("resnet50", 1000, seed=7).state_dict()
    save_file(source, path)
    found = build_network("resnet50", 5, seed=8, weights=path).state_dict()
    assert all(torch.equal(x, source[name]) for name, x in found.items() if not name.startswith("fc."))
    assert found["fc.weight"].shape == (5, 2048)
    save_file({"conv1.weight": source["conv1.weight"]}, path)
    with pytest.raises(
        ModelError, match=r"does not hold weights of timm's resnet50: 264 of 318 tensors are missing"
    ):
        build_network("resnet50", 5, seed=0, weights=path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is no safetensors file"):
        build_network("resnet50", 5, seed=0, weights=path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"name": "resnet5"},
            InputError,
            "backbone is 'resnet5'; expected one of .* Did you mean 'resnet50'",
        ),
        (
            {"name": "small", "pretrained": True},
            ModelError,
            "'small' has no ImageNet weights; it is trained from",
        ),
        (
            {"name": "resnet50", "weights": "no.safetensors"},
            ModelError,
            "weights file no.safetensors does not exist",
        ),
    ],
)
def test_messages(options, error, message):
    with pytest.raises(error, match=message):
        build_network(n_outputs=2, seed=0, **options)


def test_absent_weights_are_named_with_the_remedy(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"are not on this machine\. Fetch them by `hf download .*pretrained to false"
    ):
        build_network("resnet50", 2, seed=0, pretrained=True)
