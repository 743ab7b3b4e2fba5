"""Does a classifier look where the finding is: the share of its Grad-CAM's mass inside the true mask.

    share   sum of L inside the mask / sum of L, the map enlarged to the film bilinearly; 0 where L is 0 everywhere
            (the energy-based pointing game, Wang et al. 2020)
    hit     whether the centre of L's largest cell lies inside the mask (the pointing game, Zhang et al. 2016)

Beside each share: ``area``, what a map without any structure gets; ``elsewhere``, the mean share that the maps of *other*
patients' films of the same output get in this mask, which a map that only knows where such findings usually lie reaches
too; and ``reachable``, the share of the mask itself at the map's resolution, which no map of that size can be expected to beat.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.gradcam import gradcam
from synthorax.classifiers.held_out import HeldOut, held_out, plain
from synthorax.classifiers.loading import load_films
from synthorax.classifiers.model_files import open_classifier
from synthorax.classifiers.statistics import Interval, bootstrap_difference, mean_interval
from synthorax.concepts import Vocabulary, read_concepts
from synthorax.errors import InputError, ModelError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.quality.pictures import outlined

FIGURES = ("share", "hit", "area", "elsewhere", "reachable")
OVERALL = "all films"
#: Rows of the picture, and the side of each film in it.
PICTURED, PICTURE_PX = 12, 256

SCHEMA = {
    "model": pl.String, "output": pl.String, "figure": pl.String, "value": pl.Float64, "ci_low": pl.Float64,
    "ci_high": pl.Float64, "p_value": pl.Float64, "n_films": pl.Int64, "n_patients": pl.Int64, "n_empty": pl.Int64,
}  # fmt: skip


def evaluate_attribution(
    models: Sequence[str],
    studies: Path,
    concepts: Path,
    masks: Path,
    out: Path,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> pl.DataFrame:
    """Where one or two classifiers look, on films of patients that neither has seen and whose finding has a mask.

    Args:
        models: one or two folders, a classifier's or timm's; both must give the first one's outputs.
        studies, concepts: the films and their labels.
        masks: a Parquet table with ``image_id``, ``finding`` (a label or a concept) and ``mask_file_name`` (from the
            table's folder), as a cohort's findings.parquet; or the annotations.parquet of 'studies annotations'.
        out: folder for attribution.csv and .json, films.parquet and maps.png.
        names: of the first model's outputs.
        seed: of the bootstrap.
        device: torch device.

    Returns:
        A row a model, output and figure with its 95 % interval by patient; with two models, the second minus the first
        under ``model`` = ``difference``.

    Raises:
        InputError: a table is missing or wrong, or no film has both a label and its mask.
        ModelError: a model that torch cannot differentiate.
    """
    classifiers = [_classifier(where, device) for where in models]
    films = held_out(models, studies, concepts, names=names, device=device)
    asked = _asked(films, masks, read_concepts(concepts)[1])
    parts: list[pl.DataFrame] = []
    maps: list[np.ndarray] = []
    for where, classifier in zip(models, classifiers, strict=True):
        own = {plain(name): i for i, name in enumerate(classifier.labels)}
        if names is not None and not maps:
            own = {plain(name): i for i, name in enumerate(names)}
        places = [own[plain(label)] for label in films.examples.labels]
        found = gradcam(classifier, asked["path"].to_list(), [places[i] for i in asked["place"]])
        maps.append(found)
        parts.append(
            _measured(asked, found, classifier.record.image_size_px).with_columns(model=pl.lit(where))
        )
    everything = pl.concat(parts)
    table = _summary(parts, list(models), seed)
    with atomic(out / "films.parquet") as temporary:
        everything.drop("place", "path").write_parquet(temporary)
    with atomic(out / "attribution.csv") as temporary:
        table.write_csv(temporary)
    with atomic(out / "attribution.json") as temporary:
        record = {
            "models": list(models),
            "masks": str(masks),
            "n_left_out_as_seen": films.n_left_out,
            "seed": seed,
        }
        temporary.write_text(json.dumps(record | {"figures": table.to_dicts()}, indent=1) + "\n")
    _picture(asked, maps, out / "maps.png")
    return table


def share_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """``(N,)`` share of each map's mass inside its mask, 0 for a map that is 0 everywhere.

    Args:
        maps: ``(N, h, w)``, >= 0.
        masks: ``(N, S, S)`` in [0, 1], in between at the border.
    """
    large = _enlarged(maps, masks.shape[-1])
    total = large.sum((1, 2))
    return np.divide((large * masks).sum((1, 2)), total, out=np.zeros(len(maps)), where=total > 0)


def _measured(asked: pl.DataFrame, maps: np.ndarray, size: int) -> pl.DataFrame:
    """A row a film and output, with the figures of one model."""
    n = asked.height
    columns = {name: np.full(n, np.nan) for name in FIGURES}
    patients, places = asked["patient_id"].to_numpy(), asked["place"].to_numpy()
    weight = maps.sum((1, 2), keepdims=True)
    even = np.divide(maps, weight, out=np.zeros_like(maps), where=weight > 0)
    for row in track(range(n), "Maps in masks", unit="films"):
        mask = _mask(asked["masks"][row].to_list(), size)[None]
        columns["share"][row] = share_inside(maps[row : row + 1], mask)[0]
        columns["hit"][row] = float(maps[row].any() and mask[0][_centre(maps[row], size)] >= 0.5)
        columns["area"][row] = mask.mean()
        columns["reachable"][row] = share_inside(_reduced(mask, maps.shape[1:]), mask)[0]
        others = (places == places[row]) & (patients != patients[row]) & (weight[:, 0, 0] > 0)
        if others.any():
            columns["elsewhere"][row] = share_inside(even[others].mean(0, keepdims=True), mask)[0]
    return asked.with_columns(
        *(pl.Series(name, values) for name, values in columns.items()),
        is_empty=pl.Series(weight[:, 0, 0] == 0),
    )


def _summary(parts: Sequence[pl.DataFrame], models: Sequence[str], seed: int) -> pl.DataFrame:
    rows = []
    outputs = [*parts[0]["output"].unique(maintain_order=True), OVERALL]
    for output in outputs:
        some = [part if output == OVERALL else part.filter(output=output) for part in parts]
        patients = some[0]["patient_id"].to_list()
        for model, part in zip(models, some, strict=True):
            for figure in FIGURES:
                known = part.filter(pl.col(figure).is_not_nan())
                if known.height:
                    found = mean_interval(known[figure].to_numpy(), known["patient_id"].to_list(), seed=seed)
                    rows.append(_row(model, output, figure, found, None, part["is_empty"].sum()))
        if len(some) == 2:
            for figure in ("share", "hit"):
                values = [part[figure].to_numpy() for part in some]
                first, second = (lambda w, v=v: w @ v / w.sum(-1) for v in values)
                difference = bootstrap_difference(first, second, patients, seed=seed)
                rows.append(_row("difference", output, figure, difference, difference.p_value, None))
    return pl.DataFrame(rows, schema=SCHEMA)


def _row(model: str, output: str, figure: str, found: Interval, p_value: float | None, n_empty: int | None) -> dict:  # fmt: skip
    values = (model, output, figure, found.estimate, found.ci_low, found.ci_high, p_value, found.n_images, found.n_patients, n_empty)  # fmt: skip
    return dict(zip(SCHEMA, values, strict=True))


def _asked(films: HeldOut, masks: Path, vocabulary: Vocabulary) -> pl.DataFrame:
    """A row a film and output that is there and has masks: ``image_id, patient_id, path, output, place, masks``."""
    table = _mask_table(masks)
    labels = films.examples.labels
    places = {plain(label): i for i, label in enumerate(labels)}
    known = set(vocabulary.concepts)
    drawn: dict[tuple[str, int], list[str]] = {}
    for image_id, finding, name in table.iter_rows():
        as_label = vocabulary.label_of(finding) if finding in known else finding
        for place in {places[name] for name in (plain(finding), plain(as_label)) if name in places}:
            drawn.setdefault((image_id, place), []).append(str(masks.parent / name))
    e = films.examples
    rows = [
        {"image_id": e.image_ids[i], "patient_id": e.patient_ids[i], "path": str(e.paths[i]), "output": label, "place": place, "masks": drawn[e.image_ids[i], place]}
        for place, label in enumerate(labels)
        for i in np.flatnonzero(e.targets[:, place] == 1)
        if (e.image_ids[i], place) in drawn
    ]  # fmt: skip
    if not rows:
        raise InputError(
            f"no film that shows one of {', '.join(labels)} has its mask in {masks} ({table.height} masks); findings and "
            "image_id must be those of the films."
        )
    return pl.DataFrame(rows)


def _mask_table(path: Path) -> pl.DataFrame:
    columns = ("image_id", "finding", "mask_file_name")
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a Parquet table of masks.") from error
    if "finding" not in table.columns and "label" in table.columns:  # as 'studies annotations' writes
        table = table.rename({"label": "finding"})
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; expected {', '.join(columns)}.")
    return table.select(columns).drop_nulls()


def _classifier(where: str, device: str) -> Classifier:
    if where.startswith("xrv:") or where.endswith(".onnx") or not Path(where).is_dir():
        raise ModelError(f"{where} is no folder of weights; Grad-CAM needs a classifier's folder or one of timm's.")  # fmt: skip
    return open_classifier(where, device)


def _mask(paths: Sequence[str], size: int) -> np.ndarray:
    """Masks of one film, together, ``(S, S)`` in [0, 1]."""
    return (load_films(list(paths), size) / 255).max(0)


def _centre(attribution: np.ndarray, size: int) -> tuple[int, int]:
    """The pixel at the centre of the largest cell."""
    i, j = np.unravel_index(attribution.argmax(), attribution.shape)
    h, w = attribution.shape
    return int((i + 0.5) * size / h), int((j + 0.5) * size / w)


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """``(N, h, w)`` to ``(N, S, S)``, bilinear."""
    import torch

    x = torch.from_numpy(np.asarray(maps, dtype=np.float64))[:, None]
    return torch.nn.functional.interpolate(x, (size, size), mode="bilinear", align_corners=False)[
        :, 0
    ].numpy()


def _reduced(masks: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``(N, S, S)`` to ``(N, h, w)``, the mean of each cell."""
    import torch

    return torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None], tuple(shape))[
        :, 0
    ].numpy()


