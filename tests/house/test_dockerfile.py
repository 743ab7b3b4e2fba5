"""The Dockerfile names what pyproject.toml and the Makefile name; it is not built here."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def words(instruction: str) -> list[str]:
    return [line.removeprefix(instruction).strip() for line in LINES if line.startswith(f"{instruction} ")]


def test_torch_is_the_pair_of_the_makefile():
    pinned = re.search(r"^TORCH := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert pinned and f"pip install {pinned[1]}" in words("RUN")


def test_python_is_one_that_the_package_takes():
    lowest = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    image = re.match(r"python:(\d+)\.(\d+)-slim", words("FROM")[0])
    assert image and (int(image[1]), int(image[2])) >= lowest


def test_every_extra_but_that_for_development_is_installed():
    named = re.search(r'pip install "\.\[(.+?)\]"', "\n".join(words("RUN")))
    assert named and set(named[1].split(",")) == set(PROJECT["optional-dependencies"]) - {"dev"}


def test_what_is_copied_is_there():
    sources = {source for line in words("COPY") for source in line.split()[:-1]}
    assert sources and all((ROOT / source).exists() for source in sources)
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "src"}
    assert needed <= sources, "the package cannot be built without"


def test_the_image_runs_the_command_as_nobody_special():
    last = LINES[max(i for i, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert last[0] == "FROM base AS run" and "USER synthorax" in last
    assert 'ENTRYPOINT ["synthorax"]' in last and "synthorax" in PROJECT["scripts"]
    assert not any("chromium" in line for line in last)
