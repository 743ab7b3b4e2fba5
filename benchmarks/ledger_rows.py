"""The ledger and the manifest alone, without image files: planning, entering in eights, resuming, writing metadata.parquet.

python benchmarks/ledger_rows.py OUT 1000000
"""

import sys
import time
from pathlib import Path

from synthorax.runs.folder import RunFolder
from synthorax.runs.items import BATCH, write_dataset

#: As long as an edit's row.
ROW = {"prompt": "Chest film. Left effusion. Enlarged heart.", "method": "radedit", "model_sha256": "ab" * 32,
       "concepts_before": ["enlarged_heart"], "concepts_after": ["enlarged_heart", "effusion"], "is_synthetic": True}  # fmt: skip


def main(out: Path, n: int) -> None:
    steps: dict[str, tuple[float, float]] = {}

    def step(name: str, work) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        steps[name] = time.perf_counter() - wall, time.process_time() - processor

    def enter() -> None:
        for begin in range(0, n, BATCH):
            names = [f"{i:07d}" for i in range(begin, min(begin + BATCH, n))]
            rows = {name: {**ROW, "file_name": f"edits/{name}.png", "seed": int(name)} for name in names}
            run.ledger.enter(
                "edits", rows, {name: (f"synthetic/edits/{name}.png", "0" * 64) for name in names}
            )

    run = RunFolder.open(out, {"kind": "ledger rows", "n": n})
    step("plan", lambda: run.ledger.plan("edits", (f"{i:07d}" for i in range(n))))
    step("enter, in eights", enter)
    step("resume: what is done", lambda: run.ledger.done_items("edits"))
    step("metadata.parquet", lambda: write_dataset(run, "edits"))
    if run.ledger.counts()["edits"]["done"] != n:
        raise SystemExit("rows were lost")
    for name, (wall, processor) in steps.items():
        print(f"| {n:,} | {name} | {1e3 * processor / n:.3f} | {wall:.0f} |")
    run.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
