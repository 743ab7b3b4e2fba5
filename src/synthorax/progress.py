"""Progress with rate and time left, for everything longer than five seconds."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "films") -> Iterator[T]:
    """Yield the items and draw a bar on standard error: count, rate, time elapsed and left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    rate = TextColumn("{task.fields[rate]}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        size = total if total is not None else (len(items) if isinstance(items, Sized) else None)
        task = progress.add_task(description, total=size, rate="")
        for item in items:
            yield item
            progress.advance(task)
            state = progress.tasks[0]
            if state.elapsed:
                progress.update(task, rate=f"{state.completed / state.elapsed:.2g} {unit}/s")
