"""Replicas on a Ray cluster: one is killed, and the run ends with the bytes of a run without Ray."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch

from synthorax.cli import run as command
from synthorax.errors import InputError, ModelError, RunError
from synthorax.runs.checking import status, verify
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import Drawing, Item, make_items
from synthorax.runs.on_ray import Replicas, refuse_unnamed, shares


@pytest.fixture(scope="module")
def edit_words(tiny, training_manifest, tmp_path_factory):
    """``synthorax edit`` of a plan of some thirty edits, without --out."""
    folder = tmp_path_factory.mktemp("plan")
    concepts, plan = folder / "concepts.parquet", folder / "plan.parquet"
    assert command(["concepts", "annotate", str(training_manifest), "--out", str(concepts)]) == 0
    assert command(["perturb", str(concepts), "--out", str(plan), "--per-type", "2"]) == 0
    return ["edit", str(plan), "--studies", str(training_manifest), "--model", str(tiny.pipeline),
            "--num-inference-steps", "12", "--batch-size", "2"]  # fmt: skip


def _events(out):
    log = out / "run.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def test_a_killed_replica_loses_nothing_and_changes_no_byte(edit_words, bytes_of, tmp_path):
    on_ray = subprocess.Popen(
        [sys.executable, "-m", "synthorax.cli", *edit_words, "--out", str(tmp_path / "ray"), "--ray", "local"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert command([*edit_words, "--out", str(tmp_path / "alone")]) == 0
    torch.set_num_threads(n_threads)
    killed = None
    while on_ray.poll() is None and killed is None:
        time.sleep(0.02)
        pids = [event["pid"] for event in _events(tmp_path / "ray") if event["event"] == "replica"]
        if len(pids) == 2 and status(tmp_path / "ray")["edits"]["done"] >= 2:
            killed = pids[0]
            os.kill(killed, signal.SIGKILL)
    said, error = on_ray.communicate()
    assert on_ray.returncode == 0, error
    events = _events(tmp_path / "ray")
    assert killed and [event["event"] for event in events].count("lost replica") == 1
    planned = status(tmp_path / "ray")["edits"]
    assert planned["done"] > 20 and planned["refused"] == planned["pending"] == 0
    assert f"edits: {planned['done']} planned = {planned['done']} done + 0 refused + 0 pending" in said
    assert bytes_of(tmp_path / "ray" / "synthetic") == bytes_of(tmp_path / "alone" / "synthetic")
    assert verify(tmp_path / "ray").problems == ()


@pytest.fixture(scope="module")
def replicas():
    def load():  # functions inside functions travel by value: workers do not know this file
        from dataclasses import make_dataclass

        return make_dataclass("Pen", ["pipeline"], frozen=True)("weights")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Replicas("local", load, "cpu") as found:
            yield found


@pytest.fixture
def made(replicas, tmp_path):
    """Eight items made by the replicas with a drawing function: the seeds of the rows, and the run's events."""
    items = [Item(f"{i}", {"file_name": f"films/{i}.png", "seed": i}, {}) for i in range(8)]

    def make(draw):
        run = RunFolder.open(tmp_path / "run", {"kind": "stub"})
        making = Drawing(lambda some: [item.row["seed"] for item in some], draw, None)
        rows = make_items(run, "films", items, making, batch_size=4, batches=replicas.batches)
        return [row["seed"] for row in rows], [event["event"] for event in _events(tmp_path / "run")]

    return make


def test_a_batch_that_does_not_fit_on_a_replica_is_halved(made, capsys):
    def draw(pen, seeds, batch_size):
        import numpy as np

        if len(seeds) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return [np.zeros((4, 4)) for _ in seeds]

    seeds, events = made(draw)
    assert seeds == list(range(8)) and events.count("halved") == 2
    assert "out of memory: going on with --batch-size 1" in capsys.readouterr().err


def test_a_slow_batch_is_repeated_by_an_idle_replica(made, tmp_path):
    marker = tmp_path / "slow"

    def draw(pen, seeds, batch_size):
        import time

        import numpy as np

        if 0 in seeds and not marker.exists():
            marker.touch()
            time.sleep(10)
        return [np.zeros((4, 4)) for _ in seeds]

    began = time.monotonic()
    seeds, events = made(draw)
    assert seeds == list(range(8)) and events.count("finished") == 1
    assert marker.exists() and time.monotonic() - began < 10


def test_an_item_that_ends_every_replica_ends_the_run_with_a_sentence(made):
    def draw(pen, seeds, batch_size):
        import os

        import numpy as np

        if 3 in seeds:
            os._exit(1)
        return [np.zeros((4, 4)) for _ in seeds]

    with pytest.raises(RunError, match=r"3 replicas were lost over 0 .*take a smaller --batch-size"):
        made(draw)


def test_what_the_model_says_is_wrong_reaches_the_user(made):
    def draw(pen, seeds, batch_size):
        from synthorax.errors import ModelError

        raise ModelError("films have shape (1, 2); tiny takes (N, 64, 64).")

    with pytest.raises(ModelError, match=r"tiny takes \(N, 64, 64\)"):
        made(draw)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "lcoal"])
def test_an_address_where_nobody_answers_gets_a_sentence(edit_words, tmp_path, capsys, address):
    assert command([*edit_words, "--out", str(tmp_path / "run"), "--ray", address]) == 2
    assert f"error: --ray is {address!r}, where nobody answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "device", "expected"),
    [
        ([{"CPU": 2.0}], "cpu", ({"num_cpus": 1}, 2)),
        ([{"CPU": 64.0}, {"CPU": 16.0}], "cpu", ({"num_cpus": 8}, 10)),
        ([{"CPU": 1.0}, {"memory": 1.0}], "cpu", ({"num_cpus": 1}, 1)),
        ([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}], "cuda", ({"num_gpus": 1, "num_cpus": 1}, 8)),
    ],
)  # fmt: skip
def test_a_replica_for_each_gpu_or_group_of_cores(nodes, device, expected):
    assert shares(nodes, device) == expected


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("cuda", "the Ray cluster has no GPU; take --device cpu"), ("cuda:1", "each replica sees one GPU")],
)
def test_a_device_that_ray_cannot_give_gets_a_sentence(device, sentence):
    with pytest.raises(InputError, match=sentence):
        shares([{"CPU": 2.0}], device)


def test_films_go_to_other_machines_only_where_the_cluster_is_named():
    machines = ["10.0.0.1", "10.0.0.2"]
    with pytest.raises(InputError, match=r"other machines \(10\.0\.0\.2\).*PhysioNet's.*--ray HOST:6379"):
        refuse_unnamed("auto", machines, "10.0.0.1")
    refuse_unnamed("10.0.0.1:6379", machines, "10.0.0.1")
    refuse_unnamed("auto", ["10.0.0.1"], "10.0.0.1")
