"""Ledger and folder: what a run remembers."""

import pytest

from synthorax.errors import RunError
from synthorax.runs.folder import RunFolder
from synthorax.runs.ledger import Ledger


def test_what_is_entered_is_there_after_reopening(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.enter("cars", {"a": {"seed": 1}, "b": {"seed": 2}})
    ledger.refuse("cars", "c", "unreadable")
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.done("cars") == {"a": {"seed": 1}, "b": {"seed": 2}}
    assert again.done("corpa") == {}
    assert again.refused(["cars"]) == [{"stage": "cars", "item": "c", "reason": "unreadable"}]


def test_an_item_that_was_refused_can_be_done_later(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.refuse("cars", "a", "unreadable")
    ledger.enter("cars", {"a": {}})
    assert ledger.done("cars") == {"a": {}} and ledger.refused(["cars"]) == []


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    RunFolder.open(tmp_path, {"kind": "demo", "seed": 0})
    RunFolder.open(tmp_path, {"kind": "demo", "seed": 0})
    assert (tmp_path / "run.log").read_text().count("\n") == 2
    with pytest.raises(RunError, match=r"holds a run with seed = 0, not 1.*another --out"):
        RunFolder.open(tmp_path, {"kind": "demo", "seed": 1})
