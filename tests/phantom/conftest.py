"""One atlas and a few patients for the whole session; on a fresh machine the atlas is built here once."""

import pytest

from synthorax.phantom import Atlas, VirtualPatient


@pytest.fixture(scope="session")
def atlas():
    return Atlas.load()


@pytest.fixture(scope="session")
def patient(atlas):
    return VirtualPatient(301, atlas, tilt_deg=0.0, rotation_deg=0.0)
