"""How the workbench holds up: a gallery of 10,000 films, and 50 readers who answer at once for a minute.

    python benchmarks/workbench_load.py [--films 10000] [--readers 50] [--seconds 60] [--pause 1]

Starts the real server on loopback on a made run and prints one JSON line. Gallery: seconds to the first page (the very
first, and the median of 20), and the server's resident memory before and after every page and 2,000 thumbnails.
Readers: every one opens a case, loads its film, looks for ``--pause`` seconds (a radiologist takes ten times as long; 0 is
as fast as the machine can), answers and goes on; answers sent against answers stored, and the 95th percentile of each kind of request. The answers are a program's (the study is marked simulated).
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.readers import create_study


def make_run(folder: Path, n: int) -> Path:
    """``n`` edits, each a file of its own; sources too."""
    film = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    rows = []
    for i in range(n):
        for kind in ("edits", "sources"):
            write_png(np.roll(film, i, axis=1), folder / f"synthetic/{kind}/{i}.png")
        rows.append({
            "file_name": f"edits/{i}.png", "patient_id": f"p{i}", "image_id": f"e{i}", "source_image_id": f"s{i}",
            "source_file_name": f"sources/{i}.png", "concepts_before": ["unremarkable"],
            "concepts_after": ["mass"] if i % 2 else ["effusion"], "labels_after": [], "prompt": "Mass.",
            "perturbation_type": ("insertion", "deletion", "intra_class")[i % 3], "method": "radedit", "is_simulated": True,
        })  # fmt: skip
    write_metadata(metadata_frame(rows), folder / "synthetic")
    return folder


def get(connection: HTTPConnection, path: str, body: dict | None = None) -> tuple[int, bytes, float]:
    began = time.perf_counter()
    form = None if body is None else urlencode(body)
    headers = {} if body is None else {"content-type": "application/x-www-form-urlencoded"}
    connection.request("GET" if body is None else "POST", path, form, headers)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, content, time.perf_counter() - began


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def gallery(port: int, pid: int, n: int) -> dict[str, float]:
    connection = HTTPConnection("127.0.0.1", port)
    first = get(connection, "/gallery")[2]
    again = [get(connection, "/gallery")[2] for _ in range(20)]
    filtered = [get(connection, "/gallery?finding=mass&type=insertion")[2] for _ in range(20)]
    for row in range(200):
        get(connection, f"/thumbnail/{row}/edit.jpg")
    before = resident_mb(pid)
    for page in range(1, n // 48 + 1):
        get(connection, f"/gallery?page={page}")
    small = [get(connection, f"/thumbnail/{(row * 7) % n}/edit.jpg")[2] for row in range(2000)]
    return {
        "first_page_s": first, "page_median_s": statistics.median(again), "filtered_median_s": statistics.median(filtered),
        "thumbnail_median_s": statistics.median(small), "memory_before_mb": before, "memory_after_mb": resident_mb(pid),
    }  # fmt: skip


def readers(
    port: int, links: list[str], seconds: float, pause: float
) -> tuple[dict[str, float], dict[str, list[str]]]:
    spent: dict[str, list[float]] = {"case": [], "film": [], "answer": []}
    sent: dict[str, list[str]] = {link: [] for link in links}
    end = time.perf_counter() + seconds

    def read(link: str) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        position = 1
        while time.perf_counter() < end:
            status, page, took = get(connection, f"/read/{link}/{position}")
            if status != 200 or b"<form" not in page:
                break
            spent["case"].append(took)
            spent["film"].append(get(connection, f"/read/{link}/{position}/a.png")[2])
            time.sleep(pause)
            comment = f"{link} {position}"
            body = {"realism": "real", "concepts": "full", "comment": comment}
            status, _, took = get(connection, f"/read/{link}/{position}", body)
            assert status == 303, status
            spent["answer"].append(took)
            sent[link].append(comment)
            position += 1

    threads = [threading.Thread(target=read, args=(link,)) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = {f"{kind}_p95_s": float(np.quantile(took, 0.95)) for kind, took in spent.items()}
    every = np.concatenate(list(spent.values()))
    return {**figures, "all_p95_s": float(np.quantile(every, 0.95)), "requests": len(every)}, sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, socket.socket() as free:
        run = make_run(Path(temporary) / "run", arguments.films)
        study = create_study(run, run / "readers/cars.sqlite", readers=arguments.readers, cases=min(2000, arguments.films), is_simulated=True)  # fmt: skip
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = subprocess.Popen([sys.executable, "-m", "synthorax.cli", "serve", str(run), "--port", str(port)], stdout=subprocess.DEVNULL)  # fmt: skip
        while True:
            try:
                get(HTTPConnection("127.0.0.1", port), "/static/icon.svg")
                break
            except OSError:
                time.sleep(0.2)
        found = {**gallery(port, server.pid, arguments.films)}
        load, sent = readers(port, list(study.links().values()), arguments.seconds, arguments.pause)
        server.terminate()
        server.wait()
        stored = {(a["reader"], a["position"]): a["comment"] for a in study.answers()}
        wanted = {
            (reader, i): text
            for reader, link in study.links().items()
            for i, text in enumerate(sent[link], 1)
        }
        found |= {
            **load,
            "answers_sent": len(wanted),
            "answers_stored": len(stored),
            "answers_equal": stored == wanted,
        }
        print(json.dumps({"films": arguments.films, "readers": arguments.readers, "pause_s": arguments.pause, **{k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}}))  # fmt: skip


if __name__ == "__main__":
    main()
