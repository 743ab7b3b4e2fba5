"""A run of small films whose editor costs nothing, in this process or in one that can be killed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "stub_run.py"


@pytest.fixture(scope="session")
def stub_run():
    spec = importlib.util.spec_from_file_location("stub_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.stub_run


@pytest.fixture(scope="session")
def start_stub_run():
    def start(out, n, *rest) -> subprocess.Popen:
        words = [sys.executable, str(SCRIPT), str(out), str(n), *map(str, rest)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="session")
def bytes_of():
    """Every file of a dataset folder: its name and its bytes."""

    def read(folder) -> dict[str, bytes]:
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    return read
