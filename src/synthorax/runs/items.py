"""The one loop of every long command: plan items, leave out what is done, make the rest, file by file, into the ledger.

An item's image depends on the item alone, not on its batch, so what a killed run left over is made in new batches. An
image carries the key of its item; one that stands there whole, but not in the ledger, is adopted.
"""

import gc
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from synthorax.dataset import metadata_frame, write_png
from synthorax.errors import InputError, RunError
from synthorax.files import sha256_of
from synthorax.progress import track
from synthorax.runs.folder import RunFolder
from synthorax.runs.ledger import STATES
from synthorax.runs.reviews import write_reviewed

#: Images at a time where the command does not say.
BATCH = 8


@dataclass(frozen=True)
class Item:
    """One image to make: its id, its metadata row (with ``file_name``), and the texts for its PNG."""

    item_id: str
    row: Mapping[str, object]
    text: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """What the image is made of, as a digest of the whole row."""
        return hashlib.sha256(json.dumps(dict(self.row), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Noted:
    """An image, and a sentence about it for the ledger."""

    image: np.ndarray
    note: str


#: What became of an item: its image, or in place of one that cannot be made the reason.
Made = np.ndarray | Noted | InputError
#: Makes the images of some items, at most ``batch_size`` at a time (second argument).
Make = Callable[[Sequence[Item], int], Sequence[Made]]


@dataclass(frozen=True)
class Drawing:
    """A :data:`Make` in two halves: what the items need is read here, the images are drawn where the model is.

    Attributes:
        read: what some items need, pixels included; can be pickled.
        draw: model, what was read, batch size -> images. A module's function, so that other processes find it.
        model: None where only other processes hold it.
        at_once: batches that it is given at once, where it does better with more in hand.
    """

    read: Callable[[Sequence[Item]], Any]
    draw: Callable[[Any, Any, int], Sequence[Made]]
    model: Any
    at_once: int = 1

    def __call__(self, items: Sequence[Item], batch_size: int) -> Sequence[Made]:
        return self.draw(self.model, self.read(items), batch_size)


@dataclass(frozen=True)
class Shard:
    """Every ``n``-th item, beginning with the ``index``-th (from 1); ``--shard I/N``."""

    index: int = 1
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """``2/8`` as a shard.

        Raises:
            InputError: not of that form, or out of range.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"--shard is {text!r}; expected I/N with I from 1 to N, e.g. 1/8 to 8/8.")
        return cls(int(found[1]), int(found[2]))

    def folder(self, out: Path) -> Path:
        """Where this shard's run lies; the run folder itself where there is one shard."""
        return out if self.n == 1 else out / "shards" / f"{self.index}-of-{self.n}"

    def of(self, items: Sequence) -> Sequence:
        return items[self.index - 1 :: self.n]


#: The whole of the work.
ONE = Shard()


def make_items(
    run: RunFolder,
    stage: str,
    items: Sequence[Item],
    make: Make,
    dataset: str = "synthetic",
    batch_size: int = BATCH,
    batches: "Batches | None" = None,
) -> Iterator[dict]:
    """Make what is not done yet; then the rows of all that is, in order.

    Args:
        run: the opened run.
        stage: name of this step in the ledger.
        items: all of them, done or not.
        make: see :data:`Make`.
        dataset: folder below the run's, which the rows' ``file_name`` is relative to.
        batch_size: images at a time; halved when the memory does not suffice.
        batches: who makes them; None is this process.

    Returns:
        The finished items' rows from the ledger.

    Raises:
        RunError: a single image does not fit in memory, or the folder takes no more.
    """
    folder = run.path / dataset
    run.ledger.plan(stage, (item.item_id for item in items))
    done = {
        name for name, file in run.ledger.done_items(stage).items() if file and (run.path / file).is_file()
    }
    left = [item for item in items if item.item_id not in done]
    todo = [item for item in left if not _adopted(run, stage, item, folder)]
    made = (batches or in_turn)(run, todo, make, batch_size)
    for some, images in _with_bar(made, todo, f"Making {stage}"):
        rows, files = {}, {}
        for item, image in zip(some, images, strict=True):
            if isinstance(image, InputError):
                run.ledger.refuse(stage, item.item_id, str(image))
                continue
            if isinstance(image, Noted):
                run.ledger.enter(f"{stage}-mask", {item.item_id: {"note": image.note}})
                image = image.image
            path = folder / str(item.row["file_name"])
            write_png(image, path, **item.text, Key=item.key)
            rows[item.item_id] = item.row
            files[item.item_id] = (str(path.relative_to(run.path)), sha256_of(path))
        run.ledger.enter(stage, rows, files)
    run.log("finished", stage=stage, **run.ledger.counts().get(stage, {}))
    return run.ledger.rows(stage)


#: Some items and what became of each.
Batch = tuple[Sequence[Item], Sequence[Made]]
#: Makes all the items (second argument) and gives them back in batches, in any order.
Batches = Callable[[RunFolder, Sequence[Item], Make, int], Iterator[Batch]]


def in_turn(run: RunFolder, todo: Sequence[Item], make: Make, batch_size: int) -> Iterator[Batch]:
    """Batch after batch in this process; one that does not fit in memory is tried again, halved."""
    at_once = make.at_once if isinstance(make, Drawing) else 1
    begin = 0
    while begin < len(todo):
        some = todo[begin : begin + at_once * batch_size]
        try:
            images = make(some, batch_size)
        except (MemoryError, RuntimeError) as error:
            batch_size = halved(run, batch_size, error)
        else:
            yield some, images
            begin += len(some)
            continue
        free_memory()


def halved(run: RunFolder, batch_size: int, error: BaseException) -> int:
    """Half the batch size, said with the flag that sets it.

    Raises:
        RunError: the batch is of one already.
        BaseException: ``error``, where it is none of memory.
    """
    if not is_out_of_memory(error):
        raise error
    if batch_size == 1:
        raise RunError(
            "the memory does not suffice for one film; take --dtype bfloat16 or float16, a smaller model, or a "
            "larger --device. What is finished is kept."
        ) from error
    run.log("halved", batch_size=batch_size // 2)
    print(f"out of memory: going on with --batch-size {batch_size // 2}", file=sys.stderr)
    return batch_size // 2


def _with_bar(batches: Iterator[Batch], todo: Sequence[Item], title: str) -> Iterator[Batch]:
    """The batches, with a bar of finished items."""
    bar = iter(track(todo, title, unit="films"))
    for some, images in batches:
        yield some, images
        for _ in some:
            next(bar)
    for _ in bar:  # ends the bar
        pass


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, a processor's (torch's allocator) or a GPU's lack of memory."""
    return isinstance(error, MemoryError) or bool(
        re.search(
            r"out of memory|can't allocate memory|not enough memory|low on memory", str(error), re.IGNORECASE
        )
    )


def free_memory() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _adopted(run: RunFolder, stage: str, item: Item, folder: Path) -> bool:
    """Enter an item whose image is there, whole and of this very item, although the ledger does not know it."""
    path = folder / str(item.row["file_name"])
    if not path.is_file() or key_of(path) != item.key:
        return False
    run.ledger.enter(
        stage, {item.item_id: item.row}, {item.item_id: (str(path.relative_to(run.path)), sha256_of(path))}
    )
    return True


def key_of(path: Path) -> str | None:
    """The key that an image carries, or None if it carries none or is not whole."""
    try:
        with Image.open(path) as image:
            image.load()
            return getattr(image, "text", {}).get("Key")
    except (OSError, SyntaxError, ValueError):
        return None


def write_dataset(run: RunFolder, stage: str) -> Path:
    """``metadata.parquet`` of a stage's finished items, in the plan's order, and what people added; returns its path."""
    rows = run.ledger.rows(stage)
    parts = [metadata_frame(some) for some in iter(lambda: list(islice(rows, 10_000)), [])]
    frame = pl.concat(parts).rechunk() if parts else metadata_frame([])
    return write_reviewed(frame, run.path)


def summary(run: RunFolder) -> str:
    """What a command did, in one line whose counts add up to what was planned."""
    return "; ".join(
        f"{stage}: {sum(counts.values())} planned = "
        + " + ".join(f"{counts[state]} {state}" for state in STATES)
        for stage, counts in run.ledger.counts().items()
    )
