"""Strict counterfactual pairs: how many grey levels change outside what a finding touches, and how much it touches.

    python benchmarks/phantom_exactness.py [--perturbations 200] [--seed 20261124]

Each perturbation takes a patient of its own and two sets of up to three findings, drawn anew. The support of a
finding is the set of pixels whose attenuation it changes. Prints a Markdown table: per finding its support's and its
visible mask's share of the film and its volume (mean and range over the patients that were given it), the largest
change of grey outside the support in strict mode, and, for comparison, the mean change there in physical mode.
"""

import argparse
from collections import defaultdict

import numpy as np

from synthorax.phantom import Atlas, VirtualPatient
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator


def levels(patient: VirtualPatient, findings: list[str], mode: str) -> np.ndarray:
    return np.rint(255 * patient.render(findings, mode).image).astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--perturbations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    arguments = parser.parse_args()
    atlas, rows = Atlas.load(), defaultdict(list)
    names, worst, n_outside = [*CONCEPTS, *INCIDENTAL], 0, 0
    for i in track(
        range(arguments.perturbations), "Perturbations", total=arguments.perturbations, unit="pairs"
    ):
        rng = generator(arguments.seed, i)
        patient = VirtualPatient(derive_seed(arguments.seed, "patient", i), atlas)
        own = {f.concept for f in patient.incidentals}
        before, after = (
            [n for n in rng.choice(names, rng.integers(0, 4), replace=False).tolist() if n not in own]
            for _ in "ab"
        )
        support = np.zeros((512, 512), bool)
        for name in sorted({*before, *after}):
            finding = patient.finding(name)
            touched = finding.delta != 0
            support |= touched
            alone = np.abs(levels(patient, [name], "physical") - levels(patient, [], "physical"))
            rows[name].append(
                (
                    touched.mean(),
                    finding.mask.mean(),
                    finding.amounts.get("volume_ml", np.nan),
                    alone[~touched].mean(),
                )
            )
        change = np.abs(levels(patient, before, "strict") - levels(patient, after, "strict"))
        worst, n_outside = (
            max(worst, change[~support].max(initial=0)),
            n_outside + (change[~support] > 0).sum(),
        )
    print(
        f"{arguments.perturbations} perturbations of as many patients, strict: {n_outside} pixels changed outside the "
        f"support, at most {worst} grey levels.\n"
    )
    print(
        "| finding | n | support, % of film | visible, % of film | ml | physical: mean grey levels outside |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        support, visible, ml, outside = np.array(rows[name]).reshape(-1, 4).T
        if len(support):
            spread = "" if np.isnan(ml).all() else f"{ml.mean():.0f} ({ml.min():.0f}-{ml.max():.0f})"
            print(
                f"| {name} | {len(support)} | {100 * support.mean():.1f} | {100 * visible.mean():.1f} | {spread} "
                f"| {outside.mean():.2f} |"
            )


if __name__ == "__main__":
    main()
