"""What can be tested, and the one sentence of what cannot."""

import sys

import numpy as np
import pytest

from synthorax.classifiers import TestedModel, load_tested
from synthorax.classifiers.backbones import build_network
from synthorax.classifiers.classifier import Classifier, ClassifierRecord
from synthorax.dataset import write_png
from synthorax.errors import InputError, ModelError

MODULE = """
import numpy as np
def mean(films): return films.mean((1, 2))
def two(films): return np.stack([films.mean((1, 2)), films.max((1, 2))], 1)
class Named:
    pathologies = ["Mass", "Nodule"]
    def __call__(self, films): return two(films)
named = Named()
class Misnamed(Named):
    pathologies = ["Mass", "Nodule", "Oedema"]
misnamed = Misnamed()
def fewer(films): return films.mean((1, 2))[:-1]
def nan(films): return np.where(np.arange(len(films)) == 1, np.nan, 0.5)
def logits(films): return films.mean((1, 2)) + 3
def broken(films): raise ValueError("no such layer")
number = 3
"""


@pytest.fixture
def paths(tmp_path):
    films = [np.full((20, 20), grey, np.float32) for grey in (0.0, 0.2, 1.0)]
    films.append(np.full((10, 30), 0.4, np.float32))  # another shape than its neighbours
    for i, film in enumerate(films):
        write_png(film, tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(len(films))]


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_stress_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "my_stress_models"
    sys.modules.pop("my_stress_models", None)


def test_a_callable_is_found_from_the_working_folder_and_reads_films_of_any_shape(module, paths):
    model = load_tested(f"{module}:mean")
    assert model.probabilities(paths) == pytest.approx([0, 0.2, 1, 0.4], abs=1e-6)
    assert model.says(paths).tolist() == [False, False, True, False]
    assert "" not in sys.path


@pytest.mark.parametrize(
    ("name", "output", "expected"), [("two", "1", 1.0), ("named", "Nodule", 1.0), ("named", "Mass", 0.5)]
)
def test_an_output_is_named_or_numbered(module, tmp_path, name, output, expected):
    write_png(np.array([[0.0, 1.0]], np.float32), tmp_path / "half.png")
    assert load_tested(f"{module}:{name}", output).probabilities([str(tmp_path / "half.png")]) == [expected]


@pytest.mark.parametrize(
    ("where", "output", "words"),
    [
        ("no_such_module:f", None, "no_such_module:f cannot be imported (ModuleNotFoundError"),
        ("{m}:no_such_name", None, "expected module:name"),
        ("{m}:number", None, "is int; expected a callable"),
        ("{m}:two", None, "returns 2 outputs (0, 1) and no output was named. Name one by --output."),
        ("{m}:named", "Effusion", "returns 2 outputs (Mass, Nodule) and output 'Effusion' is none of them"),
        ("{m}:misnamed", "Mass", "returns 2 outputs but names 3 labels"),
        ("{m}:fewer", None, "returns shape (2,) for 3 films; expected (3,) or (3, outputs)"),
        ("{m}:nan", None, "returns nan for {p}; expected a probability from 0 to 1."),
        ("{m}:logits", None, "returns 3 for {p0}; expected a probability from 0 to 1. Apply a sigmoid"),
        ("{m}:broken", None, "fails on 3 films of shape (20, 20) from {p0}: ValueError: no such layer"),
        ("missing.onnx", None, "missing.onnx does not exist; expected an ONNX file."),
        ("no/folder", None, "classifier.json does not exist; expected a folder written by Classifier.save"),
    ],
)
def test_what_cannot_be_tested_gets_one_sentence(module, paths, where, output, words):
    with pytest.raises(ModelError) as raised:
        load_tested(where.format(m=module), output).probabilities(paths)
    message = str(raised.value)
    assert words.format(p=paths[1], p0=paths[0]) in message and "\n" not in message


def test_a_classifiers_folder_brings_labels_and_thresholds(tmp_path, paths):
    record = ClassifierRecord("small", 32, (0.5,), (0.2,), ("Mass", "Nodule"), 0, thresholds=(0.3, 0.7))
    classifier = Classifier(build_network("small", 2, seed=0), record)
    classifier.save(tmp_path / "model")
    model = load_tested(tmp_path / "model", "Nodule")
    assert (
        model.threshold == 0.7 and load_tested(tmp_path / "model", "Nodule", threshold=0.1).threshold == 0.1
    )
    assert model.probabilities(paths[:3]) == pytest.approx(classifier.predict(paths[:3])[:, 1], abs=1e-5)


