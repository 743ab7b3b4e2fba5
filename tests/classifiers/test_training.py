"""Training on small drawn films: it learns, resumes to the same weights, and leaves unknown labels alone."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from synthorax.classifiers import training
from synthorax.classifiers.augmentation import N_DRAWS, Augmentation, augment
from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.head import HeadConfig, finetune_head, fit_head
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.loss import masked_bce, positive_weights_of, rows_by_class
from synthorax.classifiers.metrics import auroc
from synthorax.classifiers.training import TrainingConfig, learning_rate_at, train
from synthorax.dataset import write_png
from synthorax.errors import InputError, ModelError, RunError

LABELS = ("spot", "band")
TINY = TrainingConfig(image_size_px=32, epochs=4, batch_size=16, seed=1)


def draw_films(n, seed):
    """Noise with a bright spot somewhere, with a dense band below, with both or neither."""
    draw = np.random.default_rng(seed)
    y = (draw.random((n, 2)) < 0.5).astype(np.float32)
    films = 0.3 + 0.05 * draw.normal(size=(n, 32, 32))
    for film, (spot, band) in zip(films, y, strict=True):
        if spot:
            row, column = draw.integers(4, 20, 2)
            film[row : row + 5, column : column + 5] += 0.4
        if band:
            film[26:] += 0.3
    return films.clip(0, 1).astype(np.float32), y


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    films, y = draw_films(128, 0)
    folder = tmp_path_factory.mktemp("trained")
    state = torch.random.get_rng_state()
    found = train(
        replace(TINY, epochs=8), films, y, LABELS, validation=draw_films(64, 1), out=folder, note="drawn"
    )
    assert torch.equal(state, torch.random.get_rng_state())
    return found, folder


def weights_of(classifier):
    return classifier.network.state_dict()


def assert_same(a, b):
    for name, x in weights_of(a).items():
        assert torch.equal(x, weights_of(b)[name]), name


def test_learns_both_findings_and_sets_thresholds(trained):
    classifier, _ = trained
    films, y = draw_films(100, 2)
    p = classifier.predict(films)
    assert p.shape == (100, 2) and p.dtype == np.float32
    assert all(auroc(y[:, i], p[:, i]) > 0.95 for i in range(2))
    assert len(classifier.thresholds) == 2 and classifier.record.training["validation_macro_auroc"] > 0.9
    losses = classifier.record.training["loss_per_epoch"]
    assert len(losses) == 8 and losses[-1] < losses[0] / 2


def test_saved_and_loaded_predicts_the_same(trained):
    classifier, folder = trained
    films, _ = draw_films(10, 3)
    loaded = Classifier.load(folder)
    assert np.array_equal(loaded.predict(films), classifier.predict(films))
    assert loaded.record == classifier.record
    record = json.loads((folder / "classifier.json").read_text())
    assert (
        record["labels"] == list(LABELS)
        and record["training"]["note"] == "drawn"
        and record["backbone"] == "small"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["classifier.json", "classifier.safetensors"]


def test_predictions_do_not_depend_on_the_batch_beyond_rounding(trained):
    films, _ = draw_films(13, 4)
    alone = trained[0].predict(films, batch_size=1)
    for batch_size in (2, 5, 13, 64):
        assert np.abs(trained[0].predict(films, batch_size=batch_size) - alone).max() < 1e-5


def test_files_arrays_and_bytes_predict_the_same(trained, tmp_path):
    films, _ = draw_films(3, 5)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for film, path in zip(films, paths, strict=True):
        write_png(film, path)
    expected = trained[0].predict(films)
    assert np.array_equal(trained[0].predict(paths), expected)
    assert np.array_equal(trained[0].predict(np.rint(films * 255).astype(np.uint8)), expected)
    assert trained[0].predict([]).shape == (0, 2) and trained[0].features(films).shape == (3, 256)


def test_classes_are_drawn_equally_often():
    """12 films with the first label, 3 of them with the second too, 2 unknown, 46 without any."""
    targets = np.zeros((60, 3), np.float32)
    targets[:12, 0], targets[:3, 1], targets[58:] = 1, 1, np.nan
    rows = rows_by_class(targets, "test")
    times = np.bincount(rows, minlength=60)
    assert len(rows) == 60 and times[12:].sum() == 20 and times[12:].max() == 1, (
        "no class for a label without films"
    )
    assert set(times[3:12]) <= {1, 2} and set(times[:3]) <= {7, 8, 9} and times[:12].sum() == 40
    assert (rows_by_class(targets, "test") == rows).all() and (rows_by_class(targets, "other") != rows).any()
    few = rows_by_class(np.eye(3, dtype=np.float32)[:2], "test")
    assert sorted(few.tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("precision", "stop_after", "sampling", "with_places"),
    [
        ("bf16", 3, "films", False),
        ("fp32", 8, "films", False),
        ("fp32", 5, "classes", False),
        ("fp32", 3, "films", True),
    ],
)
def test_resume_equals_uninterrupted(tmp_path, monkeypatch, precision, stop_after, sampling, with_places):
    """Stopped in the middle of the first epoch, and at the end of the second."""
    films, y = draw_films(32, 6)
    places = np.broadcast_to(y.astype(bool)[:, :, None, None], (32, 2, 2, 2)).copy() if with_places else None
    config = replace(
        TINY, epochs=3, batch_size=8, precision=precision, sampling=sampling, checkpoint_every_s=0.0
    )
    whole = train(config, films, y, LABELS, places=places)

    class Stopped(Exception):
        pass

    save, calls = training.save_checkpoint, []

    def save_and_stop(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == stop_after:
            raise Stopped

    monkeypatch.setattr(training, "save_checkpoint", save_and_stop)
    with pytest.raises(Stopped):
        train(config, films, y, LABELS, places=places, out=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").is_file() and not (tmp_path / "classifier.json").exists()
    resumed = train(config, films, y, LABELS, places=places, out=tmp_path)
    assert len(calls) == 12  # 3 epochs of 4 steps: none done twice
    assert_same(resumed, whole)
    assert resumed.record == whole.record
    assert_same(train(config, films, y, LABELS, places=places, out=tmp_path), whole)
    assert len(calls) == 12
    with pytest.raises(RunError, match="trained with other settings, labels or films"):
        train(replace(config, learning_rate=1.0), films, y, LABELS, places=places, out=tmp_path)


def test_training_goes_on_from_a_given_classifier(trained, tmp_path):
    start, _ = trained
    films, targets = draw_films(24, 5)
    before = {name: x.clone() for name, x in weights_of(start).items()}
    still = train(replace(TINY, epochs=1, learning_rate=0.0), films, targets, LABELS, start=start)
    learned = [name for name, _ in start.network.named_parameters()]
    assert all(torch.equal(weights_of(still)[name], before[name]) for name in learned)
    assert (still.record.mean, still.record.std) == (start.record.mean, start.record.std)
    moved = train(replace(TINY, epochs=1), films, targets, LABELS, start=start, out=tmp_path)
    assert not any(torch.equal(weights_of(moved)[name], before[name]) for name in learned[:3])
    assert all(torch.equal(x, before[name]) for name, x in weights_of(start).items()), "the given one stays"
    assert_same(train(replace(TINY, epochs=1), films, targets, LABELS, start=start, out=tmp_path), moved)
    with pytest.raises(RunError, match="other settings, labels or films"):
        train(replace(TINY, epochs=1), films, targets, LABELS, start=moved, out=tmp_path)
    with pytest.raises(
        InputError, match="start from is a small of 32 px for spot, band; asked for is a small of 64 px"
    ):
        train(replace(TINY, image_size_px=64), films, targets, LABELS, start=start)


def test_a_checkpoint_of_other_films_is_refused(tmp_path, monkeypatch):
    films, y = draw_films(16, 6)
    config = replace(TINY, epochs=2, checkpoint_every_s=0.0)
    monkeypatch.setattr(training, "finish", lambda *a: None)
    train(config, films, y, LABELS, out=tmp_path)
    with pytest.raises(RunError, match="belongs to a training with other settings, labels or films"):
        train(config, 1 - films, y, LABELS, out=tmp_path)


def test_unknown_labels_have_no_gradient_and_no_weight():
    logits = torch.randn(4, 3, requires_grad=True)
    targets = torch.tensor([[1, 0, torch.nan], [torch.nan] * 3, [0, 1, 1], [1, torch.nan, 0]])
    v = torch.tensor([1.0, 2.0, 3.0])
    loss = masked_bce(logits, targets, v)
    loss.backward()
    unknown = targets.isnan()
    assert (logits.grad[unknown] == 0).all() and (logits.grad[~unknown] != 0).all()
    z, y = logits.detach()[~unknown], targets[~unknown]
    weight = v.expand(4, 3)[~unknown]
    s = torch.sigmoid(z)
    assert loss.item() == pytest.approx(
        (-(weight * y * s.log() + (1 - y) * (1 - s).log())).mean().item(), rel=1e-5
    )
    assert masked_bce(logits, torch.full((4, 3), torch.nan), v).item() == 0


def test_an_unknown_label_trains_like_no_label_at_all():
    """Films whose band is unknown move the band's head as little as if only the spot were asked."""
    films, y = draw_films(32, 7)
    y[:, 1] = np.nan
    config = replace(TINY, epochs=1, weight_decay=0.0)
    found = train(config, films, y, LABELS)
    start = training.build_network("small", 2, seed=training.derive_seed("classifier", config.seed))
    assert torch.equal(found.network.get_classifier().weight[1], start.get_classifier().weight[1])
    assert not torch.equal(found.network.get_classifier().weight[0], start.get_classifier().weight[0])


