"""A run killed (kill -9) at random moments and given again, against an undisturbed one: `synthorax edit`, or the stub run.

python benchmarks/kill_resume.py FOLDER 50 edit|stub

Moments are drawn uniformly over the four seconds after a start has opened the run folder: reading films, editing, writing,
entering, and the last lines alike. Each start is a fork of this process, which has done the imports (they write nothing).
"""

import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from stub_run import stub_run

from synthorax.cli import run
from synthorax.dataset import write_png
from synthorax.diffusion import load_model
from synthorax.runs.checking import status, verify
from synthorax.seeds import generator

N_FILMS = 120
FORK = multiprocessing.get_context("fork")


def _quietly(words: list[str]) -> None:
    """What a start does."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    if words[0] == "stub":
        stub_run(Path(words[1]), 4000, 32, 0.2)
    else:
        sys.exit(run(words))


def start(*words: object):
    process = FORK.Process(target=_quietly, args=([str(word) for word in words],))
    process.start()
    return process


def must(*words: object) -> None:
    """Run a command to its end."""
    process = start(*words)
    process.join()
    if process.exitcode:
        raise SystemExit(f"failed: {' '.join(map(str, words))}")


def prepare(folder: Path) -> None:
    """Films of smooth shapes with reports, their concepts, and a plan."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    lines = ["file_name,report"]
    for i in range(N_FILMS):
        phase = generator("kill", i).uniform(0, 1)
        write_png(0.5 + 0.3 * np.cos(3 * x + phase) * np.cos(2 * y), folder / "films" / f"{i}.png")
        lines.append(f"{i}.png,{'Large left effusion.' if i % 2 else 'Cardiomegaly.'}")
    (folder / "films" / "films.csv").write_text("\n".join(lines) + "\n")
    must("studies", "import", folder / "films", "--format", "folder", "--out", folder / "studies.parquet")
    must("concepts", "annotate", folder / "studies.parquet", "--out", folder / "concepts.parquet")
    must(
        "perturb",
        folder / "concepts.parquet",
        "--out",
        folder / "plan.parquet",
        "--types",
        "insertion",
        "--per-type",
        2,
    )


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in sorted((folder / "synthetic").rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def main(folder: Path, n_kills: int, kind: str) -> None:
    if kind == "edit":
        torch.set_num_threads(1)  # a fork has no threads of its parent
        load_model()  # imports
        prepare(folder)

    def command(out: str) -> list[object]:
        if kind == "stub":
            return ["stub", folder / out]
        return ["edit", folder / "plan.parquet", "--studies", folder / "studies.parquet", "--out", folder / out,
                "--num-inference-steps", 3, "--batch-size", 1]  # fmt: skip

    must(*command("undisturbed"))
    rng, n_midway, log = generator("kill -9"), 0, folder / "killed" / "run.log"
    for _ in range(n_kills):
        size = log.stat().st_size if log.exists() else 0
        process = start(*command("killed"))
        while process.is_alive() and not (log.exists() and log.stat().st_size > size):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 4))
        n_midway += process.is_alive()
        process.kill()
        process.join()
    print(
        f"{n_kills} kills, {n_midway} of a process at work; before the last start: {status(folder / 'killed')}",
        flush=True,
    )
    must(*command("killed"))
    same = contents(folder / "killed") == contents(folder / "undisturbed")
    print(f"{len(contents(folder / 'undisturbed'))} files, equal byte for byte: {same}; problems: {verify(folder / 'killed').problems}")  # fmt: skip
    raise SystemExit(not same)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
