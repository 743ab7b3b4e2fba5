"""One thread for torch, as tests share the machine; drawn films with their tables."""

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, write_concepts
from synthorax.dataset import write_png
from synthorax.studies import MANIFEST, write_manifest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """60 patients with two films each: dense below = effusion, bright spot = nodule, one vector unknown."""
    folder, draw = tmp_path_factory.mktemp("studies"), np.random.default_rng(0)
    rows, vectors = [], []
    for index in range(120):
        present = {name for name in ("effusion", "nodule") if draw.random() < 0.5}
        film = 0.3 + 0.05 * draw.normal(size=(32, 32))
        film[24:] += 0.3 * ("effusion" in present)
        film[6:12, 6:12] += 0.4 * ("nodule" in present)
        write_png(film, folder / f"{index}.png")
        name = f"i{index}"
        rows.append({"study_id": name, "image_id": name, "patient_id": f"p{index // 2}", "source": "drawn"})
        rows[-1]["file_name"] = str(folder / f"{index}.png")
        rows[-1] |= {
            "sex": "FM"[index // 2 % 2],
            "age": 20.0 + index // 2,
            "view_position": ("PA", "AP")[index % 2],
        }
        vectors.append(ConceptVector(frozenset(present), frozenset({"mass"} if index == 0 else ())))
    vocabulary = Vocabulary.load()
    frame = pl.DataFrame([{name: row.get(name) for name in MANIFEST} for row in rows], schema=MANIFEST)
    write_manifest(frame, folder / "studies.parquet")
    table = pl.concat(
        [frame.select("study_id", "patient_id"), concept_columns(vectors, vocabulary)], how="horizontal"
    )
    write_concepts(table, folder / "concepts.parquet", vocabulary)
    return folder