def _picture(asked: pl.DataFrame, maps: Sequence[np.ndarray], path: Path) -> None:
    """Some films with their mask's outline, and beside each the map of every model: evenly over the outputs."""
    chosen = np.linspace(0, asked.height - 1, min(PICTURED, asked.height)).round().astype(int)
    rows = []
    for i in chosen:
        film = load_films([asked["path"][int(i)]], PICTURE_PX)[0] / 255
        mask = _mask(asked["masks"][int(i)].to_list(), PICTURE_PX)
        rows.append(
            np.concatenate([outlined(film, mask), *(_heat(film, found[i], mask) for found in maps)], axis=1)
        )
    half = -(-len(rows) // 2)
    blank = [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    columns = [np.concatenate(part) for part in (rows[:half], [*rows[half:], *blank])]
    info = PngInfo()
    info.add_text("Comment", "each film with its finding's outline, then Grad-CAM of each model")
    with atomic(path) as temporary:
        Image.fromarray(np.concatenate(columns, axis=1)).save(temporary, format="PNG", pnginfo=info)


def _heat(film: np.ndarray, attribution: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The film with the map over it in red, its largest value at full strength, and the mask's outline."""
    large = _enlarged(attribution[None], PICTURE_PX)[0]
    strength = (large / large.max() if large.max() > 0 else large)[..., None] * 0.6
    under = outlined(film, mask).astype(float)
    return np.rint(under * (1 - strength) + np.array([230, 40, 30]) * strength).astype(np.uint8)
