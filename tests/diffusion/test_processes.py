"""Two processes train as one: a processor each, gloo between them, torch's launcher, the real command."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from synthorax.diffusion import model, new_models, train_autoencoder, train_diffusion
from synthorax.diffusion.processes import join
from synthorax.errors import InputError

#: Largest difference of a weight between one process and two in float32; one step at full rate moves weights by 4e-4 and more.
BOUND = 2e-5


@pytest.fixture(scope="module")
def trained(tiny, training_manifest, tmp_path_factory):
    """Folders of the same trainings by one process, two, two of which one was killed, and one that goes on from these."""
    place = tmp_path_factory.mktemp("processes")
    settings = {
        "start": str(tiny.pipeline),
        "train_text": True,
        "accumulate": 2,
        "checkpoint_every": 2,
        "steps": 4,
    }
    diffusion = tiny.diffusion.model_copy(update=settings)
    odd = tiny.autoencoder.model_copy(update={"batch_size": 3})
    for name, config in {"autoencoder": tiny.autoencoder, "diffusion": diffusion, "odd": odd}.items():
        (place / f"{name}.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))

    def two(step: int) -> subprocess.CompletedProcess:
        words = ["train", "diffusion", place / "diffusion.yaml", "--films", training_manifest]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        script = [Path(__file__).with_name("one_of_two.py"), place, str(step)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [*launcher, *script, *words, "--out", place / "diffusion"]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    killed = two(3)
    assert (place / "diffusion" / "state.pt").is_file(), killed.stderr
    for name in ("apart-0", "apart-1", "one goes on"):
        shutil.copytree(place / "diffusion", place / name)
    (place / "apart-1" / "state.pt").unlink()
    resumed = two(0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (model, new_models, train_autoencoder):
            patch.setattr(module, "compute_dtype", lambda *_: torch.float32)
        train_autoencoder.train_autoencoder(tiny.autoencoder, [training_manifest], place / "one autoencoder")
        for name in ("one", "one goes on"):
            train_diffusion.train_diffusion(diffusion, [training_manifest], place / name)
    return SimpleNamespace(place=place, killed=killed, resumed=resumed)


@pytest.mark.parametrize(
    ("of_one", "other"),
    [("one autoencoder", "autoencoder"), ("one", "diffusion"), ("one", "one goes on")],
    ids=["autoencoder by two", "diffusion by two, killed once", "begun by two, ended by one"],
)
def test_weights_do_not_depend_on_the_number_of_processes(trained, of_one, other):
    one, two = (torch.load(trained.place / name / "state.pt", weights_only=True) for name in (of_one, other))
    assert one["step"] == two["step"] > 3
    for part in ("module", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=BOUND)


def rows_of(log: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(log.read_text().splitlines()))


@pytest.mark.parametrize(("of_one", "of_two"), [("one autoencoder", "autoencoder"), ("one", "diffusion")])
def test_the_log_is_of_all_rows_and_written_once(trained, of_one, of_two):
    one, two = (rows_of(trained.place / name / "log.csv") for name in (of_one, of_two))
    assert len(one) == 1 and one[0]["step"] == two[0]["step"] and len(two) == 1
    for name, value in one[0].items():
        assert float(two[0][name]) == pytest.approx(float(value), rel=1e-4), name


def test_only_the_first_process_writes(trained):
    """The others fail where they try, so that the second launch could not have ended well."""
    assert trained.resumed.returncode == 0, trained.resumed.stderr
    assert trained.resumed.stdout.split() == [str(trained.place / "diffusion" / "pipeline")]
    assert "a process that is not the first writes" not in trained.killed.stderr
    assert (trained.place / "diffusion" / "pipeline" / "model_index.json").is_file()


def test_the_killed_launch_left_the_checkpoint_of_its_last_even_step(trained):
    assert trained.killed.returncode != 0 and "SIGKILL" in trained.killed.stderr
    state = torch.load(trained.place / "apart-0" / "state.pt", weights_only=True)
    assert state["step"] == 2


def test_rows_that_cannot_be_shared_out_are_refused(trained):
    message = "error: batch_size is 3, which 2 processes cannot share equally; make it a multiple of 2."
    assert trained.killed.stderr.count(message) == 2


def test_folders_that_are_not_shared_are_refused(trained):
    assert "is at step 2, 0 for one process and another; give an --out that all machines share." in trained.resumed.stderr  # fmt: skip


def test_tensorboard_shows_losses_and_the_preview(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.place / "diffusion" / "tensorboard")).Reload()
    assert {"loss", "gradient_norm"} == set(events.Tags()["scalars"]) and events.Tags()["images"] == [
        "preview"
    ]
    row, *_ = rows_of(trained.place / "diffusion" / "log.csv")
    assert events.Scalars("loss")[0].value == pytest.approx(float(row["loss"]), rel=1e-5)


@pytest.mark.parametrize(
    ("device", "gpus", "processes", "message"),
    [
        ("gpu", 1, 1, "device is 'gpu'; expected one of auto, cpu, cuda."),
        ("cuda", 0, 1, "device is cuda, but no GPU answers"),
        ("auto", 2, 4, "4 processes were started on a machine with 2 GPUs"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, device, gpus, processes, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    with pytest.raises(InputError, match=message):
        join(device, 4)


def test_the_package_is_a_module_that_launchers_can_start():
    done = subprocess.run(
        [sys.executable, "-m", "synthorax", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("synthorax ")
