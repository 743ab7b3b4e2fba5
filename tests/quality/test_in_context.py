"""In-context examples: which, in what order, one that misleads, and how a describer is shown them."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.quality.in_context import Example, Examples, describe_by_examples, read_examples, thumbnail

WORDS = Vocabulary.load()
SIZE = 32


def film(angle: float) -> np.ndarray:
    """A ramp in a direction: films are the more alike the nearer their angles."""
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    return 0.5 + 0.5 * (x * np.cos(angle) + y * np.sin(angle))


@pytest.fixture
def library(tmp_path):
    """Five films at growing angles, each with a report of its own; the first patient is asked about."""
    reports = [
        "Left pleural effusion.",
        "Left pleural effusion. Cardiomegaly.",
        "Lung mass.",
        "Pneumothorax.",
        "Nodule.",
    ]
    rows = []
    for i, report in enumerate(reports):
        write_png(film(0.4 * i), tmp_path / f"{i}.png")
        rows.append({"file_name": str(tmp_path / f"{i}.png"), "report": report, "patient_id": f"p{i}", "study_id": f"s{i}", "image_id": f"i{i}"})  # fmt: skip
    return pl.DataFrame(rows)


def reports(examples: list[Example]) -> list[str]:
    return [example.report for example in examples]


def test_similarity_by_hand(library):
    one, other = (thumbnail(library["file_name"][i]) for i in (0, 2))
    assert one @ one == pytest.approx(1) and one @ other == pytest.approx(np.cos(0.8), abs=0.01)


def test_the_most_similar_are_taken_and_the_most_relevant_stands_last(library, tmp_path):
    films, asked = library[1:], tmp_path / "0.png"
    last = Examples(films, k=2).of(asked)
    assert reports(last) == ["Lung mass.", "Left pleural effusion. Cardiomegaly."]
    assert reports(Examples(films, k=2, order="relevant-first").of(asked)) == reports(last)[::-1]
    spoilt = Examples(films, k=2, noisy=True).of(asked)
    assert [e.path for e in spoilt] == [e.path for e in last], "the films stay"
    wrong = [e.report for e, true in zip(spoilt, last, strict=True) if e.report != true.report]
    assert wrong == ["Nodule."], "one report is that of the least similar film"
    drawn = {tuple(reports(Examples(films, k=2, choice="random", seed=s).of(asked))) for s in range(20)}
    assert len(drawn) > 3 and Examples(films, k=2, choice="random").of(asked) == Examples(films, k=2, choice="random").of(asked)  # fmt: skip


def test_a_vote_reads_what_half_of_the_weight_says(library, tmp_path):
    describe = describe_by_examples(Examples(library[1:], k=2), WORDS)
    assert describe([tmp_path / "0.png"]) == ["Effusion. Enlarged heart."]
    nearest = describe_by_examples(Examples(library[2:], k=1), WORDS)
    assert nearest([tmp_path / "4.png"]) == ["Nodule."]


def test_the_patient_asked_about_is_no_example(library):
    assert read_examples(library, ["p0", "p1"], "t", k=2).films.height == 3
    with pytest.raises(InputError, match="2 films with reports are too few for 2 examples"):
        read_examples(library, ["p0", "p1", "p2"], "t", k=2)
    with pytest.raises(InputError, match="examples' order is 'last'; expected one of"):
        Examples(library, order="last")
    with pytest.raises(InputError, match="t has the columns study_id; expected file_name and report"):
        read_examples(library.select("study_id"), [], "t")


class _Handler(BaseHTTPRequestHandler):
    """A vision-language model of the simplest kind that learns in context: it says what its last example says."""

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
        pictures = [m["content"][0]["image_url"]["url"] for m in messages if m["role"] == "user"]
        assert len(set(pictures)) == 3
        assert Image.open(io.BytesIO(base64.b64decode(pictures[0].split(",")[1]))).size == (SIZE, SIZE)
        assert len({m["content"][1]["text"] for m in messages if m["role"] == "user"}) == 1, "one question"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"choices": [{"message": {"content": messages[-2]["content"]}}]}).encode()
        )

    def log_message(self, *args: object) -> None:
        pass


def test_a_server_is_shown_examples_as_turns_and_their_order_counts(library, tmp_path, capsys):
    library.write_parquet(tmp_path / "studies.parquet")
    data = tmp_path / "data"
    write_png(film(0.0), data / "asked.png")
    write_metadata(metadata_frame([{"file_name": "asked.png", "image_id": "a", "patient_id": "p0", "concepts_after": ["effusion"], "concepts_unknown": []}]), data)  # fmt: skip
    common = [
        "evaluate",
        "semantic",
        str(data),
        "--examples",
        str(tmp_path / "studies.parquet"),
        "--shots",
        "2",
    ]

    def jaccard(name: str, *words: str) -> float:
        assert run([*common, "--out", str(tmp_path / name), *words]) == 0
        table = pl.read_csv(tmp_path / name / "semantic.csv")
        return table.filter(pl.col("perturbation_type") == "overall", pl.col("metric") == "jaccard")["mean"][
            0
        ]

    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = ["--reader", f"http://127.0.0.1:{server.server_port}/v1", "--reader-model", "m"]
        assert jaccard("last", *url) == 0.5, "the nearest film has an effusion and one finding more"
        assert jaccard("first", *url, "--order", "relevant-first") == 0, "the last one shown has a mass"
        server.shutdown()
    assert jaccard("vote", "--reader", "examples") == 0.5
    capsys.readouterr()
    assert run([*common[:3], "--reader", "examples", "--out", str(tmp_path / "x")]) == 2
    assert "votes among --examples" in capsys.readouterr().err
