"""Join the shards of a run, made apart, to what one process would have made."""

import os
import re
import shutil
from pathlib import Path

import polars as pl

from synthorax.errors import RunError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.runs.folder import RunFolder, read_config
from synthorax.runs.items import summary, write_dataset
from synthorax.runs.judged import TRIES, write_judged


def merge(path: Path) -> str:
    """Join ``path``/shards/*-of-N into ``path``: images (hard links where possible), ledger, metadata.

    Killed and given again it goes on. The shards stay; delete them when the merged run verifies.

    Returns:
        A line of counts that add up.

    Raises:
        RunError: a shard is missing, unfinished, in use, or of another command.
    """
    shards = _shards(path)
    configs = {folder: read_config(folder) for folder in shards}
    first = configs[shards[0]]
    for folder, config in configs.items():
        for key in sorted((first.keys() | config.keys()) - {"shard"}):
            if config.get(key) != first.get(key):
                raise RunError(
                    f"{folder} was made with {key} = {config.get(key)}, {shards[0].name} with {first.get(key)}; "
                    "shards of one run differ in --shard alone. Make it again."
                )
    opened = [RunFolder.reopen(folder) for folder in shards]
    for shard in opened:
        pending = sum(states["pending"] for states in shard.ledger.counts().values())
        if pending or not shard.ledger.counts():
            raise RunError(
                f"{shard.path} is not finished ({pending} items pending); give its command again, then merge."
            )
    run = RunFolder.open(path, {key: value for key, value in first.items() if key != "shard"})
    for shard in opened:
        for dataset in (shard.synthetic, shard.path / TRIES):
            _link_files(dataset, run.path / dataset.name)
        shard.close()
    for index, folder in enumerate(shards, start=1):
        run.ledger.take(folder / "ledger.sqlite", index, len(shards))
    for stage in run.ledger.counts().keys() - {TRIES}:
        write_dataset(run, stage)
    write_judged(run)
    rejected = [pl.read_csv(file, infer_schema=False) for folder in shards if (file := folder / "rejected.csv").is_file()]  # fmt: skip
    if rejected:
        with atomic(path / "rejected.csv") as temporary:
            pl.concat(rejected).unique(["file_name"], maintain_order=True).write_csv(temporary)
    line = summary(run)
    run.close()
    return line


def _shards(path: Path) -> list[Path]:
    """All shards of a run, in order."""
    found = {}
    for folder in sorted((path / "shards").glob("*-of-*")):
        if matched := re.fullmatch(r"(\d+)-of-(\d+)", folder.name):
            found[(int(matched[1]), int(matched[2]))] = folder
    counts = {n for _, n in found}
    if len(counts) != 1:
        what = f"shards of {' and '.join(map(str, sorted(counts)))}" if counts else "no shards"
        raise RunError(f"{path / 'shards'} holds {what}; expected all 1-of-N to N-of-N of one run.")
    n = counts.pop()
    for index in range(1, n + 1):
        if (index, n) not in found:
            raise RunError(
                f"{path / 'shards'} lacks {index}-of-{n}; give the run's command with --shard {index}/{n}."
            )
    return [found[(index, n)] for index in range(1, n + 1)]


def _link_files(source: Path, target: Path) -> None:
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and file.name != "metadata.parquet"]
    for file in track(files, f"Merging {source.parent.name}", unit="files"):
        place = target / file.relative_to(source)
        if place.exists() or file.name.startswith("."):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # another file system, or one without links
            with atomic(place) as temporary:
                shutil.copyfile(file, temporary)
