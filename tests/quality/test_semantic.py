"""Concepts read back from a dataset: by a server, by a vision-language model in a folder, by a classifier."""

import base64
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError, ModelError
from synthorax.quality.describers import by_pipeline
from synthorax.quality.semantic import arms_of, reader_of_text, semantic_agreement

WORDS = Vocabulary.load()
#: Grey value of a film -> what the server writes of it.
REPORTS = {50: "Left pleural effusion.", 100: "No acute cardiopulmonary abnormality.", 150: "Cardiomegaly and a nodule.", 200: "Thank you."}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A run of three edits whose films are of one grey value each, with truths, sources and a sham."""
    data = tmp_path / "run" / "synthetic"
    rows = []
    edits = [("insertion", 50, ["effusion"]), ("insertion", 150, ["effusion", "nodule"]), ("deletion", 200, ["mass"])]  # fmt: skip
    for i, (kind, grey, asked) in enumerate(edits):
        for name, value in (("films", grey), ("truth", 50), ("sources", 100)):
            write_png(np.full((16, 16), value / 255), data / f"{name}/{i}.png")
        rows.append({
            "file_name": f"films/{i}.png", "image_id": f"e{i}", "patient_id": f"p{i // 2}", "perturbation_type": kind,
            "counterfactual_file_name": f"truth/{i}.png", "source_file_name": f"sources/{i}.png",
            "concepts_after": asked, "concepts_unknown": [], "is_simulated": True,
        })  # fmt: skip
    rejected = rows[0] | {"file_name": "films/no.png", "image_id": "no", "is_valid": False}
    write_metadata(metadata_frame([*rows, rejected]), data)
    write_png(np.full((16, 16), 100 / 255), tmp_path / "run" / "controls" / "sham.png")
    write_metadata(
        metadata_frame([{"file_name": "sham.png", "image_id": "e1"}]), tmp_path / "run" / "controls"
    )
    return tmp_path / "run"


class _Server(HTTPServer):
    """An OpenAI-compatible server that looks at the picture it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[int] = []
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
        shown, said = body["messages"][1]["content"]
        uri = shown["image_url"]["url"]
        assert uri.startswith("data:image/png;base64,") and "chest radiograph" in said["text"]
        picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
        assert picture.mode == "L" and not picture.info, "pixels and nothing else"
        self.server.asked.append(picture.getpixel((0, 0)))
        text = REPORTS[self.server.asked[-1]]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    def log_message(self, *args: object) -> None:
        pass


def value(table, **where):
    return table.filter(*(pl.col(name) == wanted for name, wanted in where.items())).row(0, named=True)


def test_a_server_reads_films_ceiling_and_floors_and_is_not_asked_twice(folder, tmp_path, capsys):
    out = tmp_path / "out"
    with _Server() as server:
        words = ["evaluate", "semantic", str(folder), "--reader", server.url, "--out", str(out)]
        assert run([*words, "--reader-model", "small"]) == 0
        asked = len(server.asked)
        assert run([*words, "--reader-model", "small"]) == 0
        assert asked == 4 == len(server.asked), "each picture once, and kept for the second time"
    films, summary = pl.read_parquet(out / "semantic.parquet"), pl.read_csv(out / "semantic.csv")
    assert films.filter(arm="dataset")["jaccard"].to_list() == pytest.approx([1, 1 / 3, 0])
    assert films.filter(arm="dataset")["read"].to_list() == [["effusion"], ["nodule", "enlarged_heart"], []]
    row = value(summary, arm="dataset", perturbation_type="insertion", metric="u_fn")
    assert (row["mean"], row["n"], row["n_patients"], row["n_empty_read_back"]) == (0.25, 2, 1, 0)
    row = value(summary, arm="dataset", perturbation_type="deletion", metric="u_fp")
    assert (row["mean"], row["n_empty_read_back"]) == (0, 1), (
        "an empty read-back flatters U_FP and is counted"
    )
    overall = {"perturbation_type": "overall", "metric": "jaccard"}
    assert value(summary, arm="ceiling: counterfactuals", **overall)["mean"] == pytest.approx(1.5 / 3)
    assert value(summary, arm="floor: sources", **overall)["mean"] == 0
    assert value(summary, arm="floor: shams", **overall)["n"] == 1
    assert json.loads((out / "semantic.json").read_text())["simulated"] is True
    assert "dataset                    jaccard  0.444" in capsys.readouterr().out


