"""How real simulated films look: writes docs/realism.md and its pictures from a folder of ChestX-ray14.

    python docs/realism.py NIH [--cohort FOLDER] [--quick]

FOLDER is any cohort of ``synthorax phantom sample``, of which each patient's first film is taken; without it one is
made with the default settings at 512 px in ``runs`` and kept. Statistics and critics are those of ``synthorax.quality.realism``; what they see, how they are
trained and on which folds is fixed there and below. ``--quick`` takes a third of the films and of the epochs, and
leaves the page alone: it prints it.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from synthorax.classifiers.loading import load_films
from synthorax.classifiers.metrics import auroc
from synthorax.classifiers.statistics import bootstrap, bootstrap_interval
from synthorax.phantom import sample_cohort
from synthorax.quality.realism import (
    BORDER_FRACTION,
    N_FOLDS,
    CriticConfig,
    cohens_d,
    correlations,
    film_critic,
    film_statistics,
    inside,
    mean_correlation,
    patient_folds,
    radial_power,
    table_critic,
)
from synthorax.studies import import_studies, read_manifest

PATIENTS, QUICK_PATIENTS, COHORT_SEED, SIZE = 240, 80, 20261124, 512
RINGS = np.geomspace(0.006, 0.5, 33)
#: Side of the films that a network sees: how it is trained. 64 px leave shape, 256 px show texture too.
NETWORKS = {64: CriticConfig(epochs=16), 256: CriticConfig(epochs=8)}
HERE = Path(__file__).parent


def films_of(frame: pl.DataFrame, normal: str) -> pl.DataFrame:
    """The columns that the page needs, in a fixed order."""
    return frame.sort("image_id").select(
        "file_name",
        "patient_id",
        pl.col("view_position").alias("view"),
        pl.col("labels_present").list.contains(normal).fill_null(False).alias("normal"),
    )


def weighted_mean(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return (w @ x) / w.sum(1, keepdims=True)


def statistics_table(table: pl.DataFrame, y: np.ndarray, films: pl.DataFrame) -> list[str]:
    """Mean of each statistic with interval, deviation over films, and Cohen's d, all and by view."""
    rows = [
        "| statistic | real, mean (95 %) | sd over films | simulated, mean (95 %) | sd over films | d | d, PA | d, AP |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    views = films["view"].to_numpy()
    means = {
        kind: bootstrap(
            partial(weighted_mean, table.to_numpy()[y == kind]),
            films["patient_id"].to_numpy()[y == kind].tolist(),
        )
        for kind in (0, 1)
    }
    for i, name in enumerate(table.columns):
        x = table[name].to_numpy()
        cells = [
            f"{(m := means[kind][i].interval()).estimate:.2f} ({m.ci_low:.2f} to {m.ci_high:.2f}) | {x[y == kind].std():.2f}"
            for kind in (0, 1)
        ]
        d = [
            cohens_d(x[(y == 0) & seen], x[(y == 1) & seen])
            for seen in (y >= 0, views == "PA", views == "AP")
        ]
        rows.append(f"| {name} | {' | '.join(cells)} | {' | '.join(f'{value:+.2f}' for value in d)} |")
    return rows


def correlation_rows(pixels: np.ndarray, y: np.ndarray, films: pl.DataFrame) -> list[str]:
    """Mean correlation between films of two patients: coarse at 32 px, high-pass at 128 px."""
    small = load_films(pixels, 128)
    smooth = np.stack([load_films(film[None], 32)[0] for film in small])
    back = np.stack(
        [np.asarray(Image.fromarray(film).resize((128, 128), Image.Resampling.BICUBIC)) for film in smooth]
    )
    kinds = {"coarse (32 px)": inside(smooth).astype(float), "high-pass": inside(small.astype(float) - back)}
    rows = ["| correlation between two patients | real | simulated |", "| --- | ---: | ---: |"]
    patients = films["patient_id"].to_numpy()
    for name, x in kinds.items():
        cells = []
        for kind in (0, 1):
            matrix, who = correlations(x[y == kind]), patients[y == kind]
            cells.append(
                str(bootstrap_interval(lambda w, m=matrix, p=who: mean_correlation(m, p, w), who.tolist()))
            )
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def critic_row(name: str, y: np.ndarray, scores: np.ndarray, films: pl.DataFrame) -> str:
    """AUROC of a critic: all films, PA, AP, and films without a finding."""
    views, cells = films["view"].to_numpy(), []
    for kept in (y >= 0, views == "PA", views == "AP", films["normal"].to_numpy()):
        who = films["patient_id"].to_numpy()[kept].tolist()
        cells.append(str(bootstrap_interval(lambda w, k=kept: auroc(y[k], scores[k], w), who)))
    return f"| {name} | {' | '.join(cells)} |"


def picture(panels: list[np.ndarray], name: str, titles: list[str]) -> str:
    """Panels of one size side by side, a title over each; the line of Markdown that shows them."""
    height, width = panels[0].shape
    sheet = Image.new("L", (width * len(panels), height + 20), 255)
    pen = ImageDraw.Draw(sheet)
    for i, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        sheet.paste(Image.fromarray(np.clip(panel, 0, 255).astype(np.uint8)), (i * width, 20))
        pen.text((i * width + 4, 4), title, fill=0)
    sheet.save(HERE / "images" / name, optimize=True)
    return f"![{'; '.join(titles)}](../docs/images/{name})"


def stretched(maps: np.ndarray, size: int) -> np.ndarray:
    """A small map as a picture: grey is 0, white the largest value to either side."""
    scaled = 127.5 + 127.5 * maps / np.abs(maps).max()
    return np.asarray(
        Image.fromarray(scaled.astype(np.float32)).resize((size, size), Image.Resampling.NEAREST)
    )


def sheet(films: np.ndarray, side: int = 128) -> np.ndarray:
    """Two rows of four films."""
    small = load_films(films[:8], side)
    return np.vstack([np.hstack(small[:4]), np.hstack(small[4:])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", type=Path)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    began = time.perf_counter()
    n_patients = QUICK_PATIENTS if asked.quick else PATIENTS
    cohort = asked.cohort or sample_cohort(n_patients, COHORT_SEED, f"runs/realism-{n_patients}", size=SIZE)
    settings = json.loads((cohort / "cohort.json").read_text())
    if settings["size"] != SIZE:
        parser.error(
            f"{cohort} has films of {settings['size']} px; expected {SIZE}. Sample it with --size {SIZE}."
        )
    n_atlases = len(settings.get("atlases", [None]))  # left out where the built-in one is alone
    anatomies = "one anatomy" if n_atlases == 1 else f"{n_atlases} anatomies"
    real = films_of(import_studies(asked.nih, "nih").frame, "No Finding")
    takes = films_of(read_manifest(cohort / "studies.parquet"), "No Relevant Finding")
    simulated = takes.unique("patient_id", keep="first", maintain_order=True).head(n_patients)
    real = real.gather_every(3) if asked.quick else real
    films = pl.concat([real, simulated])
    y = np.repeat([0, 1], [real.height, simulated.height])
    pixels = load_films(films["file_name"].to_list(), SIZE)
    folds = patient_folds(y, films["patient_id"].to_list())

    table = pl.DataFrame([film_statistics(film) for film in pixels])
    inner = inside(pixels).astype(np.float32)
    spectrum = np.array([np.log10(radial_power(film / film.std(), RINGS.tolist()) + 1e-9) for film in inner])
    spectrum = spectrum[:, ~np.isnan(spectrum).any(0)]
    histogram = np.array([np.histogram(film, 32, (0, 256))[0] / film.size for film in inner])
    critics, verdicts = [], {}
    for name, features in (("power spectrum", spectrum), ("grey histogram", histogram)):
        for kind in ("linear", "boosted"):
            critics.append(critic_row(f"{name}, {kind}", y, table_critic(features, y, folds, kind), films))
    for side, config in NETWORKS.items():
        config = replace(config, epochs=config.epochs // 2) if asked.quick else config
        verdicts[side] = film_critic(load_films(pixels, side), y, folds, config)
        critics.append(critic_row(f"network, {side} px", y, verdicts[side].scores, films))

    effects = [(cohens_d(spectrum[y == 0, i], spectrum[y == 1, i]), i) for i in range(spectrum.shape[1])]
    centres = np.sqrt(RINGS[:-1] * RINGS[1:])[-spectrum.shape[1] :]
    lines = [
        "# How real the virtual patients look",
        "",
        f"Written by `python docs/realism.py NIH`; do not edit. Simulated, {anatomies}: {simulated.height} films of "
        "as many virtual patients, the first film each of `synthorax phantom sample "
        f"--n {settings['n']} --seed {settings['seed']} --size {settings['size']} --renderings {settings['renderings']}`. "
        f"Real: {real.height} films of {real['patient_id'].n_unique()} patients of NIH ChestX-ray14 (Wang et al. 2017; "
        "NIH Clinical Center). Intervals are 95 %, by bootstrap over patients. No radiologist has looked at the films.",
        "",
        f"Only the inside of a film counts: {BORDER_FRACTION:.0%} are cut off on each side.",
        "",
        "## Can a critic tell them apart?",
        "",
        "AUROC of critics told to separate simulated from real films: .5 is indistinguishable, 1 always told apart. "
        f"{N_FOLDS} folds, no patient in two. The critic of the power spectrum sees the film at unit deviation in 32 "
        "rings of frequency and nothing else, the critic of histograms 32 shares of grey levels. The network "
        f"(ResNet-10-T at half width, from scratch) sees random crops of {CriticConfig().crop_fraction:.0%} of the side, "
        f"standardised each, for {' and '.join(f'{c.epochs} epochs at {s} px' for s, c in NETWORKS.items())}.",
        "",
        "| critic | all | PA | AP | without finding |",
        "| --- | ---: | ---: | ---: | ---: |",
        *critics,
        "",
        "## Statistics",
        "",
        "Grey levels 0 to 255 of films of 512 px, frequencies in cycles a pixel. d is Cohen's d, simulated minus real.",
        "",
        *statistics_table(table, y, films),
        "",
        *correlation_rows(pixels, y, films),
        "",
        "## What the critics see",
        "",
        "Power of the standardised film by frequency, difference of log10 (simulated minus real) and d:",
        "",
        "| cycles a pixel | difference | d |",
        "| ---: | ---: | ---: |",
        *(
            f"| {centres[i]:.3f} | {spectrum[y == 1, i].mean() - spectrum[y == 0, i].mean():+.2f} | {d:+.2f} |"
            for d, i in effects
        ),
        "",
    ]
    if not asked.quick:
        mean = [load_films(pixels[y == kind], 256).mean(0) for kind in (0, 1)]
        spread = [load_films(pixels[y == kind], 256).std(0) for kind in (0, 1)]
        lines += [
            picture(
                [*mean, 128 + 2 * (mean[1] - mean[0]), *(3 * s for s in spread)],
                "realism_means.png",
                [
                    "mean real film",
                    "mean simulated film",
                    "difference, twice",
                    "sd real, x3",
                    "sd simulated, x3",
                ],
            ),
            "",
            "Which places make the network (256 px) call a film simulated (white) or real (black), mean over films that it was "
            "not trained on:",
            "",
            picture(
                [stretched(verdicts[256].maps[y == kind].mean(0), 256) for kind in (0, 1)],
                "realism_places.png",
                ["real films", "simulated films"],
            ),
            "",
            "The simulated films that the network (256 px) takes for real most and least (real films are not shown: none "
            "is part of this repository):",
            "",
        ]
        order = np.flatnonzero(y)[np.argsort(verdicts[256].scores[y == 1])]
        lines += [
            picture(
                [sheet(pixels[order]), sheet(pixels[order[::-1]])],
                "realism_films.png",
                ["simulated, most real-looking", "simulated, least real-looking"],
            ),
            "",
        ]
    page = "\n".join(lines)
    if asked.quick:
        print(page)
    else:
        (HERE / "realism.md").write_text(page)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
