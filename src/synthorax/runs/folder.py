"""A run's folder and its fixed contract: config, ledger, dataset, results, report.

config.json   what the run was started with; the same command goes on, another is refused
ledger.sqlite items done and refused
cohort/       virtual patients (demo only)
synthetic/    the dataset: images, masks, counterfactuals, metadata.parquet
results.json  every figure; report.html shows it
run.log       when it started and went on
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthorax import __version__
from synthorax.errors import RunError
from synthorax.files import atomic
from synthorax.runs.ledger import Ledger


@dataclass(frozen=True)
class RunFolder:
    """An opened run."""

    path: Path
    config: dict[str, Any]
    ledger: Ledger

    @classmethod
    def open(cls, path: Path | str, config: dict[str, Any]) -> "RunFolder":
        """Start a run, or go on with one of the same config.

        Raises:
            RunError: the folder holds a run of another config, or of another version.
        """
        path = Path(path)
        wanted = json.loads(json.dumps({"software_version": __version__, **config}))
        file = path / "config.json"
        if file.is_file():
            there = json.loads(file.read_text())
            for key in sorted(wanted.keys() | there.keys()):
                if wanted.get(key) != there.get(key):
                    raise RunError(
                        f"{path} holds a run with {key} = {there.get(key)}, not {wanted.get(key)}. "
                        "Give the command it was started with, or another --out."
                    )
        else:
            with atomic(file) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1))
        with (path / "run.log").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} started or went on\n")
        return cls(path, wanted, Ledger(path / "ledger.sqlite"))

    @property
    def synthetic(self) -> Path:
        return self.path / "synthetic"
