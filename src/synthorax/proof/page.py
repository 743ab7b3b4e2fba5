"""All tables of a protocol on one page, with what was left out, the values and their sources, and provenance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from synthorax import __version__
from synthorax.concepts import ConceptVector, concept_columns
from synthorax.coverage import compare, coverage
from synthorax.coverage.comparison import summary
from synthorax.coverage.ranking import RARE_BELOW, STATUS
from synthorax.files import atomic
from synthorax.proof.cars import NAMES
from synthorax.proof.cohort import KEPT, TRAIN, Cohort, FilmSets
from synthorax.proof.figures import LEVEL, MACRO, smallest_holm
from synthorax.proof.recipe import Recipe
from synthorax.proof.tables import Table, mean_of, number, signed, spread
from synthorax.runs import charts


def write_page(
    folder: Path, recipe: Recipe, cohort: FilmSets, tables: Sequence[Table], comparisons: pl.DataFrame,
    differences: pl.DataFrame, provenance: Mapping[str, Any], n_resamples: int,
) -> Path:  # fmt: skip
    """Write ``tables.html``, self-contained."""
    return render(
        folder, recipe, tables, notes=notes(cohort, comparisons, n_resamples, recipe), counts=cohort.counts,
        outcomes=cohort.outcomes.sort("arm", pl.col("outcome") != KEPT, "outcome").rows(), provenance=provenance,
        is_simulated=cohort.is_simulated, by_seed=seed_table(differences), drawn=drawn_differences(comparisons),
        metrics=[NAMES[metric] for metric in metrics_of(comparisons)],
    )  # fmt: skip


def render(
    folder: Path, recipe: Recipe, tables: Sequence[Table], *, notes: Sequence[str], counts: Mapping[str, int],
    outcomes: Sequence[tuple], provenance: Mapping[str, Any], is_simulated: bool, by_seed: Table | None = None,
    drawn: Sequence[tuple] = (), metrics: Sequence[str] = (),
) -> Path:  # fmt: skip
    """The page of these parts; what is empty is left out."""
    loaders = [
        jinja2.PackageLoader("synthorax.proof"),
        jinja2.PackageLoader("synthorax.runs"),
    ]  # the runs' style
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("tables.html").render(
        recipe=recipe, tables=tables, notes=notes, counts=counts, outcomes=outcomes, provenance=provenance,
        is_simulated=is_simulated, by_seed=by_seed, drawn=drawn, metrics=metrics,
        is_bold=lambda cell: cell.startswith("**"), version=__version__,
    )  # fmt: skip
    path = folder / "tables.html"
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def metrics_of(comparisons: pl.DataFrame) -> list[str]:
    """What is compared, in order."""
    return comparisons["metric"].unique(maintain_order=True).to_list()


def notes(cohort: FilmSets, comparisons: pl.DataFrame, n_resamples: int, recipe: Recipe) -> list[str]:
    """How much the figures can carry, from the figures."""
    said = []
    if cohort.is_simulated:
        said.append("Virtual patients, one anatomy: nothing here supports a claim about clinical accuracy.")
    said += changed_values(recipe)
    n = comparisons.height
    for metric in metrics_of(comparisons):
        frame = comparisons.filter(metric=metric)
        detectable = frame["detectable"].median()
        if frame.height and detectable is not None:
            said.append(
                f"Power, {NAMES[metric]}: with {frame['n_patients'].min()} test patients a true difference below "
                f"{detectable:.3f} (median of {frame.height} comparisons) would be missed in more than one test of five."
            )
    floor = smallest_holm(n, n_resamples)
    if floor >= LEVEL:
        said.append(
            f"{n} comparisons and {n_resamples} resamples: no adjusted p-value can fall below {min(floor, 1):.2f}. Raise "
            "measuring.n_resamples before reading that column."
        )
    seeds = len(recipe.values("grid")["seeds"])
    if seeds < 6:
        said.append(
            f"{seeds} seed{'s' if seeds > 1 else ''}: a Wilcoxon test over seeds is given from six up; below, every seed's value is."
        )
    return said


def coverage_table(cohort: Cohort) -> Table:
    """Valid combinations of concepts and of labels in the real training films, and with each arm's films added."""
    train = cohort.concepts.split(TRAIN)
    names, rows = train.labels, []
    vectors = [
        ConceptVector(
            frozenset(c for c, v in zip(names, row, strict=True) if v == 1),
            frozenset(c for c, v in zip(names, row, strict=True) if v != v),
        )
        for row in train.targets
    ]
    before = coverage(_with_labels(vectors, cohort), cohort.vocabulary)
    for arm, films in cohort.arms.items():
        added = [
            ConceptVector(frozenset(present) - {cohort.vocabulary.unremarkable}, frozenset(unknown or ()))
            for present, unknown in films.frame.select("concepts_after", "concepts_unknown").iter_rows()
            if present is not None
        ]
        after = coverage(_with_labels([*vectors, *added], cohort), cohort.vocabulary)
        for row in summary(compare(before, after)).iter_rows(named=True):
            cells = [f"{row[f'{status}_before']} to {row[f'{status}_after']}" for status in STATUS]
            size = ("single", "pairs", "triples")[row["order"] - 1]
            rows.append((arm, f"{row['level']}s, {size}", f"{len(added)}", f"{row['n']}", *cells))
    heads = (
        "arm",
        "combinations of",
        "films added",
        "valid combinations",
        *(f"{status}" for status in STATUS),
    )
    note = (
        f"From {len(vectors)} real training films to these and the arm's films: how many valid combinations occur never, "
        f"rarely (in fewer than {RARE_BELOW} films), and more often."
    )
    return Table("coverage", "Coverage, before and after", heads, tuple(rows), note, n_heads=2)


