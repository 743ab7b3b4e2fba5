"""A run in short: what was missing, what was made, does it help. All words come from the figures."""

from collections.abc import Iterable
from typing import NamedTuple

from synthorax.runs.results import Arm, Classifier, Combination, Coverage, Plan, Results

METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "entropy": "entropy",
    "ece": "calibration error (ECE)",
}
LOWER_IS_BETTER = {"entropy", "ece"}
VERDICTS = ("better", "worse", "no difference shown")


class Headline(NamedTuple):
    """A question of the report, its answer as one figure, and the sentences behind the figure."""

    question: str
    figure: str
    sentences: list[str]


def headlines(results: Results) -> list[Headline]:
    """The questions that this run answers, in the report's order."""
    found = [_missing(results.coverage)] if results.coverage and results.coverage.before else []
    if results.plan:
        found.append(_made(results.plan, results.coverage))
    found.append(_helps(results.classifier))
    return found


def label_pairs(combinations: Iterable[Combination]) -> dict[frozenset[str], int]:
    """Pairs of labels -> films with both."""
    return {
        frozenset(c.combination): c.count
        for c in combinations
        if c.level == "label" and len(c.combination) == 2
    }


def _missing(coverage: Coverage) -> Headline:
    pairs = label_pairs(coverage.before)
    never = [c for c in coverage.before if c.level == "label" and len(c.combination) == 2 and c.count == 0]
    named = "; ".join(" + ".join(c.combination) for c in never)
    which = f": {named}" if never else ""
    sentences = [
        f"{len(never)} of the {len(pairs)} label pairs looked at occur in no film of the cohort{which}."
    ]
    concepts = [c for c in coverage.before if c.level == "concept"]
    if concepts:
        absent = sum(c.count == 0 for c in concepts)
        sentences.append(f"Of the {len(concepts)} concept combinations listed, {absent} occur in no film.")
    return Headline("What was missing?", f"{len(never)} of {len(pairs)} label pairs", sentences)


def _made(plan: Plan, coverage: Coverage | None) -> Headline:
    total = sum(plan.made.values())
    types = ", ".join(f"{n} {spoken(kind)}" for kind, n in plan.made.items())
    sentences = [f"{types[:1].upper()}{types[1:]}." if types else "No radiograph was made."]
    if coverage and coverage.after:
        before, after = label_pairs(coverage.before), label_pairs(coverage.after)
        never = {pair for pair, count in before.items() if count == 0}
        filled = sum(after.get(pair, 0) > 0 for pair in never)
        if never:
            sentences.append(
                f"{filled} of the {len(never)} missing label pairs occur now, in synthetic films."
            )
    if plan.rejected:
        sentences.append(f"{plan.rejected} were rejected; they are marked in the dataset, not deleted.")
    return Headline("What was made?", f"{total} synthetic radiographs", sentences)


def _helps(classifier: Classifier | None) -> Headline:
    question = "Does it help?"
    compared = [arm for arm in classifier.rows if arm.difference] if classifier else []
    if not classifier or not compared:
        return Headline(question, "Not measured", ["This run trained no classifier on its images."])
    sentences = []
    for arm in compared:
        said = [
            f"{verdict} in {', '.join(names)}"
            for verdict in VERDICTS
            if (names := _metrics_with(verdict, arm))
        ]
        sentences.append(f"Fine-tuned on {arm.arm} images, against the baseline: {'; '.join(said)}.")
    sentences.append(
        f"Tested on {classifier.n_test} films of {classifier.n_test_patients} patients never trained on."
    )
    return Headline(question, _verdict(compared[0]), sentences)


def _metrics_with(verdict: str, arm: Arm) -> list[str]:
    differences = (arm.difference or {}).items()
    return [
        METRIC_NAMES.get(metric, metric)
        for metric, difference in differences
        if difference.verdict == verdict
    ]


def _verdict(arm: Arm) -> str:
    """The arm's verdicts, counted: ``CARS: better in 1 of 5 metrics``."""
    counted = [f"{verdict} in {n}" for verdict in VERDICTS[:2] if (n := len(_metrics_with(verdict, arm)))]
    if not counted:
        return f"{arm.arm}: no difference shown"
    return f"{arm.arm}: {', '.join(counted)} of {len(arm.difference or {})} metrics"


def spoken(perturbation_type: str) -> str:
    """``intra_class`` -> ``intra-class``."""
    return perturbation_type.replace("_", "-")
