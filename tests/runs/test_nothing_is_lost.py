"""A run that is killed, starved of disk, damaged, started twice or split ends as if nothing had happened, or says why."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthorax.cli import run as command
from synthorax.dataset import read_metadata
from synthorax.errors import InputError, RunError
from synthorax.runs.checking import repair, status, verify
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import Item, Shard, make_items, summary
from synthorax.runs.merging import merge
from synthorax.seeds import generator

N = 60
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "stub_run.py"


@pytest.fixture(scope="module")
def undisturbed(stub_run, bytes_of, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    stub_run(out, N)
    return bytes_of(out / "synthetic")


def _ends(process):
    _, said = process.communicate()
    assert process.returncode == 0, said


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    start_stub_run, undisturbed, bytes_of, tmp_path
):
    rng = generator("kills")
    n_done = []
    for _ in range(6):
        process = start_stub_run(tmp_path, N, 16, 0.05)
        ledger, began = tmp_path / "ledger.sqlite", time.monotonic()
        while not ledger.exists() and process.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        process.communicate()
        n_done.append(status(tmp_path).get("films", {"done": 0})["done"])
    assert n_done == sorted(n_done), "nothing that was finished is lost"
    _ends(start_stub_run(tmp_path, N, 16))
    assert bytes_of(tmp_path / "synthetic") == undisturbed


def test_shards_made_apart_and_merged_equal_one_run(stub_run, undisturbed, bytes_of, tmp_path):
    for shard in ("2/3", "1/3", "3/3"):
        stub_run(tmp_path, N, shard=shard)
    assert merge(tmp_path) == f"films: {N} planned = {N} done + 0 refused + 0 pending"
    assert bytes_of(tmp_path / "synthetic") == undisturbed
    assert verify(tmp_path).problems == ()
    assert merge(tmp_path).startswith("films: 60 planned"), "given again, it changes nothing"
    assert bytes_of(tmp_path / "synthetic") == undisturbed


def test_a_missing_or_foreign_shard_is_named(stub_run, tmp_path):
    with pytest.raises(RunError, match=r"holds no shards; expected all 1-of-N to N-of-N"):
        merge(tmp_path)
    stub_run(tmp_path, N, shard="1/2")
    with pytest.raises(RunError, match=r"lacks 2-of-2; give the run's command with --shard 2/2"):
        merge(tmp_path)
    stub_run(tmp_path, N + 1, shard="2/2")
    with pytest.raises(RunError, match=r"was made with n = 61, 1-of-2 with 60"):
        merge(tmp_path)


def test_an_unfinished_shard_is_not_merged(stub_run, tmp_path):
    for shard in ("1/2", "2/2"):
        stub_run(tmp_path, N, shard=shard)
    run = RunFolder.reopen(tmp_path / "shards" / "2-of-2")
    run.ledger.forget("films", ["0000001"])
    run.close()
    with pytest.raises(RunError, match=r"2-of-2 is not finished \(1 items pending\); give its command again"):
        merge(tmp_path)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_wrong_shard_gets_one_sentence(text):
    with pytest.raises(InputError, match="expected I/N with I from 1 to N"):
        Shard.parse(text)


def test_a_second_process_on_the_same_run_is_refused(start_stub_run, undisturbed, bytes_of, tmp_path):
    first = start_stub_run(tmp_path, N, 16, 0.5)
    while not (tmp_path / "ledger.sqlite").exists() and first.poll() is None:
        time.sleep(0.02)
    second = start_stub_run(tmp_path, N, 16)
    _, said = second.communicate()
    assert second.returncode and f"is in use by process {first.pid} on " in said
    assert set(status(tmp_path)) <= {"films"}, "looking is allowed"
    first.kill()
    first.communicate()
    _ends(start_stub_run(tmp_path, N, 16))  # a killed process holds nothing
    assert bytes_of(tmp_path / "synthetic") == undisturbed


def test_broken_and_missing_images_are_found_and_made_again(
    stub_run, undisturbed, bytes_of, tmp_path, capsys
):
    stub_run(tmp_path, N)
    first, second, third = sorted((tmp_path / "synthetic" / "films").rglob("*.png"))[:3]
    first.write_bytes(first.read_bytes()[:40])
    second.unlink()
    (third.parent / ".half.77.png").write_bytes(b"half")
    assert command(["runs", "verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "its SHA-256 differs" in said and "is missing" in said and f"{N} files, 2 problems" in said
    assert command(["runs", "repair", str(tmp_path)]) == 0
    stub_run(tmp_path, N)
    assert bytes_of(tmp_path / "synthetic") == undisturbed
    assert verify(tmp_path).problems == () and repair(tmp_path) == []


@pytest.mark.parametrize("damage", ["overwritten", "cut", "no database", "deleted"])
def test_a_damaged_ledger_loses_no_image(stub_run, undisturbed, bytes_of, tmp_path, damage):
    stub_run(tmp_path, N)
    ledger = tmp_path / "ledger.sqlite"
    data = ledger.read_bytes()
    if damage == "deleted":
        ledger.unlink()
    else:
        middle = data[:4096] + b"\xaa" * 8192 + data[12288:]
        ledger.write_bytes({"overwritten": middle, "cut": data[:5000], "no database": b"x" * 5000}[damage])
    assert verify(tmp_path).problems
    if damage != "deleted":
        assert "damaged ledger aside" in repair(tmp_path)[-1]
    changed = {file: file.stat().st_mtime_ns for file in (tmp_path / "synthetic").rglob("*.png")}
    stub_run(tmp_path, N)
    assert bytes_of(tmp_path / "synthetic") == undisturbed
    assert changed == {file: file.stat().st_mtime_ns for file in changed}, "adopted, not made again"
    assert verify(tmp_path).problems == ()


def test_a_damaged_ledger_is_refused_with_the_remedy(stub_run, tmp_path):
    stub_run(tmp_path, N)
    (tmp_path / "ledger.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(
        RunError, match=r"ledger\.sqlite cannot be used \(file is not a database\); 'synthorax runs repair"
    ):
        stub_run(tmp_path, N)


def test_a_ledger_of_an_older_version_names_the_remedy(tmp_path):
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.execute("CREATE TABLE items (stage TEXT, item TEXT, reason TEXT, row TEXT)")
    old.close()
    with pytest.raises(RunError, match=r"has ledger version 1; this synthorax reads 2\. Finish the run with"):
        RunFolder.open(tmp_path, {"kind": "stub"})


def test_a_damaged_config_names_the_remedy(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json is damaged .* delete it and give"):
        RunFolder.open(tmp_path, {"kind": "stub"})


def _on_small_disk(tmp_path, script: str) -> subprocess.CompletedProcess:
    """The shell script in a private name space with a disk of 1 MB at $DISK; skipped where that is not allowed."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    words = ["unshare", "-Urm", "sh", "-c", f"mount -t tmpfs -o size=600k none {tmp_path} && ({script})"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"DISK": str(tmp_path)})
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no private file systems here")
    return done


