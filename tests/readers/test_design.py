"""Who reads what in which order; and what a study refuses."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from synthorax.cli import run as command
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.readers import PROTOCOLS, Study, create_study
from synthorax.readers.design import SOURCE, TRUTH, candidates, worklist


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers") / "run"
    rows = []
    for i in range(24):
        film = np.full((32, 32), i / 24, np.float32)
        for name in ("sources", "cars", "corpa", "truth"):
            write_png(film, folder / f"synthetic/{name}/{i}.png")
        for method, name in (("radedit", "cars"), ("text-to-image", "corpa")):
            rows.append({
                "file_name": f"{name}/{i}.png", "image_id": f"{name}-{i}", "patient_id": f"p{i // 2}", "source_image_id": f"s{i}",
                "source_file_name": f"sources/{i}.png", "counterfactual_file_name": f"truth/{i}.png" if name == "cars" else None,
                "concepts_before": [], "concepts_after": ["mass"], "method": method, "prompt": "Virtual patient. Left mass.",
                "negative_prompt": "Virtual patient.",
            })  # fmt: skip
    write_metadata(metadata_frame(rows), folder / "synthetic")
    return folder


def arms_of(study):
    for position in range(1, study.progress(1)[1] + 1):
        answer = {q.name: next(iter(q.choices)) for q in study.protocol.questions}
        study.save(1, position, answer)
    return [[side.arm for side in a["sides"]] for a in study.answers() if not a["is_repeat"]]


@pytest.mark.parametrize(
    ("name", "arms", "shown"),
    [
        ("cars", {SOURCE, "radedit", "text-to-image"}, {"mass", "no findings"}),
        ("chexgen", {"radedit", "text-to-image"}, {"Left mass."}),
        ("preference", {TRUTH, "radedit", "text-to-image"}, {"mass"}),
        ("2afc", {SOURCE, "radedit", "text-to-image"}, {""}),
    ],
)
def test_a_protocol_shows_its_films_and_its_text(run, tmp_path, name, arms, shown):
    study = create_study(run, tmp_path / "s.sqlite", name)
    items = [study.item(1, position) for position in range(1, study.progress(1)[1] + 1)]
    assert {item.shown for item in items} == shown
    assert {len(item.films) for item in items} == {2 if PROTOCOLS[name].is_pair else 1}
    found = arms_of(study)
    assert {arm for case in found for arm in case} == arms
    assert len(found) == 24, "one case of a source film, and every source film used"
    if name == "cars":
        assert set(Counter(arm for (arm,) in found).values()) == {8}, "the arms take turns"


def test_the_order_is_counterbalanced():
    n_cases, n_readers = 60, 4
    orders = [[case for case, _, _ in worklist(n_cases, r, n_readers, 0, seed=3)] for r in range(n_readers)]
    assert all(sorted(order) == list(range(n_cases)) for order in orders)
    assert len({tuple(order) for order in orders}) == n_readers
    for case in range(n_cases):
        quarters = {order.index(case) * n_readers // n_cases for order in orders}
        assert quarters == {0, 1, 2, 3}, "every case stands once in each quarter of the session"
    flips = np.zeros(n_cases, int)
    for reader in range(n_readers):
        for case, is_flipped, _ in worklist(n_cases, reader, n_readers, 0, seed=3):
            flips[case] += is_flipped
    assert set(flips) == {n_readers // 2}, "half of the readers see a pair the other way round"


@pytest.mark.parametrize("seed", range(20))
def test_repeats_are_hidden_apart_and_flipped(seed):
    items = worklist(30, 1, 2, 5, seed)
    places = {(case, is_repeat): (i, is_flipped) for i, (case, is_flipped, is_repeat) in enumerate(items)}
    repeats = [case for case, _, is_repeat in items if is_repeat]
    assert len(repeats) == 5 and len(items) == 35
    for case in repeats:
        (first, flipped), (again, flipped_again) = places[case, False], places[case, True]
        assert again - first >= 5 and flipped != flipped_again


def test_rejected_films_are_not_read(run):
    from synthorax.dataset import read_metadata

    frame = read_metadata(run / "synthetic").with_columns(is_valid=pl.col("method") != "radedit")
    assert {film.arm for film in candidates(frame)} == {SOURCE, "text-to-image"}


def test_the_same_seed_gives_the_same_study_with_other_links(run, tmp_path):
    one, other = (create_study(run, tmp_path / f"{name}.sqlite", seed=5) for name in "ab")
    for position in range(1, one.progress(1)[1] + 1):
        assert one.item(1, position) == other.item(1, position)
    assert set(one.links().values()).isdisjoint(other.links().values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"cases": 25},
            "gives 24 cases for protocol 'cars' .one of a source film at most., 25 were asked for",
        ),
        ({"repeats": 0.5}, "repeats 0.5; expected 1 or more readers and a share from 0 to 0.33"),
        ({"protocol_name": "chexgenn"}, "protocol is 'chexgenn'; expected one of .* Did you mean 'chexgen'"),
    ],
)
def test_what_cannot_be_made_is_told(run, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        create_study(run, tmp_path / "s.sqlite", **options)
    assert list(tmp_path.iterdir()) == []


def test_films_of_two_sizes_would_give_the_truth_away(run, tmp_path):
    import shutil

    other = shutil.copytree(run, tmp_path / "run")
    for i in range(24):
        write_png(np.zeros((40, 40), np.float32), other / f"synthetic/cars/{i}.png")
    with pytest.raises(InputError, match=r"is \d+ x \d+ and .* is \d+ x \d+: the size would tell readers"):
        create_study(other, tmp_path / "s.sqlite", "preference")


def test_answers_are_never_overwritten(run, tmp_path):
    create_study(run, tmp_path / "s.sqlite")
    with pytest.raises(InputError, match="exists and may hold answers; take another --out"):
        create_study(run, tmp_path / "s.sqlite")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"realism": "real"}, "'Do you agree with the proposed findings.' has no answer; choose one"),
        ({"realism": "rael", "concepts": "full"}, "is 'rael'; expected one of real, synthetic. Did you mean 'real'"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told(run, tmp_path, answer, said):
    study = create_study(run, tmp_path / "s.sqlite")
    with pytest.raises(InputError, match=said):
        study.save(1, 1, answer)
    assert study.progress(1)[0] == 0


def test_the_commands_make_and_analyse(run, tmp_path, capsys):
    file = tmp_path / "s.sqlite"
    assert command(["readers", "create", str(run), "--cases", "9", "--simulated", "--out", str(file)]) == 0
    assert "reader 2: /read/" in capsys.readouterr().out
    study = Study(file)
    for reader in (1, 2):
        for position in range(1, 11):
            study.save(reader, position, {"realism": "real", "concepts": "full"})
    assert command(["readers", "analyse", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("SIMULATED answers, no reader: ") and "reader 1: 10 of 10 items answered" in said
    assert {p.name for p in (tmp_path / "s").iterdir()} == {
        "analysis.json",
        "answers.csv",
        "distribution.csv",
    }
    assert command(["readers", "analyse", str(tmp_path / "none.sqlite")]) == 2
    assert "does not exist; expected a study made by 'synthorax readers create'" in capsys.readouterr().err