def test_a_model_reads_concepts_and_cannot_tell_others(folder, tmp_path, monkeypatch, capsys):
    code = "import numpy as np\ndef read(films):\n    mean = films.mean((1, 2))\n    return np.stack([mean < 0.3, mean > 0.5], 1)\n"
    (tmp_path / "my_concept_reader.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "semantic", str(folder), "--reader", "my_concept_reader:read", "--out", str(tmp_path / "out")]  # fmt: skip
    assert run([*words, "--names", "Effusion,nodule"]) == 0
    films = pl.read_parquet(tmp_path / "out" / "semantic.parquet").filter(arm="dataset")
    assert films["n_compared"].to_list() == [2, 2, 2]
    assert films["jaccard"].to_list() == [1, 0.5, 0], "the mass cannot be told"
    capsys.readouterr()
    assert run([*words, "--names", "Hernia,Fracture"]) == 2
    assert "gives Hernia, Fracture; expected concepts: mass" in capsys.readouterr().err
    sys.modules.pop("my_concept_reader", None)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """LLaVA of two layers, drawn at random: what it says means nothing, how it is asked does."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
        set_seed,
    )

    set_seed(0)
    folder = tmp_path_factory.mktemp("llava")
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "effusion", "mass", ".", "chest", "radiograph"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"}, padding_side="left",
    )  # fmt: skip
    template = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16), fast, patch_size=8, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=template, image_token="<image>",
    ).save_pretrained(folder)  # fmt: skip
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=16, patch_size=8),
        text_config=LlamaConfig(**small, vocab_size=len(vocabulary), num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        image_token_index=4,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_vision_language_model_in_a_folder_describes_films(tiny_model, folder):
    arms = arms_of(folder, WORDS, limit=2).filter(pl.col("arm") != "floor: shams")
    describe = by_pipeline(tiny_model, max_new_tokens=6)
    films, _ = semantic_agreement(arms, reader_of_text(describe, WORDS, "tiny"), WORDS, n_resamples=5)
    assert films.height == 6 and films["report"].null_count() == 0
    assert films["report"].str.split(" ").list.len().max() <= 6, "the answer alone, without the question"


def test_what_cannot_be_read_is_one_sentence(folder, tmp_path, capsys):
    with pytest.raises(
        ModelError, match=r"config\.json does not exist; expected the folder of a transformers"
    ):
        by_pipeline(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ModelError, match="cannot be loaded as a vision-language model"):
        by_pipeline(tmp_path)
    with pytest.raises(InputError, match="has the concept 'effusion', which vocabulary 'chexpert' has not"):
        arms_of(folder, Vocabulary.load("chexpert"))
    (folder / "synthetic" / "truth" / "1.png").unlink()
    with pytest.raises(InputError, match=r"truth/1\.png does not exist"):
        arms_of(folder, WORDS)
    words = ["evaluate", "semantic", str(folder), "--out", str(tmp_path / "out"), "--reader"]
    (folder / "synthetic" / "truth" / "1.png").write_bytes((folder / "synthetic/truth/0.png").read_bytes())
    assert run([*words, "http://127.0.0.1:9/v1"]) == 2
    assert "give its model's name by --reader-model" in capsys.readouterr().err
    assert run([*words, "https://api.example.com/v1", "--reader-model", "m"]) == 2
    assert "is not on this machine" in capsys.readouterr().err
    write_metadata(metadata_frame([{"file_name": "a.png"}]), tmp_path)
    with pytest.raises(InputError, match="has no valid film with concepts_after"):
        arms_of(tmp_path, WORDS)
