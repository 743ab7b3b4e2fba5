"""A run of small films with a script in its texts, the real server on it, and the installed browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthorax.concepts import Vocabulary, annotate_studies
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.readers import PROTOCOLS, create_study
from synthorax.runs import measuring, results
from synthorax.seeds import generator

INJECTED = "<script>document.title='taken'</script>"


def make_run(folder: Path, n: int) -> Path:
    """A run with ``n`` patients, each with a source, an edit of it, and a film from text."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    rows, studies = [], []
    vocabulary = Vocabulary.load()
    for i in range(n):
        rng = generator("bench film", i)
        source = (0.5 + 0.3 * np.cos(3 * x + rng.uniform(0, 1)) * np.cos(2 * y)).astype(np.float32)
        disc = (x - 0.4) ** 2 + y**2 < 0.05
        films = {"sources": source, "cars": np.where(disc, 0.95, source), "corpa": source[:, ::-1]}
        for name, film in films.items():
            write_png(film.astype(np.float32), folder / f"synthetic/{name}/i{i}.png", Secret=name)
        write_png(disc, folder / f"synthetic/masks/i{i}.png")
        studies.append({"study_id": f"s{i}", "patient_id": f"p{i}", "image_id": f"i{i}", "report": "Normal chest."})  # fmt: skip
        for method, name in (("radedit", "cars"), ("text-to-image", "corpa")):
            rows.append({
                "file_name": f"{name}/i{i}.png", "study_id": f"s{i}", "patient_id": f"p{i}", "image_id": f"{name}-i{i}",
                "source_image_id": f"i{i}", "source_file_name": f"sources/i{i}.png",
                "edit_mask_file_name": f"masks/i{i}.png" if name == "cars" else None,
                "concepts_before": ["unremarkable"], "concepts_after": ["mass"], "concepts_unknown": [],
                "labels_after": ["Suspicious Malignancy"], "perturbation_type": "insertion" if i % 2 else "deletion",
                "prompt": f"Chest film. Mass {INJECTED}", "negative_prompt": "Chest film.", "seed": i, "method": method,
                "is_synthetic": True, "is_simulated": False,
            })  # fmt: skip
    write_metadata(metadata_frame(rows), folder / "synthetic")
    table = annotate_studies(pl.DataFrame(studies), vocabulary)
    found = results.Results(
        title=f"a run {INJECTED}", kind="run", is_simulated=False, cohort=measuring.cohort_section(table, vocabulary, "films", 1),
        coverage=measuring.coverage_section(table, rows, vocabulary),
        provenance=results.Provenance(command="synthorax run", software_version="0"),
        rejected=[results.RejectedRow(row=3, file_name="x.png", reason=f"unreadable {INJECTED}")],
    )  # fmt: skip
    (folder / "results.json").write_text(found.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def run_template(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("bench") / "run", 30)


@pytest.fixture
def run(run_template, tmp_path):
    return Path(shutil.copytree(run_template, tmp_path / "run"))


class Server:
    """``synthorax serve`` in a process of its own, that can be killed and started again on the same port."""

    def __init__(self, run: Path) -> None:
        self.run = run
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "synthorax.cli", "serve", str(self.run), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            assert self.process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"{self.base}/static/icon.svg", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not answer within 30 s")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(run):
    serving = Server(run)
    yield serving
    serving.kill()


@pytest.fixture(scope="session")
def looked_at(run_template):
    """One server for the tests that change nothing."""
    serving = Server(run_template)
    yield serving
    serving.kill()


@pytest.fixture(scope="session")
def studies(run_template, tmp_path_factory):
    """One server, and a study of each protocol, for the tests that answer nothing."""
    run = Path(shutil.copytree(run_template, tmp_path_factory.mktemp("studies") / "run"))
    made = {
        name: create_study(run, run / f"readers/{name}.sqlite", name, cases=4, is_simulated=True)
        for name in PROTOCOLS
    }
    serving = Server(run)
    yield {name: f"{serving.base}/read/{study.links()[1]}" for name, study in made.items()}
    serving.kill()


@pytest.fixture(scope="session")
def browser():
    """The machine's Chromium, headless; SYNTHORAX_CHROMIUM names another one."""
    found = os.environ.get("SYNTHORAX_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here: install one (Debian: chromium) or name it in SYNTHORAX_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    """A page that fails the test on any script error or refused resource."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert faults == []
