"""What must not be possible: other folders, other sites, scripts from texts, strangers, a look at the truth."""

import base64
import io
import json
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from synthorax.dataset import read_metadata, write_metadata
from synthorax.readers import create_study
from synthorax.workbench import create_app

LOCAL = "http://127.0.0.1:8000"


def png(size, grey):
    written = io.BytesIO()
    Image.new("L", size, grey).save(written, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


@pytest.fixture
def client(run):
    return TestClient(create_app(run), base_url=LOCAL, follow_redirects=False)


def rename(run, row, column, name):
    frame = read_metadata(run / "synthetic")
    here = pl.int_range(pl.len()) == row
    write_metadata(frame.with_columns(pl.when(here).then(pl.lit(name)).otherwise(column).alias(column)), run / "synthetic")  # fmt: skip


@pytest.mark.parametrize(
    "name", ["../results.json", "/etc/passwd", "../../secret.png", "sources/../../../secret.png"]
)
@pytest.mark.parametrize("address", ["/film/0/edit.png", "/thumbnail/0/edit.jpg"])
def test_no_file_outside_the_dataset_is_readable(client, run, name, address):
    Image.new("L", (8, 8)).save(run.parent / "secret.png")
    rename(run, 0, "file_name", name)
    found = client.get(address)
    assert found.status_code == 400 and "outside the run" in found.text


def test_no_link_leads_outside_the_dataset(client, run):
    Image.new("L", (8, 8)).save(run.parent / "secret.png")
    (run / "synthetic" / "link.png").symlink_to(run.parent / "secret.png")
    rename(run, 0, "file_name", "link.png")
    assert client.get("/film/0/edit.png").status_code == 400


@pytest.mark.parametrize("address", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/film/..%2f..%2fx/edit.png", "/studies/..%2fcars", "/read/..%2f..%2fresults.json"])  # fmt: skip
def test_no_address_climbs_out(client, address):
    assert client.get(address).status_code in (400, 404, 422)


def test_only_films_are_served_as_films(client, run):
    (run / "synthetic" / "page.png").write_text("<script>alert(1)</script>")
    rename(run, 0, "file_name", "page.png")
    found = client.get("/film/0/edit.png")
    assert found.status_code == 400 and "is no PNG" in found.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_requests_from_other_sites_change_nothing(client, run, headers):
    for address, body in (
        ("/review/0", {"verdict": "keep"}),
        ("/edit/jobs", {}),
        ("/studies/x/modes", {"mode": "x"}),
    ):
        found = client.post(address, data=body, headers=headers)
        assert (found.status_code, found.text) == (
            403,
            "This request came from another site and was refused.",
        )
    assert read_metadata(run / "synthetic")["is_valid"].null_count() == 60


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "same-origin"}, {"origin": LOCAL}, {}])
def test_our_own_pages_may(client, run, headers):
    assert client.post("/review/0", data={"verdict": "keep"}, headers=headers).status_code == 303
    assert read_metadata(run / "synthetic")["is_valid"][0] is True


@pytest.mark.parametrize("address", ["/", "/gallery", "/review/0", "/coverage"])
def test_text_from_the_run_is_text(client, address):
    found = client.get(address)
    assert found.status_code == 200 and "<script>document" not in found.text
    assert "script-src 'self'" in found.headers["content-security-policy"]
    if address in ("/", "/review/0"):
        assert "&lt;script&gt;document" in found.text


def test_a_name_that_is_not_loopback_is_refused_without_token(client):
    found = client.get("/", headers={"host": "evil.example"})
    assert found.status_code == 403 and found.text.startswith("host is evil.example; without a token only")


def test_beyond_loopback_a_token_opens_and_nothing_else(run):
    study = create_study(run, run / "readers" / "cars.sqlite", cases=3)
    client = TestClient(
        create_app(run, token="s3cret"), base_url="http://hospital.example", follow_redirects=False
    )
    for address in ("/", "/film/0/edit.png", "/openapi.json", "/?token=wrong", "/studies/cars"):
        assert client.get(address).status_code == 401
    assert client.get(f"/read/{study.links()[1]}").status_code == 200, "a reading link is a secret itself"
    opened = client.get("/gallery?token=s3cret&type=insertion")
    assert (opened.status_code, opened.headers["location"]) == (303, "/gallery?type=insertion")
    assert "HttpOnly" in opened.headers["set-cookie"] and "SameSite=strict" in opened.headers["set-cookie"]
    assert client.get("/").status_code == 200


