"""A run whose editor costs nothing, to measure and to kill what is around it: OUT N [SIDE_PX] [SECONDS_A_BATCH] [SHARD].

python benchmarks/stub_run.py OUT 1000000 8
"""

import sys
import time
from pathlib import Path

from synthorax.runs.folder import RunFolder
from synthorax.runs.items import Item, Shard, make_items, write_dataset
from synthorax.seeds import generator


def stub_run(out: Path, n: int, side: int = 16, seconds: float = 0.0, shard: str = "1/1") -> Path:
    """Make ``n`` small noise films, as every long command makes its own."""
    part = Shard.parse(shard)
    items = [
        Item(f"{i:07d}", {"file_name": f"films/{i % 1000:03d}/{i:07d}.png", "image_id": f"{i:07d}", "seed": i,
                          "prompt": "Left effusion.", "is_synthetic": True}, {"Synthetic": "YES"})
        for i in range(n)
    ]  # fmt: skip

    def make(some, batch_size):
        if seconds:
            time.sleep(seconds)
        return [generator(item.row["seed"]).random((side, side)) for item in some]

    config = {"kind": "stub", "n": n, "side": side}
    if part.n > 1:
        config["shard"] = [part.index, part.n]
    run = RunFolder.open(part.folder(out), config)
    make_items(run, "films", part.of(items), make)
    path = write_dataset(run, "films")
    run.close()
    return path


if __name__ == "__main__":
    out, n, *rest = sys.argv[1:]
    kinds = (int, float, str)
    print(stub_run(Path(out), int(n), *(kind(word) for kind, word in zip(kinds, rest, strict=False))))
