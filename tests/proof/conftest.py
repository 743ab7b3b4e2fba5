"""The inputs of the tiny scale, made once: virtual patients of two sites, edits, whole films."""

import pytest
import torch

from synthorax.proof.tiny import tiny_inputs


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Manifest, concept table, and the folders of CARS's edits and CoRPA's films."""
    return tiny_inputs(tmp_path_factory.mktemp("inputs"))