def test_positive_weights():
    targets = np.array([[1, 0, 1, 0], [0, 0, np.nan, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    assert positive_weights_of(targets, 20).tolist() == [3, 1, 2, 3]
    assert positive_weights_of(targets, 2.5).tolist() == [2.5, 1, 2, 2.5]


def test_head_only_leaves_the_backbone_and_the_given_classifier_alone(trained, tmp_path):
    classifier, _ = trained
    before = {name: x.clone() for name, x in weights_of(classifier).items()}
    films, y = draw_films(48, 8)
    config = HeadConfig(epochs=3, learning_rate=1e-2)
    found = finetune_head(
        classifier, films, 1 - y, config, validation=(films, 1 - y), out=tmp_path, note="swapped"
    )
    for name, x in weights_of(found).items():
        assert torch.equal(x, before[name]) != name.startswith("fc."), name
    assert all(torch.equal(x, before[name]) for name, x in weights_of(classifier).items())
    assert found.record.training["before"]["note"] == "drawn" and found.record.training["note"] == "swapped"
    assert_same(
        finetune_head(classifier, films, 1 - y, config, validation=(films, 1 - y), out=tmp_path), found
    )
    with pytest.raises(ModelError, match="no thresholds: it was trained without validation films"):
        _ = finetune_head(classifier, films, y, config).thresholds


def test_the_head_goes_to_the_optimum_of_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(9)
    x = draw.normal(size=(400, 5)).astype(np.float32)
    y = (draw.random((400, 2)) < 1 / (1 + np.exp(-x @ draw.normal(size=(5, 2)) - 0.5))).astype(np.float32)
    y[:50, 1] = np.nan
    config = HeadConfig(epochs=500, batch_size=400, learning_rate=0.1)
    weight, bias = fit_head(x, y, np.zeros((2, 5), np.float32), np.zeros(2, np.float32), config)
    for label, rows in enumerate([slice(None), slice(50, None)]):
        v = {0: 1.0, 1: positive_weights_of(y, 20)[label]}
        exact = LogisticRegression(C=1e8, tol=1e-8, class_weight=v).fit(x[rows], y[rows, label])
        assert weight[label] == pytest.approx(exact.coef_[0], abs=0.02)
        assert bias[label] == pytest.approx(exact.intercept_[0], abs=0.02)


def test_augmentation_without_amounts_is_the_identity_and_small_otherwise():
    films = torch.from_numpy(draw_films(4, 10)[0][:, None])
    draws = np.random.default_rng(0).uniform(-1, 1, (4, N_DRAWS))
    nothing = Augmentation(0, 0, 0, 0, 0)
    assert torch.allclose(augment(films, draws, nothing), films, atol=1e-5)
    changed = augment(films, draws, Augmentation())
    assert changed.shape == films.shape and changed.min() >= 0 and changed.max() <= 1
    assert torch.allclose(augment(films[2:3], draws[2:3], Augmentation()), changed[2:3], atol=1e-6)


def test_augmentation_moves_as_it_says():
    film = torch.zeros(1, 1, 100, 100)
    film[0, 0, 40:60, 40:60] = 1
    moved = augment(film, np.array([[0, 1, 0, 0, 0, 0]]), Augmentation(0, 0.1, 0, 0, 0))
    assert torch.allclose(moved, film.roll(-10, 3), atol=1e-4)
    brighter = augment(film * 0.5, np.array([[0, 0, 0, 0, 0, 1]]), Augmentation(0, 0, 0, 0, 0.2))
    assert brighter.max() == pytest.approx(0.7) and brighter.min() == pytest.approx(0.2)


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate_at(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert all(a > b for a, b in pairwise(rates[10:])) and 0 < rates[-1] < 0.01


def test_films_of_any_shape_become_square(tmp_path):
    write_png(np.full((40, 80), 0.5), tmp_path / "wide.png")
    found = load_films([tmp_path / "wide.png"], 20)
    assert found.shape == (1, 20, 20) and found.dtype == np.uint8
    assert found[0, 0].max() == 0 and found[0, 10].min() == 128


@pytest.mark.parametrize(
    ("films", "message"),
    [
        (np.zeros((4, 4), np.float32), r"films have shape \(4, 4\); expected \(N, H, W\)"),
        (np.full((1, 4, 4), 255.0), "film 0 has values from 255 to 255; expected 0 to 1. Divide"),
        (["nowhere.png"], "nowhere.png does not exist; put the film there"),
        ([__file__], "is not a film that can be read: expected PNG, JPEG"),
    ],
)
def test_film_messages(films, message):
    with pytest.raises(InputError, match=message):
        load_films(films, 4)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((2, 1)), r"2 films, 2 labels and targets of shape \(2, 1\)"),
        (np.array([[0, 0], [0, -1]]), "film 1: band is -1; expected 0, 1 or NaN"),
    ],
)
def test_target_messages(targets, message):
    with pytest.raises(InputError, match=message):
        train(TINY, np.zeros((2, 32, 32), np.float32), targets, LABELS)


def test_config_refuses_unknown_keys_with_a_hint():
    config = TrainingConfig.from_mapping({"epochs": 3, "augmentation": {"rotation_degrees": 0}})
    assert (config.epochs, config.augmentation.rotation_degrees, config.batch_size) == (3, 0, 32)
    with pytest.raises(InputError, match="Did you mean 'learning_rate'"):
        TrainingConfig.from_mapping({"learning_rat": 1e-3})
    with pytest.raises(InputError, match="sampling is 'class'; expected one of classes, films"):
        train(replace(TINY, sampling="class"), np.zeros((1, 32, 32)), np.zeros((1, 2)), LABELS)
    with pytest.raises(InputError, match="precision is 'fp16'; expected one of auto, bf16, fp32"):
        train(replace(TINY, precision="fp16"), np.zeros((1, 32, 32)), np.zeros((1, 2)), LABELS)


def test_model_messages(trained, tmp_path):
    with pytest.raises(ModelError, match=r"classifier.json does not exist; expected a folder written by"):
        Classifier.load(tmp_path)
    trained[0].save(tmp_path)
    (tmp_path / "classifier.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"is not the file that classifier.json describes"):
        Classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text("{}")
    with pytest.raises(ModelError, match="is no classifier's record"):
        Classifier.load(tmp_path)
