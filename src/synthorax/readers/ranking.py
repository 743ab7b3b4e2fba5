"""Films of one prompt, ranked by a classifier and by readers: which to keep, and what to learn from.

The loop of the best-practice study (arXiv 2411.18602): a small classifier trained on real films ranks candidate films (its
proxy model), radiologists' votes rank them too, and prompts of a single disease are set against prompts of several. The
study tests one-tailed t with Bonferroni's correction; that is printed beside ours, an interval over resampled prompts.

A film's score is the geometric mean of the probabilities that the classifier gives to each label's being as asked for. A
reader's word counts before the score: films found invalid stand last, then wins minus losses in pairs decide.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers import load_tested
from synthorax.classifiers.held_out import plain
from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import Difference, bootstrap_difference
from synthorax.dataset import read_metadata, read_png
from synthorax.errors import InputError
from synthorax.files import atomic

RANKING, PAIRS, COMPARISON = "ranking.parquet", "pairs.parquet", "ranking.csv"
#: Least difference of scores between the two films of a pair that no reader has judged.
MARGIN = 0.1
_LEAST = 1e-6


@dataclass(frozen=True)
class Compared:
    """Mean score of one group of films minus that of another.

    ``ours`` is over resampled prompts; ``p_bonferroni`` the one-tailed t-test's p that the first is larger, times the number
    of comparisons: paired by prompt where both groups have the same prompts, else Welch's.
    """

    what: str
    first: float
    second: float
    n_first: int
    n_second: int
    ours: Difference
    p_bonferroni: float


def scores_of(films: pl.DataFrame, paths: Sequence[str], judge: TestedModel) -> np.ndarray:
    """``(N,)`` in [0, 1]: how far each film shows what was asked for, see the module.

    Args:
        films: metadata rows with ``labels_after``.
        paths: ``(N,)``.
        judge: its outputs must name some of the labels; the others are not judged.

    Raises:
        InputError: a film without ``labels_after``, or no output that is one of the labels.
        ModelError: the judge cannot read the films.
    """
    if films["labels_after"].null_count():
        raise InputError("some films have no labels_after; only films that were asked for by labels can be ranked.")  # fmt: skip
    from synthorax.concepts import Vocabulary

    known = {plain(name): name for name in Vocabulary.load().pathology_labels}
    outputs = [name for name in judge.labels or () if plain(name) in known]
    if not outputs:
        raise InputError(f"{judge.name} gives {', '.join(judge.labels or ('outputs without names',))}; a judge's outputs are named as labels: {', '.join(known.values())}.")  # fmt: skip
    p = judge.table(paths, outputs)
    asked = np.array([[known[plain(name)] in labels for name in outputs] for labels in films["labels_after"]])
    return np.exp(np.log(np.clip(np.where(asked, p, 1 - p), _LEAST, 1)).mean(1))


def rank(
    dataset: Path,
    judge: str,
    out: Path,
    *,
    second: str | None = None,
    votes: Sequence[Path] = (),
    margin: float = MARGIN,
    matched: bool = False,
    device: str = "cpu",
) -> list[Compared]:
    """Rank the films of each prompt and write ``ranking.parquet``, ``pairs.parquet`` and ``ranking.csv`` to ``out``.

    Args:
        dataset: a run folder, or its ``synthetic``. Films of one prompt (and of one source, where they are edits) are
            ranked among each other.
        judge: a model as in :func:`~synthorax.classifiers.load_tested`, which ranks.
        out: folder.
        second: another judge, which did not rank: it alone says whether the first of each ranking is better than the
            film that was drawn first; a judge that ranked would flatter its choice.
        votes: ``preferences.jsonl`` of reader studies. Verdicts of the workbench (``is_valid``) count without being named.
        margin: see :data:`MARGIN`.
        matched: pair, of the films that the score tells apart, the two nearest in mean brightness, not the first and the last:
            a judge's score may follow exposure, and a model aligned on such pairs learns exposure.
        device: of the judges.

    Returns:
        The comparisons that the films allow.

    Raises:
        InputError: nothing to rank, or votes that cannot be read.
        ModelError: a judge cannot be loaded.
    """
    folder = dataset / "synthetic" if (dataset / "synthetic").is_dir() else dataset
    films = read_metadata(folder).with_row_index("drawn")
    if films.is_empty() or films["prompt"].null_count() == films.height:
        raise InputError(f"{folder} holds no films with prompts; generate some first.")
    paths = [str((folder / name).resolve()) for name in films["file_name"]]
    judges = [load_tested(where, device=device) for where in (judge, second) if where is not None]
    wins = _wins(votes)
    films = films.with_columns(
        path=pl.Series(paths),
        score=pl.Series(scores_of(films, paths, judges[0])),
        checked=pl.Series(scores_of(films, paths, judges[-1])),
        wins=pl.Series([wins.get(name, 0) for name in films["file_name"]], dtype=pl.Int64),
        verdict=pl.col("is_valid").fill_null(True),
    )
    keys = ["prompt", "source_image_id"]
    ranked = (
        films.sort("verdict", "wins", "score", descending=True, maintain_order=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over(keys))
        .sort("drawn")
    )
    columns = ["file_name", *keys, "labels_after", "rank", "score", "checked", "wins", "verdict"]
    with atomic(out / RANKING) as temporary:
        ranked.select(columns).write_parquet(temporary)
    with atomic(out / PAIRS) as temporary:
        _pairs(ranked, keys, margin, matched).write_parquet(temporary)
    found = _comparisons(ranked, keys, second is not None)
    with atomic(out / COMPARISON) as temporary:
        pl.DataFrame([{"comparison": c.what, "first": c.first, "second": c.second, "n_first": c.n_first, "n_second": c.n_second, "difference": c.ours.estimate, "ci_low": c.ours.ci_low, "ci_high": c.ours.ci_high, "p_one_tailed_bonferroni": c.p_bonferroni} for c in found], schema=_CSV).write_csv(temporary)  # fmt: skip
    return found


_CSV = {"comparison": pl.String, "first": pl.Float64, "second": pl.Float64, "n_first": pl.Int64, "n_second": pl.Int64, "difference": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "p_one_tailed_bonferroni": pl.Float64}  # fmt: skip


def _wins(votes: Sequence[Path]) -> dict[str, int]:
    """File name -> pairs won minus pairs lost."""
    found: dict[str, int] = {}
    for path in votes:
        try:
            for line in path.read_text().splitlines():
                vote = json.loads(line)
                for key, worth in (("chosen", 1), ("rejected", -1)):
                    name = vote[f"{key}_file_name"]
                    found[name] = found.get(name, 0) + worth
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no preferences ({error}); expected preferences.jsonl, which `synthorax readers analyse` writes.") from error  # fmt: skip
    return found


def _pairs(ranked: pl.DataFrame, keys: Sequence[str], margin: float, matched: bool) -> pl.DataFrame:
    """A pair of each prompt, where readers or the score tell films apart: see :func:`rank`."""
    rows = []
    for _, group in ranked.sort("rank").group_by(keys, maintain_order=True):
        films = group.to_dicts()
        best, worst = films[0], films[-1]
        is_voted = (best["verdict"], best["wins"]) > (worst["verdict"], worst["wins"])
        pairs = [(x, y) for x in films for y in films if x is not y and x["score"] - y["score"] >= margin]
        if is_voted and len(films) > 1:
            pair = best, worst
        elif pairs and matched:
            bright = {film["path"]: read_png(film["path"]).mean() for film in films}
            pair = min(pairs, key=lambda pair: abs(bright[pair[0]["path"]] - bright[pair[1]["path"]]))
        elif (best, worst) in pairs:
            pair = best, worst
        else:
            continue
        chosen, rejected = pair
        rows.append({"prompt": chosen["prompt"], "chosen": chosen["path"], "rejected": rejected["path"], "chosen_score": chosen["score"], "rejected_score": rejected["score"]})  # fmt: skip
    schema = {"prompt": pl.String, "chosen": pl.String, "rejected": pl.String, "chosen_score": pl.Float64, "rejected_score": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _comparisons(ranked: pl.DataFrame, keys: Sequence[str], has_second: bool) -> list[Compared]:
    """Single-disease prompts against several; the ranking's first against the film that was drawn first."""
    several = ranked["labels_after"].list.len().to_numpy()
    groups: list[tuple[str, pl.DataFrame, pl.DataFrame]] = []
    if (several == 1).any() and (several > 1).any():
        groups.append(("single-disease prompts minus several", ranked.filter(several == 1), ranked.filter(several > 1)))  # fmt: skip
    if has_second and (best := ranked.filter(pl.col("rank") == 1)).height < ranked.height:
        groups.append(("first of the ranking minus first drawn, by the second judge", best, ranked.unique(keys, keep="first", maintain_order=True)))  # fmt: skip
    return [compare(what, first, second, len(groups)) for what, first, second in groups]