def onnx_file(path, shape):
    """The mean of a film, as a network in a file."""
    from onnx import TensorProto, checker, helper, save

    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)]
    given, returned = (helper.make_tensor_value_info(*v) for v in (("x", TensorProto.FLOAT, shape), ("y", TensorProto.FLOAT, ["N"])))  # fmt: skip
    graph = helper.make_graph(nodes, "mean", [given], [returned])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return path


def test_an_onnx_file_gets_squares_in_0_to_1_over_its_channels(tmp_path, paths):
    model = load_tested(onnx_file(tmp_path / "mean.onnx", ["N", 3, 16, 16]))
    found = model.probabilities(paths)
    assert found[:3] == pytest.approx([0, 0.2, 1], abs=1 / 255)
    assert found[3] == pytest.approx(0.4 / 3, abs=0.02), "10 x 30 is padded with black to 30 x 30"


def test_an_onnx_file_that_takes_something_else_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected one input \\(N, C, H, W\\) with fixed C, H and W"):
        load_tested(onnx_file(tmp_path / "free.onnx", ["N", 3, "H", "W"]))
    with pytest.raises(ModelError, match="takes films of 16 x 24; expected squares"):
        load_tested(onnx_file(tmp_path / "wide.onnx", ["N", 3, 16, 24]))
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelError, match=r"text\.onnx cannot be loaded"):
        load_tested(tmp_path / "text.onnx")


def test_a_model_made_by_hand_needs_no_loading(paths):
    assert TestedModel("mean", lambda films: films.mean((1, 2)), threshold=0.1).says(paths).sum() == 3


def test_a_folder_of_timms_is_read_as_timm_reads_it(tmp_path, paths):
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(0)
    network = timm.create_model(
        "resnet10t", num_classes=2, pretrained_cfg_overlay={"input_size": (3, 64, 64)}
    ).eval()
    save_for_hf(network, tmp_path / "timm", {"label_names": ["Mass", "Nodule"]}, safe_serialization=True)
    model = load_tested(tmp_path / "timm", "Nodule")
    assert model.labels == ("Mass", "Nodule") and load_tested(tmp_path / "timm", names=("a", "b")).labels == (
        "a",
        "b",
    )
    data = timm.data.resolve_model_data_config(network)
    x = (torch.tensor([0, 51, 255])[:, None] / 255 - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    with torch.inference_mode():
        expected = network(x[:, :, None, None].expand(-1, -1, 64, 64)).sigmoid()
    assert model.table(paths[:3], model.labels) == pytest.approx(expected.numpy(), abs=1e-5)
    (tmp_path / "timm" / "model.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match=r"timm cannot be loaded by timm \(SafetensorError"):
        load_tested(tmp_path / "timm")
    (tmp_path / "timm" / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"pickled weights are not opened. Write timm's with timm.models.save_for_hf"
    ):
        load_tested(tmp_path / "timm")


def test_torchxrayvisions_weights_are_read_as_it_reads_them_and_never_fetched(tmp_path, paths, monkeypatch):
    import torch
    import torchxrayvision as xrv

    name = "densenet121-res224-nih"
    monkeypatch.setattr(xrv.utils, "get_cache_dir", lambda: str(tmp_path))
    with pytest.raises(
        ModelError, match=r"\.pt does not exist; TorchXRayVision's weights are not fetched here"
    ):
        load_tested(f"xrv:{name}")
    with pytest.raises(
        InputError, match=r"TorchXRayVision's model is 'densenet121-res224-nhi'; .* Did you mean"
    ):
        load_tested("xrv:densenet121-res224-nhi")
    file = tmp_path / xrv.models.model_urls[name]["weights_url"].rsplit("/", 1)[1]
    file.write_text("no pickle")
    with pytest.raises(ModelError, match="is not what TorchXRayVision calls densenet121-res224-nih"):
        load_tested(f"xrv:{name}")
    torch.manual_seed(0)
    torch.save(xrv.models.DenseNet(num_classes=18), file)
    model = load_tested(f"xrv:{name}")
    wide = np.zeros((10, 30), np.float32)
    wide[:, 10:20] = 0.2
    write_png(wide, tmp_path / "wide.png")
    film = torch.from_numpy(xrv.utils.normalize(np.full((1, 1, 224, 224), 51), 255))
    with torch.inference_mode():
        expected = xrv.models.DenseNet(weights=name)(film)
    found = model.table([paths[1], str(tmp_path / "wide.png")], model.labels)
    assert found == pytest.approx(np.repeat(expected.numpy(), 2, 0), abs=1e-5), "the central square"
