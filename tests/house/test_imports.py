"""The rooms import one way, and the package opens without its heavy dependencies."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import synthorax

SOURCE = Path(synthorax.__file__).parent
ORDER = ["studies", "concepts", "coverage", "perturbations", "phantom", "classifiers", "quality", "diffusion"]
ORDER += ["editing", "generation", "downstream", "stress", "readers", "runs", "proof", "workbench", "cli"]
ROOMS = [room for room in ORDER if (SOURCE / room).is_dir()]
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "timm", "torchxrayvision", "sklearn", "skimage"}


def imported_rooms(path: Path) -> set[str]:
    """Rooms of synthorax that a file imports anywhere, relative imports resolved."""
    package = ["synthorax", *path.relative_to(SOURCE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("synthorax.") and name.count(".")}
    return found & set(ORDER)


def test_every_folder_is_a_known_room():
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(ORDER), (
        "a new room needs its place in the order of imports (and in docs/decisions.md)"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room):
    allowed = set(ORDER) if room == "cli" else set(ORDER[: ORDER.index(room) + 1])
    wrong = {
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in (SOURCE / room).rglob("*.py")
        for name in imported_rooms(path) - allowed
    }
    assert not wrong


def test_shared_modules_import_no_room():
    wrong = {
        path.name: rooms
        for path in SOURCE.glob("*.py")
        if path.name != "__main__.py" and (rooms := imported_rooms(path))
    }
    assert not wrong


def test_the_walk_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    path = tmp_path / "studies" / "film.py"
    path.parent.mkdir()
    path.write_text(
        "import synthorax.runs\nfrom synthorax import quality\nfrom ..editing.masks import x\n"
        "def f():\n import synthorax.cli.x\n"
    )
    assert imported_rooms(path) == {"runs", "quality", "editing", "cli"}


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_of_a_room_resolve(room):
    package = importlib.import_module(f"synthorax.{room}")
    assert package.__doc__, "a room says in its first line what it is"
    missing = [name for name in getattr(package, "__all__", []) if not hasattr(package, name)]
    assert not missing


@pytest.mark.parametrize(
    "statement",
    [
        "import synthorax",
        *(f"import synthorax.{room}" for room in ROOMS),
        "from synthorax.cli import run; run(['--help'])",
    ],
)
def test_opens_without_heavy_dependencies(statement):
    code = f"import sys\n{statement}\nprint(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_help_answers_at_once():
    before = os.times()
    subprocess.run([sys.executable, "-m", "synthorax.cli", "--help"], capture_output=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1, "seconds of processor, which a busy machine does not stretch; 0.4 where it was measured"


def test_every_module_has_a_docstring():
    modules = [info.name for info in pkgutil.walk_packages([str(SOURCE)], "synthorax.")]
    assert modules
    files = [path for path in SOURCE.rglob("*.py") if path.read_text(encoding="utf-8").strip()]
    silent = [
        str(path.relative_to(SOURCE))
        for path in files
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent
