"""A study's figures: CARS's Table 5, ChexGen's scores, agreement, comparison of methods, preferences, failure modes.

Hidden repeats count only for what a reader repeats, never a second time elsewhere. Shares have Wilson intervals (each
answer by itself); differences between methods have intervals over patients, and over patients and readers
(:mod:`synthorax.readers.comparison`), because a patient's films and a film's readers go together.
"""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax.files import atomic
from synthorax.readers.agreement import agreement
from synthorax.readers.comparison import compare
from synthorax.readers.protocols import Question
from synthorax.readers.study import Side, Study

#: What a difference between methods is a difference of: the share of one answer; other questions have a mean score.
COUNTED = {"realism": "real", "concepts": "full"}


def analyse(study: Study, out: Path | str | None = None, seed: int = 0) -> dict[str, Any]:
    """Every figure of a study, over the answers that there are.

    Args:
        study: an open study, finished or not.
        out: folder for ``analysis.json``, ``answers.csv``, ``distribution.csv`` and, for preferences, ``preferences.jsonl``.
        seed: of the bootstrap.

    Returns:
        ``study`` (with ``is_simulated``), ``readers``, ``distribution``, ``agreement``, ``repeatability``,
        ``comparison``, ``pairs`` and ``failure_modes``; what a protocol does not have is empty.
    """
    answers = list(study.answers())
    first = [answer for answer in answers if not answer["is_repeat"]]
    asked = study.protocol
    progress = {reader: study.progress(reader) for reader in study.links()}
    found = {
        "study": {"title": study.title, "protocol": study.protocol_name, "is_simulated": study.is_simulated},
        "readers": [
            {"reader": reader, "n_answered": done, "n_items": total, "median_seconds": _median(answers, reader)}
            for reader, (done, total, _) in progress.items()
        ],
        "distribution": [] if asked.is_pair else [
            row for question in asked.questions for row in _distribution(question, first)
        ],
        "agreement": [
            {"question": question.name, **_agreement(question, first)} for question in asked.questions
        ],
        "repeatability": [row for question in asked.questions for row in _repeatability(question, answers)],
        "comparison": [] if asked.is_pair else [
            row for question in asked.questions for row in _comparison(question, first, seed)
        ],
        "pairs": _pairs(asked.questions[0].name, first) if asked.is_pair else [],
        "failure_modes": _failure_modes(first),
    }  # fmt: skip
    if out is not None:
        _write(found, answers, Path(out))
    return found


def _arm(answer: dict) -> str:
    return answer["sides"][0].arm


def _choice(question: Question, answer: dict) -> str:
    """The answer, for pairs the side in the study's own order, whatever side it was shown on."""
    value = answer[question.name]
    if len(answer["sides"]) == 1:
        return value
    films = [side.film for side in answer["sides"]]
    return "a" if films["ab".index(value)] == min(films) else "b"


def _wilson(count: int, n: int) -> dict[str, Any]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = map(float, proportion_confint(count, n, method="wilson"))
    return {"n": count, "of": n, "share": count / n, "ci_low": low, "ci_high": high}


def _median(answers: Sequence[dict], reader: int) -> float | None:
    seconds = [a["seconds"] for a in answers if a["reader"] == reader and a["seconds"] is not None]
    return float(np.median(seconds)) if seconds else None


def _distribution(question: Question, answers: Sequence[dict]) -> list[dict]:
    groups = sorted({(_arm(answer), answer["reader"]) for answer in answers})
    rows = []
    for arm, reader in groups:
        given = [a[question.name] for a in answers if (_arm(a), a["reader"]) == (arm, reader)]
        rows += [
            {"question": question.name, "method": arm, "reader": reader, "answer": value,
             "wording": wording, **_wilson(given.count(value), len(given))}
            for value, wording in question.choices.items()
        ]  # fmt: skip
    return rows


def _agreement(question: Question, answers: Sequence[dict]) -> dict[str, Any]:
    values = list(question.choices)
    cases = {case: row for row, case in enumerate(sorted({answer["case"] for answer in answers}))}
    readers = {reader: column for column, reader in enumerate(sorted({a["reader"] for a in answers}))}
    ratings = np.full((len(cases), len(readers)), -1)
    for answer in answers:
        ratings[cases[answer["case"]], readers[answer["reader"]]] = values.index(_choice(question, answer))
    found = agreement(ratings, values, is_ordered=len(values) > 2)
    names = list(readers)
    cohen = [{"readers": [names[a], names[b]], "kappa": kappa} for (a, b), kappa in found["cohen"].items()]
    return {**found, "cohen": cohen}


