"""``judged.json``: of a run whose films were judged and made again, how many show what was asked, by group, and which do not."""

import json
from collections.abc import Sequence
from typing import Any

from synthorax.files import atomic
from synthorax.runs.folder import RunFolder

#: Stage and folder of every try; stage of what became of each film.
TRIES, JUDGED = "tries", "judged"


def write_judged(run: RunFolder) -> None:
    """``judged.json`` of a run with judges: figures by what was asked for, and the films that did not pass."""
    films = dict(sorted(run.ledger.done(JUDGED).items()))
    if not films:
        return
    table = {
        "budget": run.config["budget"],
        "judges": run.config["judges"],
        "n_tries": sum(film["n_tries"] for film in films.values()),
        "groups": _groups([*films.values()]),
        "remaining": [{"film": name, "file_name": film["file_name"], "failed": film["failed"], **film["groups"], "labels": film["labels"]} for name, film in films.items() if film["failed"]],
    }  # fmt: skip
    with atomic(run.path / "judged.json") as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n")


def _groups(films: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All films, then each group and label asked for: how many pass at first and in the end, with Wilson intervals."""
    members: dict[tuple[str, str], list[dict[str, Any]]] = {("all", "all"): [*films]}
    for film in films:
        of = [*film["groups"].items(), *(("label", name) for name in film["labels"] or ())]
        of += [("label", "none")] if film["labels"] == [] else []
        for key in of:
            members.setdefault(key, []).append(film)
    first = members.pop(("all", "all"))
    return [_group("all", "all", first), *(_group(*key, members[key]) for key in sorted(members))]


def _group(axis: str, group: str, films: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from statsmodels.stats.proportion import proportion_confint

    n = len(films)
    row: dict[str, Any] = {"axis": axis, "group": group, "n": n, "mean_tries": sum(film["n_tries"] for film in films) / n}  # fmt: skip
    for name, key in (("passed_at_first", "failed_at_first"), ("passed", "failed")):
        count = sum(not film[key] for film in films)
        row |= {name: count / n, f"{name}_ci": proportion_confint(count, n, method="wilson")}
    kinds = sorted({name for film in films for name in film["judged"]})
    return row | {"failed_in": {name: sum(name in film["failed"] for film in films) for name in kinds}}
