"""How fast virtual patients are written, at the settings of the realism page: 512 px, physical mode, PNG, masks.

    python benchmarks/phantom_speed.py [--patients 48] [--workers 2] [--build]

Prints one JSON line. ``films_per_s`` counts every film (first film and counterfactual of each take) with five takes a
patient; ``patients_per_s`` counts new patients with one film, its masks and one counterfactual. ``--build`` also
builds the atlas anew in an empty cache. Peak memory is the largest of all processes.
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
    parser.add_argument("--patients", type=int, default=48)
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
    start = seconds(n=arguments.workers, workers=arguments.workers)  # what starting the processes costs
    once = seconds(n=arguments.patients, workers=arguments.workers)
    five = seconds(n=max(1, arguments.patients // 4), renderings=5, workers=arguments.workers)
    found |= {
        "patients_per_s": round(arguments.patients / once, 2),
        "films_per_s": round(max(1, arguments.patients // 4) * 10 / five, 2),
        "processes_start_s": round(start, 1),
        "peak_mb": peak_mb(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
