"""CARS's protocol from nothing, once a session; other tests take the virtual patients and edits that it made."""

import pytest
import torch

from synthorax.cli import run


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cars(tmp_path_factory):
    """The folder of ``recipes run cars-paper --scale tiny``."""
    out = tmp_path_factory.mktemp("cars")
    assert run(["recipes", "run", "cars-paper", "--scale", "tiny", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def inputs(cars):
    """Manifest, concept table, and the folders of CARS's edits and CoRPA's films."""
    made = cars / "inputs"
    return (
        made / "studies.parquet",
        made / "concepts.parquet",
        [str(made / arm / "synthetic") for arm in ("cars", "corpa")],
    )
