"""Fetching, against a small hub of our own on this machine: what is asked for, and each refusal with its remedy."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from synthorax.cli import run
from synthorax.diffusion import hub, load_model
from synthorax.diffusion.convert import fetch
from synthorax.diffusion.published import published_models
from synthorax.errors import InputError, ModelError

spec = importlib.util.spec_from_file_location("published_parts", Path(__file__).parent / "published_parts.py")
layouts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(layouts)
COMMIT = "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """Serves ``folder/owner/name``; repos in ``gated`` refuse their files; ``asked`` lists the files sent."""

    folder: Path
    gated: frozenset = frozenset()
    asked: list

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        words = self.path.split("?")[0].strip("/").split("/")
        is_listing = words[0] == "api"
        repo = "/".join(words[2:4] if is_listing else words[:2])
        revision = words[5 if is_listing else 3]
        here = self.folder / repo
        if not here.is_dir():
            return self.reply(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.reply(404, X_Error_Code="RevisionNotFound")
        files = {p.relative_to(here).as_posix(): p for p in here.rglob("*") if p.is_file()}
        if is_listing:
            tree = words[4] == "tree"
            listed = [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": "a"} for n, p in files.items()
            ]
            info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            return self.reply(
                200, json.dumps(listed if tree else info).encode(), Content_Type="application/json"
            )
        if repo in self.gated:
            return self.reply(403, X_Error_Code="GatedRepo")
        name = "/".join(words[4:])
        if self.command == "GET":
            self.asked.append(name)
        return self.reply(
            200, files[name].read_bytes(), ETag=f'"{len(name)}-{abs(hash(name))}"', X_Repo_Commit=COMMIT
        )

    do_HEAD = do_GET


@pytest.fixture
def own_hub(tmp_path, monkeypatch):
    """The hub's class; its folder is ``tmp_path / "hub"``, and the cache beside it is empty."""
    from huggingface_hub import constants

    served = type("Served", (Hub,), {"folder": tmp_path / "hub", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield served
    server.shutdown()
    server.server_close()


def radedit(folder):
    layouts.unet(folder / "microsoft/radedit/unet", 32)
    (folder / "microsoft/radedit/pipeline.py").write_text("raise SystemExit('remote code')")
    layouts.vae(folder / "stabilityai/sdxl-vae")
    (folder / "stabilityai/sdxl-vae/sdxl_vae.safetensors").write_bytes(b"another format of the same")
    layouts.biovil_t(folder / "microsoft/BiomedVLP-BioViL-T")
    (folder / "microsoft/BiomedVLP-BioViL-T/modeling_cxrbert.py").write_text(
        "raise SystemExit('remote code')"
    )


def test_fetch_takes_what_is_needed_and_no_more_and_the_folder_loads(own_hub, tmp_path):
    radedit(own_hub.folder)
    assert not any(hub.is_at_hand(part) for part in published_models()["radedit"].parts.values())
    out = fetch("radedit", tmp_path / "radedit")
    assert load_model(out, dtype="float32").card["model"] == "radedit"
    assert sorted(own_hub.asked) == [
        "config.json", "config.json", "diffusion_pytorch_model.safetensors", "model.safetensors", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vocab.txt",
    ]  # fmt: skip
    assert all(hub.is_at_hand(part) for part in published_models()["radedit"].parts.values())


def test_a_whole_pipeline_loads_by_its_repo_id_with_our_settings(own_hub):
    folder = layouts.stable_diffusion(own_hub.folder / "stanfordmimi/RoentGen-v2")
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    model = load_model("stanfordmimi/RoentGen-v2", dtype="float32", revision=COMMIT)
    assert model.sample_settings["num_inference_steps"] == 75 and model.model_revision == COMMIT
    assert model.model_sha256 and "unet/diffusion_pytorch_model.fp16.safetensors" not in own_hub.asked


def test_a_gated_repo_says_where_to_accept_and_how_to_log_in(own_hub, tmp_path):
    radedit(own_hub.folder)
    own_hub.gated = frozenset({"microsoft/radedit"})
    with pytest.raises(ModelError, match=r"accept its licence at https://huggingface.co/microsoft/radedit, log in with 'hf auth login'"):  # fmt: skip
        fetch("radedit", tmp_path / "out")


def test_unknown_repos_and_revisions_are_named(own_hub, tmp_path):
    layouts.stable_diffusion(own_hub.folder / "stanfordmimi/RoentGen-v2")
    with pytest.raises(ModelError, match="the hub shows no nobody/nothing"):
        load_model("nobody/nothing")
    with pytest.raises(ModelError, match="RoentGen-v2 has no revision 'v9'"):
        fetch("roentgen-v2", tmp_path / "out", revisions={"pipeline": "v9"})


def test_offline_says_how_to_bring_the_files(own_hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"run: hf download microsoft/radedit --include 'unet/config.json' .* 'synthorax models convert'"):  # fmt: skip
        fetch("radedit", tmp_path / "out")


def test_a_part_alone_is_no_model():
    with pytest.raises(ModelError, match="synthorax models fetch radedit --out DIR"):
        load_model("microsoft/radedit")


def test_what_is_not_on_the_hub_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"chexgen's checkpoint is not on the hub: ask for the weights"):
        fetch("chexgen", tmp_path / "out")


def test_the_commands_convert_list_and_tell(own_hub, tmp_path, capsys):
    radedit(own_hub.folder)
    repos = {
        "unet": "microsoft/radedit",
        "vae": "stabilityai/sdxl-vae",
        "text": "microsoft/BiomedVLP-BioViL-T",
    }
    parts = [word for part, repo in repos.items() for word in ("--part", f"{part}={own_hub.folder / repo}")]
    out = tmp_path / "radedit"
    assert run(["models", "convert", "radedit", *parts, "--out", str(out)]) == 0
    assert run(["models", "info", str(out)]) == 0
    assert run(["models", "info", "radedit"]) == 0
    assert run(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert "samples by default with: guidance_scale 7.5, num_inference_steps 100, sampler ddim" in said
    assert "stanfordmimi/RoentGen-v2" in said and "gated" in said and "not at hand" in said
    assert run(["models", "convert", "radedit", "--part", "unet", "--out", str(out)]) == 2
    assert "--part is 'unet'; expected NAME=PATH" in capsys.readouterr().err
