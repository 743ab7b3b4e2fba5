"""The image-text encoder: it learns which text is whose, goes on where it stopped, and its command."""

import numpy as np
import pytest
import torch

from synthorax.classifiers import TrainingConfig, train
from synthorax.classifiers.augmentation import Augmentation
from synthorax.cli import run
from synthorax.diffusion.captions import captions
from synthorax.downstream import fitting
from synthorax.downstream.image_text import ImageText, ImageTextConfig, train_image_text
from synthorax.errors import InputError, RunError
from synthorax.quality.editing_score import editing_scores
from synthorax.seeds import is_held_out
from synthorax.studies import read_manifest

STILL = Augmentation(0, 0, 0, 0, 0)
CONFIG = ImageTextConfig(
    epochs=30, batch_size=6, backbone="small", image_size_px=32, dimension=16, augmentation=STILL
)


@pytest.fixture(scope="module")
def told(training_manifest):
    """Twelve films, half with a mass on the left, and what may be said of each."""
    torch.set_num_threads(1)
    said = captions([training_manifest], says_who=False)
    return *zip(
        *read_manifest(training_manifest).select("file_name", "image_id").iter_rows(), strict=True
    ), said


def test_it_learns_which_text_is_whose_and_goes_on_where_it_stopped(told, tmp_path, monkeypatch):
    films, ids, said = told
    said = [said[name] for name in ids]
    whole = train_image_text(CONFIG, films, said, validation=(films, [s[0][0] for s in said]), out=tmp_path / "whole")  # fmt: skip
    asked = ["No findings.", "Left mass."]
    nearest = (whole.images(films) @ whole.texts(asked).T).argmax(1)
    assert nearest.tolist() == [i % 2 for i in range(12)]
    grey = np.random.default_rng(0).uniform(size=(2, 32, 32)).astype(np.float32)
    assert np.abs(editing_scores(whole, grey[:1], grey[1:], ["No findings."], ["Left mass."])) <= 1
    assert -1 <= whole.least_fit <= 1

    stops = iter([False] * 5 + [True])
    real = fitting.learning_rate_at

    def stop(*arguments):
        if next(stops, False):
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(fitting, "learning_rate_at", stop)
    eager = ImageTextConfig(**{**vars(CONFIG), "checkpoint_every_s": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train_image_text(eager, films, said, out=tmp_path / "stopped")
    again = train_image_text(eager, films, said, out=tmp_path / "stopped")
    assert np.array_equal(again.images(films), whole.images(films))
    loaded = ImageText.load(tmp_path / "stopped")
    assert np.array_equal(loaded.texts(asked), whole.texts(asked))
    with pytest.raises(RunError, match="other settings or films"):
        train_image_text(eager, films[:-1], said[:-1], out=tmp_path / "stopped")
    with pytest.raises(InputError, match="at least one text a film"):
        train_image_text(CONFIG, films, [*said[:-1], ()])


def test_it_begins_with_a_classifiers_features(told):
    films, ids, said = told
    said = [said[name] for name in ids]
    few = TrainingConfig(epochs=1, batch_size=6, image_size_px=32)
    start = train(few, films, np.eye(2)[[i % 2 for i in range(12)]], ("a", "b"))
    still = ImageTextConfig(**{**vars(CONFIG), "epochs": 1, "learning_rate": 0.0})
    found = train_image_text(still, films, said, start=start)
    weights, began = found.network["image"].state_dict(), start.network.state_dict()
    learned = [name for name, x in start.network.named_parameters() if not name.startswith("fc.")]
    assert all(torch.equal(weights[name], began[name]) for name in learned)
    assert weights["fc.weight"].shape != began["fc.weight"].shape
    with pytest.raises(InputError, match="small of 32 px; asked for is a small of 64 px"):
        train_image_text(ImageTextConfig(**{**vars(still), "image_size_px": 64}), films, said, start=start)


def test_the_command(training_manifest, tmp_path, capsys):
    words = ["train", "image-text", str(training_manifest), "--out", str(tmp_path / "it"), "--backbone", "small", "--size", "32", "--epochs", "1"]  # fmt: skip
    held_out = sum(is_held_out(patient) for patient in read_manifest(training_manifest)["patient_id"])
    assert run(words) == 0 and f"{12 - held_out} films, loss" in capsys.readouterr().out
    assert ImageText.load(tmp_path / "it").least_fit is not None
