"""Structured reports, hierarchical F1, and SRR-BERT's place as an annotator."""

import numpy as np
import polars as pl
import pytest

from synthorax.cli import run
from synthorax.concepts import Vocabulary, annotate
from synthorax.concepts.evaluation import hierarchical_scores
from synthorax.concepts.srr_bert import srr_bert
from synthorax.concepts.structured import organ_of, structure
from synthorax.errors import InputError, ModelError

REPORT = (
    "INDICATION: Cough.\nFINDINGS: The heart is enlarged. No pleural effusion. A picc line is in place. Patchy opacity, 1.2 cm, in the "
    "left lung. Old rib fracture. Otherwise fine.\nIMPRESSION: 1. Cardiomegaly. 2. Left lung opacity."
)
ORDERED = """FINDINGS:
Lungs and Airways
- Patchy opacity, 1.2 cm, in the left lung.
Pleura
- No pleural effusion.
Cardiovascular
- The heart is enlarged.
Tubes, Catheters, and Support Devices
- A picc line is in place.
Musculoskeletal and Chest Wall
- Old rib fracture.
Other
- Otherwise fine.
IMPRESSION:
1. Cardiomegaly.
2. Left lung opacity."""


def test_a_report_in_order_keeps_every_sentence_and_is_read_the_same():
    found = structure(REPORT)
    assert found.text() == ORDERED and structure(None).text() == structure("INDICATION: Cough.").text() == ""
    words = Vocabulary.load()
    assert annotate(ORDERED, words).vector == annotate(REPORT, words).vector


@pytest.mark.parametrize(
    ("sentence", "organ"),
    [
        ("There is a small left pneumothorax.", "Pleura"),
        ("Endotracheal tube in situ.", "Tubes, Catheters, and Support Devices"),
        ("Bilateral hilar adenopathy.", "Hila and Mediastinum"),
        ("Elevated right hemidiaphragm.", "Abdominal"),
        ("The aorta is tortuous.", "Cardiovascular"),
        ("Multiple pulmonary metastases.", "Lungs and Airways"),
        ("Scoliosis of the spine.", "Musculoskeletal and Chest Wall"),
        ("Stable.", "Other"),
    ],
)
def test_headings(sentence, organ):
    assert organ_of(sentence) == organ


def test_the_command_writes_a_row_a_report(tmp_path, capsys):
    pl.DataFrame({"study_id": ["1", "2"], "report": [REPORT, None]}).write_parquet(tmp_path / "r.parquet")
    assert (
        run(["concepts", "structure", str(tmp_path / "r.parquet"), "--out", str(tmp_path / "s.parquet")]) == 0
    )
    assert pl.read_parquet(tmp_path / "s.parquet")["structured"].to_list() == [ORDERED, None]
    assert "2 reports, 6 sentences of findings, 1 under no organ" in capsys.readouterr().out


def test_hierarchical_f1_by_hand():
    words = Vocabulary.load("chexpert")  # Pneumonia and Edema are kinds of Lung Opacity
    gold = pl.DataFrame(
        {"report_id": ["1", "2"], "pneumonia": [1, 0], "edema": [0, 0], "text_group": ["a", "b"]}
    )
    table = pl.DataFrame({"study_id": ["1", "2"], "pneumonia": [0, 0], "edema": [1, 0]})
    scores = {row["level"]: row for row in hierarchical_scores(table, gold, words, n_bootstrap=20).iter_rows(named=True)}  # fmt: skip
    assert scores["concepts"]["f1"] == 0, "the finding itself is missed"
    assert scores["labels"]["f1"] == pytest.approx(0.5), "of Edema and Lung Opacity the parent is right"
    assert scores["tree"]["f1"] == pytest.approx(2 / 6) and scores["tree"]["n_nodes"] == 5
    with pytest.raises(InputError, match="the gold has none of the concepts of vocabulary 'corpa'"):
        hierarchical_scores(table, gold.drop("pneumonia", "edema"), Vocabulary.load())


def test_the_srr_vocabulary_has_the_models_labels_and_their_kinds():
    words = Vocabulary.load("srr")
    assert len(words.concepts) == 55 and words.concepts[0] == words.unremarkable
    assert [*words.lineage("Pneumonia")] == ["Pneumonia", "Consolidation", "Focal air space opacity", "Air space opacity", "Lung Finding"]  # fmt: skip
    found = words.true_labels(annotate("Tension pneumothorax. Acute rib fracture. No LVAD.", words).vector)
    assert {"Tension pneumothorax", "Pneumothorax", "Pleural finding", "Acute rib fracture", "Fracture"} <= {
        *found
    }
    assert "LVAD" not in found


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """A BERT of one layer that learned two labels on eight sentences, in SRR-BERT's form."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, set_seed

    set_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second one only waits at this size
    folder = tmp_path_factory.mktemp("bert")
    said = [
        "the heart is enlarged",
        "large heart",
        "possible fluid",
        "fluid may be there",
        "clear lungs",
        "the lungs are clear",
    ]
    truth = [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0]]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for s in said for w in s.split()})]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    names = {0: "Cardiomegaly (Present)", 1: "Simple pleural effusion (Uncertain)"}
    model = BertForSequenceClassification(BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_labels=2, id2label=names, label2id={v: k for k, v in names.items()}, problem_type="multi_label_classification",
    ))  # fmt: skip
    inputs = tokenizer(said, padding=True, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(40):
        optimizer.zero_grad()
        model(**inputs, labels=torch.tensor(truth, dtype=torch.float32)).loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_bert_in_a_folder_annotates_as_the_rules_do(small_bert, tmp_path, capsys):
    reports = ["FINDINGS: The heart is enlarged. Possible fluid.", "FINDINGS: The lungs are clear.", None]
    pl.DataFrame({"study_id": ["1", "2", "3"], "report": reports}).write_parquet(tmp_path / "r.parquet")
    words = ["concepts", "annotate", str(tmp_path / "r.parquet"), "--vocabulary", "srr", "--policy", "inclusive"]  # fmt: skip
    assert run([*words, "--out", str(tmp_path / "bert.parquet"), "--annotator", str(small_bert)]) == 0
    assert run([*words, "--out", str(tmp_path / "rules.parquet"), "--workers", "1"]) == 0
    ours, theirs = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("rules", "bert"))
    assert ours.schema == theirs.schema, "the same output"
    assert theirs["cardiomegaly"].to_list() == [1, 0, None] == ours["cardiomegaly"].to_list()
    assert theirs["simple_pleural_effusion"].to_list() == [1, 0, None]
    assert theirs["label_pleural_finding"].to_list() == [1, 0, None], "parents follow"
    evidence = theirs["evidence"][0].to_list()
    assert [(e["concept"], e["state"], e["text"]) for e in evidence] == [
        ("cardiomegaly", "asserted", "The heart is enlarged."),
        ("simple_pleural_effusion", "uncertain", "Possible fluid."),
    ]
    assert np.isin(
        [e["start"] for e in evidence], [reports[0].index("The"), reports[0].index("Possible")]
    ).all()
    capsys.readouterr()
    assert run([*words[:3], "--out", str(tmp_path / "x.parquet"), "--annotator", str(small_bert)]) == 2
    assert "has the output 'Simple pleural effusion (Uncertain)', which vocabulary 'corpa' has no concept for" in capsys.readouterr().err  # fmt: skip
    with pytest.raises(
        ModelError, match=r"config\.json does not exist; expected the folder of a transformers"
    ):
        srr_bert(tmp_path, Vocabulary.load("srr"))