def _with_labels(vectors: Sequence[ConceptVector], cohort: Cohort) -> pl.DataFrame:
    """A concept table; a film without any concept is unremarkable, unless something is unknown."""
    normal = frozenset({cohort.vocabulary.unremarkable})
    whole = [v if v.present or v.unknown else ConceptVector(normal) for v in vectors]
    ids = pl.Series("study_id", map(str, range(len(whole))), dtype=pl.String)
    return pl.concat([ids.to_frame(), concept_columns(whole, cohort.vocabulary)], how="horizontal")


def changed_values(recipe: Recipe) -> list[str]:
    """What was set otherwise than the recipe says, as a sentence."""
    changed = [
        f"{section}.{key}" for section, key, value in recipe.rows() if value.source in ("--set", "scale tiny")
    ]
    return [f"Values that are not the recipe's own: {', '.join(changed)}."] if changed else []


def drawn_differences(comparisons: pl.DataFrame) -> list[tuple[str, str, str, str, list]]:
    """``test, backbone, arm, against`` and a drawn interval a metric, on one scale a metric."""
    reach = {
        metric: max(abs(x) for x in [*part["ci_low"].drop_nulls(), *part["ci_high"].drop_nulls(), 1e-9])
        for metric in metrics_of(comparisons)
        for part in [comparisons.filter(metric=metric)]
    }
    rows: dict[tuple, list] = {}
    for row in comparisons.iter_rows(named=True):
        key = (row["test"], row["backbone"], row["arm"], row["against"])
        low, high, middle = row["ci_low"], row["ci_high"], row["difference"]
        known = None not in (low, high, middle)
        drawing = charts.interval(middle, low, high, reach[row["metric"]], row["verdict"]) if known else ""
        rows.setdefault(key, []).append(drawing)
    return [(*key, drawings) for key, drawings in rows.items()]


def estimate_table(estimates: pl.DataFrame) -> Table:
    """Macro figures of every arm, mean and deviation over seeds."""
    rows = []
    keys = ["test", "backbone", "arm"]
    macro = estimates.filter(label=MACRO)
    metrics = [metric for metric in macro["metric"].unique(maintain_order=True) if metric in NAMES]
    for test, backbone, arm in macro.select(keys).unique(maintain_order=True).iter_rows():
        part = macro.filter(test=test, backbone=backbone, arm=arm)
        films = part["n_films"].unique().sort().to_list()
        cells = []
        for metric in metrics:
            values = part.filter(metric=metric)["estimate"]
            mean = mean_of(values)
            cells.append(spread(mean, values.std() if mean is not None else None))  # type: ignore[arg-type]
        shown = f"{films[0]}" if len(films) == 1 else f"{films[0]} to {films[-1]}"
        rows.append((test, backbone, arm, shown, *cells))
    heads = ("tested on", "backbone", "arm", "trained on", *(NAMES[metric] for metric in metrics))
    note = "Mean ± sd over seeds, macro over labels; 'trained on': films. Intervals by patient and single labels: estimates.csv."
    return Table("figures", "Every arm", heads, tuple(rows), note, n_heads=3)


def comparison_table(comparisons: pl.DataFrame) -> Table:
    """Every arm against its reference, over all seeds."""
    rows = []
    for row in comparisons.iter_rows(named=True):
        verdict = row["verdict"] if row["verdict"] == "no difference shown" else f"**{row['verdict']}**"
        rows.append(
            (
                row["test"], row["backbone"], row["arm"], row["against"], NAMES[row["metric"]], signed(row["difference"]),
                f"{signed(row['ci_low'])} to {signed(row['ci_high'])}", "  ".join(map(signed, row["by_seed"])), number(row["sd"]),
                number(row["p_value"]), number(row["p_holm"]), number(row["p_wilcoxon"]), number(row["detectable"]), verdict,
            )
        )  # fmt: skip
    heads = ("tested on", "backbone", "arm", "against", "metric", "difference", "95 % interval", "each seed", "sd", "p", "p (Holm)", "p (Wilcoxon)", "detectable", "verdict")  # fmt: skip
    note = (
        f"Mean over seeds; interval and p: paired bootstrap over patients, the same resamples for all. p (Holm): adjusted "
        f"for the {comparisons.height} comparisons of this table. Wilcoxon: over seeds, from six up. Detectable: the true "
        "difference that four such tests of five would find. The verdict is the interval's, not adjusted."
    )
    return Table("differences_over_seeds", "Differences", heads, tuple(rows), note, n_heads=5)


def seed_table(differences: pl.DataFrame) -> Table:
    """The same seed by seed."""
    rows = [
        (
            row["test"], row["backbone"], row["arm"], row["against"], NAMES[row["metric"]], str(row["seed"]), signed(row["difference"]),
            f"{signed(row['ci_low'])} to {signed(row['ci_high'])}", number(row["p_value"]),
        )
        for row in differences.iter_rows(named=True)
    ]  # fmt: skip
    heads = ("tested on", "backbone", "arm", "against", "metric", "seed", "difference", "95 % interval", "p")
    return Table("differences", "Differences, seed by seed", heads, tuple(rows), "Paired bootstrap over patients.", n_heads=6)  # fmt: skip
