"""How fast virtual patients are written, at the settings of the realism page: 512 px, physical mode, PNG, masks.

    python benchmarks/phantom_speed.py [--patients 96] [--workers 2] [--build]

Prints one JSON line. ``films_per_s`` counts every film (first film and counterfactual of each take) with five takes a
patient; ``patients_per_s`` counts new patients with one film, its masks and one counterfactual. ``--build`` also
builds the atlas anew in an empty cache. Peak memory is the largest of all processes. ``steady_`` figures leave out
what starting the processes takes (a cohort of one patient a worker).
"""

import argparse
import json
import resource
import sys
import tempfile
import time

from synthorax.phantom import Atlas, sample_cohort


def seconds(**settings: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sample_cohort(seed=20260924, out=folder, size=512, counterfactuals=1, **settings)
        return time.perf_counter() - began


def peak_mb() -> int:
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(max(used) / (1 if sys.platform != "darwin" else 1024) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--build", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, float] = {}
    if arguments.build:
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            Atlas.load(cache)
            found["atlas_build_s"] = round(time.perf_counter() - began, 1)
    Atlas.load()
    workers, patients = arguments.workers, arguments.patients
    start = seconds(n=workers, workers=workers)
    once = seconds(n=patients, workers=workers)
    start_five = seconds(n=workers, renderings=5, workers=workers)
    five = seconds(n=patients // 4, renderings=5, workers=workers)
    found |= {
        "patients_per_s": round(patients / once, 2),
        "steady_patients_per_s": round((patients - workers) / (once - start), 2),
        "films_per_s": round(patients // 4 * 10 / five, 2),
        "steady_films_per_s": round((patients // 4 - workers) * 10 / (five - start_five), 2),
        "start_s": round(start, 1),
        "peak_mb": peak_mb(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