def compare(what: str, first: pl.DataFrame, second: pl.DataFrame, n_comparisons: int) -> Compared:
    """Two groups of films by their column ``checked``; needs two prompts a group, else p is NaN."""
    from scipy.stats import ttest_ind, ttest_rel

    x, y = first["checked"].to_numpy(), second["checked"].to_numpy()
    units = [*first["prompt"], *second["prompt"]]
    is_first = np.arange(len(units)) < len(x)
    values = np.concatenate([x, y])

    def mean_of(here: np.ndarray):
        return lambda w: np.divide(w[:, here] @ values[here], w[:, here].sum(1), out=np.full(len(w), np.nan), where=w[:, here].sum(1) > 0)  # fmt: skip

    difference = bootstrap_difference(mean_of(~is_first), mean_of(is_first), units)
    is_paired = sorted(first["prompt"]) == sorted(second["prompt"]) and first["prompt"].n_unique() == len(x)
    if is_paired:
        x, y = first.sort("prompt")["checked"].to_numpy(), second.sort("prompt")["checked"].to_numpy()
    test = ttest_rel if is_paired else ttest_ind
    p = test(x, y, alternative="greater", **({} if is_paired else {"equal_var": False})).pvalue if min(len(x), len(y)) > 1 else np.nan  # fmt: skip
    return Compared(what, float(x.mean()), float(y.mean()), len(x), len(y), difference, float(min(1.0, p * n_comparisons)) if np.isfinite(p) else float("nan"))  # fmt: skip
