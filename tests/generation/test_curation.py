"""Reports from labels: by templates, and by a language model behind a real server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import polars as pl
import pytest

from synthorax.cli import run
from synthorax.concepts import Vocabulary, annotate
from synthorax.errors import InputError, ModelError
from synthorax.generation import Endpoint, check_text, facts_of_labels, write_report, write_reports
from synthorax.generation.language_model import difference
from synthorax.generation.report_writer import wordings_of
from synthorax.studies import read_manifest, write_manifest

WORDS = Vocabulary.load("openchest")
ROW = {
    "study_id": "s1", "patient_id": "p1", "image_id": "i1", "file_name": "/films/1.png", "sex": "F", "age": 65.0,
    "view_position": "PA", "labels_present": ["Effusion", "COPD signs"], "labels_absent": ["Pneumothorax", "Hernia"],
    "labels_uncertain": ["Edema"], "source": "nih",
}  # fmt: skip
SIDES = [{"concept": "Effusion", "side": "left"}]
GOOD = (
    "PATIENT: 65-year-old woman.\nTECHNIQUE: PA chest radiograph.\nFINDINGS: Pleural effusion. Possible edema. "
    "COPD signs. No pneumothorax.\nIMPRESSION: Pleural effusion. COPD signs."
)


@pytest.mark.parametrize("concept", [c for c in WORDS.concepts if c != WORDS.unremarkable])
def test_every_wording_is_read_back_as_its_finding_alone(concept):
    for noun in wordings_of(concept, WORDS):
        for text in (f"There is {noun}.", f"{noun.capitalize()}."):
            assert annotate(text, WORDS).vector.present == {concept}, text


def test_a_report_says_what_the_labels_say_and_no_more():
    source = facts_of_labels(ROW | {"sides": SIDES}, WORDS)
    reports = {write_report(source, WORDS, seed) for seed in range(40)}
    assert len(reports) > 20, "the wording varies"
    for report in reports:
        assert check_text(report, source, WORDS, 80).is_passed, report
        assert [line.split(":")[0] for line in report.splitlines()] == ["PATIENT", "TECHNIQUE", "FINDINGS", "IMPRESSION"]  # fmt: skip
        assert "left" in report and "COPD signs" in report and "right" not in report
    assert write_report(source, WORDS, 3) == write_report(source, WORDS, 3)
    bare = write_report(facts_of_labels({"labels_present": ["Mass"]}, WORDS), WORDS, 0)
    assert "PATIENT" not in bare and bare.startswith("TECHNIQUE: Chest radiograph.")


def test_denials_give_way_to_the_limit_and_findings_do_not():
    many = ROW | {"labels_absent": ["Mass", "Nodule", "Fracture", "Scoliosis", "Hernia", "Pneumothorax"]}
    source = facts_of_labels(many, WORDS)
    short, long = write_report(source, WORDS, 1, max_words=32), write_report(source, WORDS, 1)
    assert len(short.split()) <= 32 < len(long.split()) and "ffusion" in short


class _Server(HTTPServer):
    """Answers as an OpenAI-compatible server: the first pass gets ``draft``, the second ``corrected``."""

    def __init__(self, draft: str, corrected: str, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.draft, self.corrected, self.status = draft, corrected, status
        self.asked: list[dict] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        super().__exit__(*args)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body | {"path": self.path})
        is_second = "\nReport:\n" in body["messages"][1]["content"]
        text = self.server.corrected if is_second else self.server.draft
        answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "http://elsewhere.example/")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


def manifest(tmp_path, n=1):
    rows = [ROW | {"image_id": f"i{i}", "file_name": f"/films/{i}.png"} for i in range(n)]
    return write_manifest(pl.DataFrame(rows), tmp_path / "studies.parquet")


def test_the_second_pass_corrects_and_says_what_it_changed(tmp_path, capsys):
    draft = GOOD.replace("Possible edema", "Right rib fracture").replace("65", "56")
    with _Server(draft, GOOD) as server:
        words = ["curate", "write", str(manifest(tmp_path)), "--out", str(tmp_path / "out.parquet")]
        asked = ["--endpoint", server.url, "--endpoint-model", "small"]
        assert run([*words, *asked, "--strict"]) == 0
        row = read_manifest(tmp_path / "out.parquet").row(0, named=True)
        assert (
            row["report"] == GOOD and row["draft"] == draft and row["is_passed"] and row["writer"] == "small"
        )
        assert "[-56-year-old-] {+65-year-old+}" in row["diff"] and "[-Right rib fracture.-]" in row["diff"]
        first, second = server.asked
        assert first["path"] == "/v1/chat/completions" and first["model"] == "small"
        assert "Findings that are present: effusion; COPD signs" in first["messages"][1]["content"]
        assert "/films/" not in json.dumps(server.asked) and "s1" not in first["messages"][1]["content"]
        assert 'added finding: "Right rib fracture."' in second["messages"][1]["content"]
        assert run([*words, *asked]) == 0 and len(server.asked) == 2, "kept answers are not asked for again"
    assert "1 texts = 1 passed + 0 not" in capsys.readouterr().out


def test_a_correction_that_is_worse_is_not_taken(tmp_path):
    worse = GOOD.replace("Pleural effusion.", "No effusion.")
    with _Server(GOOD, worse) as server:
        written = write_reports(read_manifest(manifest(tmp_path)), WORDS, endpoint=Endpoint(server.url, "m"))
    assert written["report"][0] == GOOD and written["is_passed"][0] and written["diff"][0] == ""


def test_what_stays_wrong_is_kept_and_marked(tmp_path):
    wrong = GOOD.replace("woman", "man")
    with _Server(wrong, wrong) as server:
        written = write_reports(read_manifest(manifest(tmp_path)), WORDS, endpoint=Endpoint(server.url, "m"))
    assert written["report"][0] == wrong and not written["is_passed"][0]
    assert next(error["kind"] for error in written["errors"][0]) == "wrong sex"


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (500, GOOD, "answered 500 Internal Server Error; expected 200."),
        (302, GOOD, "answered 302 Found; expected 200."),
        (200, " ", "gave an empty answer; try another model."),
    ],
)
def test_a_server_that_fails(tmp_path, status, text, said):
    with _Server(text, text, status) as server, pytest.raises(ModelError) as error:
        write_reports(read_manifest(manifest(tmp_path, 4)), WORDS, endpoint=Endpoint(server.url, "m"))
    assert said in str(error.value)


def test_only_this_machine_is_asked_unless_another_is_named():
    with pytest.raises(InputError) as error:
        Endpoint("https://api.example.com/v1", "m")
    assert "Agreements on data use such as PhysioNet's forbid" in str(error.value)
    assert "--allow-external-endpoint api.example.com" in str(error.value)
    with pytest.raises(InputError):
        Endpoint("http://127.0.0.1.example.com/v1", "m", allowed_host="api.example.com")
    with pytest.raises(InputError, match="is no address"):
        Endpoint("file:///etc/passwd", "m")
    assert not Endpoint("https://api.example.com/v1", "m", "api.example.com").is_local
    assert Endpoint("http://[::1]:8000/v1", "m").is_local


def test_a_film_without_labels_is_listed_and_the_rest_goes_on(tmp_path, capsys):
    rows = [
        ROW,
        ROW | {"image_id": "i2", "labels_present": None, "labels_absent": None, "labels_uncertain": None},
    ]
    studies = write_manifest(pl.DataFrame(rows), tmp_path / "studies.parquet")
    assert run(["curate", "write", str(studies), "--out", str(tmp_path / "out.parquet"), "--strict"]) == 1
    said = capsys.readouterr().out
    assert "1 without a report; the first: study 's1' has no labels" in said
    assert "2 texts = 1 passed + 1 not" in said


def test_texts_are_checked_by_command(tmp_path, capsys):
    table = tmp_path / "texts.csv"
    table.write_text("text,source_report\nRight effusion.,Left effusion.\nLeft effusion.,Left effusion.\n")
    assert run(["curate", "check", str(table), "--out", str(tmp_path / "judged.parquet"), "--strict"]) == 1
    assert "1 wrong side (detail misidentification)" in capsys.readouterr().out


def test_a_difference_in_words():
    assert difference("a right effusion", "a left effusion") == "[-right-] {+left+}"
    assert difference("same", "same") == ""