def test_a_full_disk_is_said_and_survived(undisturbed, tmp_path):
    run = f"{sys.executable} {SCRIPT} $DISK/run {N}"
    script = (
        f"dd if=/dev/zero of=$DISK/filler bs=1k count=350 2>/dev/null; {run}; rm $DISK/filler; "
        f"{run} && cd $DISK/run/synthetic && find . -type f | sort | xargs sha256sum"
    )
    done = _on_small_disk(tmp_path, script)
    assert "RunError" in done.stderr and ("No space left" in done.stderr or "is full" in done.stderr)
    listed = dict(reversed(line.split()) for line in done.stdout.splitlines() if line.count("  ./") == 1)
    assert {name.removeprefix("./"): digest for name, digest in listed.items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in undisturbed.items()
    }


def test_a_read_only_folder_is_refused_with_one_sentence(tmp_path):
    run = f"{sys.executable} {SCRIPT} $DISK/run 4"
    done = _on_small_disk(tmp_path, f"{run}; mount -o remount,ro $DISK; {run}")
    assert "Read-only file system" in done.stderr and "make" in done.stderr and "RunError" in done.stderr


def _items(n):
    return [
        Item(f"{i}", {"file_name": f"films/{i}.png", "image_id": f"{i}", "seed": i}, {}) for i in range(n)
    ]


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_skipped(tmp_path, capsys):
    asked = []

    def make(some, batch_size):
        asked.append((len(some), batch_size))
        if batch_size > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return [np.zeros((4, 4)) for _ in some]

    run = RunFolder.open(tmp_path, {"kind": "stub"})
    rows = list(make_items(run, "films", _items(5), make))
    assert [row["image_id"] for row in rows] == list("01234")
    assert asked == [(5, 8), (4, 4), (2, 2), (2, 2), (1, 2)]
    assert "going on with --batch-size 2" in capsys.readouterr().err
    events = [json.loads(line)["event"] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert events == ["opened", "halved", "halved", "finished"]


def test_one_film_too_large_names_the_flags(tmp_path):
    def make(some, batch_size):
        raise MemoryError

    run = RunFolder.open(tmp_path, {"kind": "stub"})
    with pytest.raises(RunError, match=r"does not suffice for one film; take --dtype bfloat16"):
        make_items(run, "films", _items(5), make)


def test_counts_add_up_and_refused_items_are_tried_again(tmp_path):
    readable = {"0", "2"}

    def make(some, batch_size):
        return [
            np.zeros((4, 4)) if item.item_id in readable else InputError("the film is blank.")
            for item in some
        ]

    run = RunFolder.open(tmp_path, {"kind": "stub"})
    make_items(run, "films", _items(3), make)
    assert summary(run) == "films: 3 planned = 2 done + 1 refused + 0 pending"
    assert run.ledger.refused(["films"]) == [{"stage": "films", "item": "1", "reason": "the film is blank."}]
    readable.add("1")
    rows = make_items(run, "films", _items(3), make)
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert summary(run) == "films: 3 planned = 3 done + 0 refused + 0 pending"


def test_the_manifest_lists_what_was_made(stub_run, tmp_path):
    stub_run(tmp_path, 5)
    assert read_metadata(tmp_path / "synthetic")["seed"].to_list() == [0, 1, 2, 3, 4]
