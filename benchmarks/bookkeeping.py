"""What a run costs beside its editor, against the number of images: a stub editor, 8 x 8 px films, real files and ledger.

python benchmarks/bookkeeping.py OUT 1000 10000 100000 1000000

Prints a line of Markdown a size: making, the same command again with nothing left, verify, memory, ledger.
"""

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from stub_run import stub_run

from synthorax.runs.checking import verify


def measured(out: Path, n: int) -> str:
    """One size, in this process."""
    began, cpu_began = time.perf_counter(), time.process_time()
    stub_run(out, n, 8)
    made, cpu_made = time.perf_counter(), time.process_time()
    stub_run(out, n, 8)
    again = time.perf_counter()
    verdict = verify(out)
    verified = time.perf_counter()
    if verdict.problems or verdict.n_files != n:
        raise SystemExit(f"not whole: {verdict.problems[:3]}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    ledger = (out / "ledger.sqlite").stat().st_size / n
    return (
        f"| {n:,} | {1e3 * (cpu_made - cpu_began) / n:.2f} | {1e3 * (made - began) / n:.2f} | {made - began:.0f} | {again - made:.1f} | {verified - again:.1f} "
        f"| {memory:.1f} | {ledger:.0f} |"
    )


if __name__ == "__main__":
    out, *sizes = sys.argv[1:]
    if len(sizes) == 1:
        print(measured(Path(out), int(sizes[0])), flush=True)
    else:
        print(
            "| images | ms of processor an image | ms an image | s in all | s again | s to verify | GB of memory | bytes of ledger an image |"
        )
        print("|" + " ---: |" * 8, flush=True)
        for size in sizes:  # a process each, so that memory is its own
            subprocess.run([sys.executable, __file__, out, size], check=True)
            shutil.rmtree(out)
