"""QC that regenerates: films that fail their judges are made again from a new seed, until they pass or the budget is spent.

Every try is an item of its own below ``tries/`` (stage ``tries``), so a killed run goes on where it was, and what is made
does not depend on what else is. The first try is the film that a run without judges makes; another's seed comes from the
film's seed and the number of the try. The first try that passes becomes the film; where none does, the one that fails in
fewest respects, marked ``is_valid`` false with what it fails in.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from synthorax.errors import InputError
from synthorax.files import atomic, sha256_of
from synthorax.generation.obedience import Asked, Reader, judged
from synthorax.progress import track
from synthorax.runs.folder import RunFolder
from synthorax.runs.judged import JUDGED, TRIES, write_judged
from synthorax.runs.making import Job
from synthorax.seeds import derive_seed

VERDICTS = "verdicts"
#: Films that a judge reads before its verdicts are in the ledger.
_AT_ONCE = 64


def make_until_passed(
    run: RunFolder,
    stage: str,
    jobs: Sequence[Job],
    asked: Mapping[str, Asked],
    judges: Sequence[Reader],
    budget: int,
    make: Callable[[Sequence[Job]], object],
) -> None:
    """Make films or edits into ``stage``, each until all judges pass it.

    Args:
        run, stage, jobs: as :func:`~synthorax.runs.making.make_films` takes them.
        make: makes jobs, tries all, into the stage and dataset :data:`~synthorax.runs.judged.TRIES`.
        asked: ``edit_id`` -> what the film shall show.
        judges: all must pass a film.
        budget: tries a film, 1 or more.

    Raises:
        InputError: no judge reads anything that is asked for.
    """
    run.ledger.plan(stage, (job.edit_id for job in jobs))
    left = [job for job in jobs if job.edit_id not in run.ledger.done_items(stage)]
    for number in range(1, budget + 1):
        tries = {_name(job, number): _try(job, number) for job in left}
        if not tries:
            break
        make([*tries.values()])
        _judge(run, {_name(job, number): asked[job.edit_id] for job in left}, judges)
        verdicts = run.ledger.done(VERDICTS)
        if number == 1 and not any(verdicts[name] for name in tries):
            outputs = ", ".join(name for judge in judges for name in judge.reads)
            raise InputError(f"the judges read {outputs}, and no prompt asks for any of that; give columns sex, age, view_position, race or labels_after.")  # fmt: skip
        _decide(run, stage, [job for job in left if number == budget or not _failed(verdicts[_name(job, number)])], asked, number, verdicts)  # fmt: skip
        left = [job for job in left if _failed(verdicts[_name(job, number)])]
    write_judged(run)


def _name(job: Job, number: int) -> str:
    return f"{job.edit_id}-{number}"


def _try(job: Job, number: int) -> Job:
    seed = job.seed if number == 1 else derive_seed("try", job.seed, number)
    return replace(job, edit_id=_name(job, number), seed=seed)


def _failed(verdict: Mapping[str, bool]) -> list[str]:
    return [name for name, is_failed in verdict.items() if is_failed]


def _judge(run: RunFolder, asked: Mapping[str, Asked], judges: Sequence[Reader]) -> None:
    """Verdicts of the tries that have none yet."""
    there, files = run.ledger.done_items(VERDICTS), run.ledger.done_items(TRIES)
    names = [name for name in asked if name not in there]
    parts = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
    for some in track(parts, "Judging", unit="batches"):
        found = judged(
            judges, [str(run.path / str(files[name])) for name in some], [asked[name] for name in some]
        )
        run.ledger.enter(VERDICTS, dict(zip(some, found, strict=True)))


def _decide(
    run: RunFolder, stage: str, jobs: Sequence[Job], asked: Mapping[str, Asked], number: int,
    verdicts: Mapping[str, Mapping[str, bool]],
) -> None:  # fmt: skip
    """Put the best of each film's tries in its place."""
    rows = run.ledger.done(TRIES)
    for job in jobs:
        names = [_name(job, n) for n in range(1, number + 1)]
        best = min(names, key=lambda name: len(_failed(verdicts[name])))
        failed, file_name = _failed(verdicts[best]), f"{stage}/{job.edit_id}.png"
        place = run.synthetic / file_name
        _link(run.path / TRIES / rows[best]["file_name"], place)
        row = {**rows[best], "file_name": file_name, "image_id": f"{stage}-{job.edit_id}", "n_tries": number,
               "is_valid": not failed if verdicts[best] else None, "reject_reason": f"not read: {', '.join(failed)}" if failed else None}  # fmt: skip
        one = asked[job.edit_id]
        facts = {"groups": dict(one.groups), "labels": one.labels, "judged": [*verdicts[best]], "failed": failed,
                 "failed_at_first": _failed(verdicts[names[0]]), "n_tries": number, "file_name": file_name}  # fmt: skip
        run.ledger.enter(JUDGED, {job.edit_id: facts})
        run.ledger.enter(
            stage, {job.edit_id: row}, {job.edit_id: (f"synthetic/{file_name}", sha256_of(place))}
        )


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:  # a file system without links
        with atomic(place) as temporary:
            shutil.copyfile(source, temporary)