def _repeatability(question: Question, answers: Sequence[dict]) -> list[dict]:
    """What a reader says of the same case a second time."""
    values, rows = list(question.choices), []
    once = {(a["reader"], a["case"]): a for a in answers if not a["is_repeat"]}
    for reader in sorted({answer["reader"] for answer in answers}):
        both = [
            [values.index(_choice(question, a)) for a in (once[reader, answer["case"]], answer)]
            for answer in answers
            if answer["is_repeat"] and answer["reader"] == reader and (reader, answer["case"]) in once
        ]
        found = agreement(np.array(both).reshape(-1, 2), values, is_ordered=len(values) > 2)
        rows.append({"question": question.name, "reader": reader, "n_repeats": len(both),
                     "percent_agreement": found["percent_agreement"], "kappa": found["cohen"][0, 1]})  # fmt: skip
    return rows


def _comparison(question: Question, answers: Sequence[dict], seed: int) -> list[dict]:
    counted = COUNTED.get(question.name)
    rows = []
    for one, other in itertools.combinations(sorted({_arm(answer) for answer in answers}), 2):
        some = [answer for answer in answers if _arm(answer) in (one, other)]
        score = [float(a[question.name] == counted) if counted else float(a[question.name]) for a in some]
        found = compare(
            np.array(score), np.array([_arm(a) == other for a in some]), [a["patient_id"] for a in some],
            [a["reader"] for a in some], seed=seed,
        )  # fmt: skip
        rows.append({
            "question": question.name, "figure": f"share of '{counted}'" if counted else "mean score", "method": other, "minus": one,
            "difference": found.these.estimate, "ci_low": found.these.ci_low, "ci_high": found.these.ci_high,
            "p_value": found.these.p_value, "verdict": found.these.verdict, "n_patients": found.these.n_patients,
            "n_readers": found.n_readers,
            "readers_like_them": found.like_them and {
                name: getattr(found.like_them, name) for name in ("estimate", "ci_low", "ci_high", "p_value", "verdict")
            },
        })  # fmt: skip
    return rows


def _pairs(question: str, answers: Sequence[dict]) -> list[dict]:
    """How often each method was chosen over which; for 2-AFC 'chosen' is the film called synthetic."""
    met: Counter[tuple[int, str, str]] = Counter()
    for answer in answers:
        film, left = _chosen(question, answer)
        met[answer["reader"], film.arm, left.arm] += 1
    rows = []
    for reader, one, other in sorted({(r, min(a, b), max(a, b)) for r, a, b in met}):
        total = met[reader, one, other] + met[reader, other, one]
        for won, lost in ((one, other), (other, one)):
            share = _wilson(met[reader, won, lost], total)
            rows.append({"reader": reader, "chosen": won, "over": lost, **share})
    return rows


def _chosen(question: str, answer: dict) -> tuple[Side, Side]:
    a, b = answer["sides"]
    return (a, b) if answer[question] == "a" else (b, a)


def _failure_modes(answers: Sequence[dict]) -> list[dict]:
    """Coded comments by the method of the film, of a pair the methods of both."""
    arms = Counter(" / ".join(sorted(s.arm for s in a["sides"])) for a in answers)
    counts = Counter(
        (" / ".join(sorted(s.arm for s in a["sides"])), code) for a in answers for code in a["codes"]
    )
    return [
        {"method": arm, "mode": mode, "n": n, "of": arms[arm]} for (arm, mode), n in sorted(counts.items())
    ]


def _write(found: dict, answers: Sequence[dict], out: Path) -> None:
    with atomic(out / "analysis.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    flat = [
        {**{k: v for k, v in answer.items() if k not in ("sides", "codes")},
         "is_simulated": found["study"]["is_simulated"], "codes": "; ".join(answer["codes"]),
         **{f"{key}_{name}": value for name, side in zip("ab", answer["sides"], strict=False) for key, value in asdict(side).items() if key != "film"}}
        for answer in answers
    ]  # fmt: skip
    for name, rows in (("answers.csv", flat), ("distribution.csv", found["distribution"])):
        with atomic(out / name) as temporary:
            pl.DataFrame(rows, infer_schema_length=None).write_csv(temporary)
    if found["study"]["protocol"] == "preference":
        lines = [
            json.dumps({"findings": answer["shown"], **_preferred("chosen", chosen), **_preferred("rejected", other),
                        "reader": answer["reader"], "is_simulated": found["study"]["is_simulated"]})
            for answer in answers
            if not answer["is_repeat"]
            for chosen, other in [_chosen("preferred", answer)]
        ]  # fmt: skip
        with atomic(out / "preferences.jsonl") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))


def _preferred(key: str, side: Side) -> dict[str, str]:
    return {key: side.image_id, f"{key}_file_name": side.file_name, f"{key}_method": side.arm, f"{key}_prompt": side.prompt}  # fmt: skip