def test_only_readers_serves_no_page_with_the_truth(run):
    create_study(run, run / "readers" / "cars.sqlite", cases=3)
    client = TestClient(create_app(run, only_readers=True), base_url=LOCAL)
    for address in (
        "/",
        "/gallery",
        "/review/0",
        "/film/0/edit.png",
        "/studies/cars",
        "/openapi.json",
        "/edit",
    ):
        assert client.get(address).status_code == 404


def test_a_reader_cannot_see_what_a_film_is(client, run):
    """Bytes, headers and text of every case: nothing of names, methods, PNG text, size or a cache."""
    study = create_study(run, run / "readers" / "cars.sqlite", cases=12, repeats=0.25)
    link = study.links()[1]
    seen = {"bytes": set(), "headers": set(), "pages": set()}
    for position in range(1, 16):
        ahead = client.get(f"/read/{link}/{position + 1}/a.png")
        assert ahead.status_code == 404, "no film ahead of its turn"
        text = client.get(f"/read/{link}/{position}").text
        for word in ("cars", "corpa", "sources", "radedit", "text-to-image", "i1", "Secret", study.path.name):
            assert word not in text.replace(link, ""), word
        seen["pages"].add(text.replace(link, "").replace(str(position), "").count("<"))
        found = client.get(f"/read/{link}/{position}/a.png")
        with Image.open(io.BytesIO(found.content)) as image:
            assert image.info == {} and image.mode == "L"
        seen["bytes"].add(len(found.content))
        headers = {k: v for k, v in found.headers.items() if k != "date"}
        assert (
            headers["cache-control"] == "no-store"
            and "etag" not in headers
            and "last-modified" not in headers
        )
        seen["headers"].add(tuple(sorted(headers.items())))
        answer = {"realism": "real", "concepts": "full"}
        assert client.post(f"/read/{link}/{position}", data=answer).status_code == 303
    assert len(seen["bytes"]) == len(seen["headers"]) == 1
    arms = {side.arm for a in study.answers() for side in a["sides"]}
    assert arms == {"source", "radedit", "text-to-image"}, "all kinds were among them"


def test_an_incomplete_answer_is_told_and_not_saved(client, run):
    study = create_study(run, run / "readers" / "cars.sqlite", cases=3)
    link = study.links()[1]
    client.get(f"/read/{link}/1")
    found = client.post(f"/read/{link}/1", data={"realism": "real"})
    assert found.status_code == 400 and "has no answer; choose one before going on." in found.text
    assert study.progress(1) == (0, 3, 1)


def test_a_rejection_needs_a_reason(client):
    found = client.post("/review/0", data={"verdict": "reject", "reason": " "})
    assert found.status_code == 400 and "row 0 was to be rejected without a reason" in found.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"row": 600}, "row 600 does not exist; this dataset has rows 0 to 59."),
        ({"concepts": ["masss"]}, "concept 'masss' is not in the vocabulary; take one from the list."),
        ({"edit_mask": "data:image/png;base64,AAAA"}, "edit_mask is no PNG; paint it on the page"),
        ({"edit_mask": png((8, 8), 255)}, "edit_mask is 8 x 8; expected the film's 64 x 64."),
        (
            {"keep_mask": png((64, 64), 0)},
            "keep_mask has no pixel inside; paint it wider, or clear the masks.",
        ),
    ],
)
def test_an_edit_that_cannot_be_made_is_told(client, change, said):
    body = {"row": 0, "prompt": "Mass.", **change}
    found = client.post(
        "/edit/jobs",
        content=json.dumps(body),
        headers={"accept": "application/json", "content-type": "application/json"},
    )
    assert found.status_code == 400 and found.text.startswith(said)


def test_half_a_character_is_refused_and_not_repeated(client):
    found = client.post(
        "/edit/jobs", content=r'{"row": 0, "prompt": "\ud800"}', headers={"content-type": "application/json"}
    )
    assert found.status_code == 422 and found.text.startswith("body.prompt: ")


def test_serve_says_what_it_needs(tmp_path, capsys):
    from synthorax.cli import run as command

    assert command(["serve", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {Path(tmp_path).resolve()}/synthetic/metadata.parquet does not exist; expected a dataset folder written by synthorax.\n"  # fmt: skip
