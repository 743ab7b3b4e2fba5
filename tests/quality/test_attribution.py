"""Grad-CAM against its closed form, and shares of mass where the finding is known."""

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.classifiers.backbones import build_network
from synthorax.classifiers.classifier import Classifier, ClassifierRecord, normalise
from synthorax.classifiers.gradcam import gradcam
from synthorax.classifiers.on_studies import train_on_studies
from synthorax.classifiers.training import TrainingConfig
from synthorax.cli import run
from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, write_concepts
from synthorax.dataset import write_png
from synthorax.quality.attribution import OVERALL, share_inside
from synthorax.studies import MANIFEST, write_manifest


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_grad_cam_is_cam_where_mean_pooling_and_one_layer_end_the_network():
    record = ClassifierRecord("small", 96, (0.4,), (0.2,), ("a", "b", "c"), seed=0)
    classifier = Classifier(build_network("small", 3, seed=1), record)
    films = np.random.default_rng(0).uniform(size=(5, 96, 96)).astype(np.float32)
    asked = [0, 1, 2, 1, 0]
    found = gradcam(classifier, films, asked)
    network = classifier.network
    x = normalise(torch.from_numpy(np.rint(films * 255).astype(np.uint8)), classifier.record.mean, classifier.record.std)  # fmt: skip
    with torch.no_grad():
        maps = network.forward_features(x)
        cam = torch.einsum("nk,nkij->nij", network.get_classifier().weight[asked], maps).relu() / (maps.shape[2] * maps.shape[3])  # fmt: skip
    assert found.shape == (5, 3, 3) and found.max() > 0
    np.testing.assert_allclose(found, cam.numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(gradcam(classifier, films[3:4], [1]).shape, (1, 3, 3))
    np.testing.assert_allclose(gradcam(classifier, films[3:4], [1])[0], found[3], rtol=1e-4, atol=1e-7)


def test_share_inside_of_maps_that_are_known():
    mask = np.zeros((1, 64, 64))
    mask[0, :32, :16] = 1
    everywhere = np.ones((1, 4, 4))
    assert share_inside(everywhere, mask)[0] == pytest.approx(1 / 8)
    assert share_inside(np.zeros((1, 4, 4)), mask)[0] == 0
    here, there = np.zeros((1, 64, 64)), np.zeros((1, 64, 64))
    here[0, 10, 10] = there[0, 50, 50] = 2.0
    assert share_inside(here, mask)[0] == 1 and share_inside(there, mask)[0] == 0
    assert share_inside(3 * here + there, mask)[0] == pytest.approx(0.75)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """160 drawn films of 80 patients, noise with a bright square in a random corner where there is a nodule."""
    folder, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    rows, vectors, masks = [], [], []
    for index in range(160):
        film, mask = 0.4 + 0.05 * draw.normal(size=(128, 128)), np.zeros((128, 128))
        if has := index % 2 == 0:
            top, left = draw.integers(0, 2, 2) * 64 + 10
            mask[top : top + 44, left : left + 44] = 1
            write_png(mask, folder / f"{index}_mask.png")
            masks.append(
                {"image_id": f"i{index}", "finding": "nodule", "mask_file_name": f"{index}_mask.png"}
            )
        write_png(np.clip(film + 0.3 * mask, 0, 1), folder / f"{index}.png")
        split = "test" if index >= 120 else "train"
        rows.append({"study_id": f"i{index}", "image_id": f"i{index}", "patient_id": f"p{index // 2}", "source": "drawn", "split": split})  # fmt: skip
        rows[-1]["file_name"] = str(folder / f"{index}.png")
        vectors.append(ConceptVector(frozenset({"nodule"} if has else ())))
    frame = pl.DataFrame([{name: row.get(name) for name in MANIFEST} for row in rows], schema=MANIFEST)
    write_manifest(frame, folder / "studies.parquet")
    vocabulary = Vocabulary.load()
    table = pl.concat([frame.select("study_id", "patient_id"), concept_columns(vectors, vocabulary)], how="horizontal")  # fmt: skip
    write_concepts(table, folder / "concepts.parquet", vocabulary)
    pl.DataFrame(masks).write_parquet(folder / "masks.parquet")
    for name, epochs in (("learned", 8), ("begun", 1)):
        config = TrainingConfig(epochs=epochs, batch_size=16, learning_rate=2e-3 if epochs > 1 else 1e-6)  # fmt: skip
        train_on_studies(config, folder / "studies.parquet", folder / "concepts.parquet", folder / name)
    return folder


def evaluated(cohort, out, *more):
    words = ["evaluate", "attribution", str(cohort / "learned"), "--studies", str(cohort / "studies.parquet")]
    words += ["--concepts", str(cohort / "concepts.parquet"), "--out", str(out), *map(str, more)]
    return run(words)


def test_a_classifier_that_learned_the_square_looks_at_it(cohort, tmp_path, capsys):
    assert (
        evaluated(cohort, tmp_path, "--masks", cohort / "masks.parquet", "--against", cohort / "begun") == 0
    )
    assert "share" in capsys.readouterr().out
    table = pl.read_csv(tmp_path / "attribution.csv").filter(output=OVERALL)
    value = {(row["model"].rpartition("/")[2], row["figure"]): row for row in table.iter_rows(named=True)}
    learned = {figure: value["learned", figure]["value"] for figure in ("share", "hit", "area", "elsewhere", "reachable")}  # fmt: skip
    assert value["learned", "share"]["n_films"] == 20, "films of patients in training are left out"
    assert learned["area"] == pytest.approx(44**2 / 128**2, abs=0.01)
    assert learned["hit"] > 0.9
    assert learned["share"] > 1.5 * learned["elsewhere"] and learned["share"] > 2 * learned["area"]
    assert learned["share"] < learned["reachable"] + 0.05 < 0.7, "four cells cannot draw the square's border"
    difference = value["difference", "share"]
    assert difference["ci_high"] < 0 and difference["value"] == pytest.approx(
        value["begun", "share"]["value"] - learned["share"]
    )
    films = pl.read_parquet(tmp_path / "films.parquet")
    assert films["share"].is_between(0, 1).all() and films.height == 40
    assert (tmp_path / "maps.png").stat().st_size > 10_000


def test_wrong_inputs_get_one_sentence(cohort, tmp_path, capsys):
    pl.DataFrame({"image_id": ["i1"], "mask_file_name": ["x.png"]}).write_parquet(tmp_path / "a.parquet")
    assert evaluated(cohort, tmp_path / "o", "--masks", tmp_path / "a.parquet") == 2
    assert "has no column 'finding'" in capsys.readouterr().err
    pl.DataFrame({"image_id": ["zz"], "finding": ["nodule"], "mask_file_name": ["x.png"]}).write_parquet(tmp_path / "b.parquet")  # fmt: skip
    assert evaluated(cohort, tmp_path / "o", "--masks", tmp_path / "b.parquet") == 2
    assert "has its mask in" in capsys.readouterr().err
    assert evaluated(cohort, tmp_path / "o", "--masks", cohort / "masks.parquet", "--against", "xrv:densenet121-res224-all") == 2  # fmt: skip
    assert "Grad-CAM needs a classifier's folder" in capsys.readouterr().err
