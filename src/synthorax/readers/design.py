"""From a run to a study: which films, in which pairs, in which order for whom.

Every reader judges the same cases, so that readers can be compared, and each in another order: the cases are cut into
as many blocks as there are readers, reader r begins with block r (a Latin square, so a case comes early for one and
late for another), and within a block the order is drawn. Of a source film at most one case is made. In pairs, half
of the readers see the sides swapped. Hidden repeats of cases of the first third come back in the second half.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from PIL import Image

from synthorax.dataset import read_metadata
from synthorax.errors import InputError
from synthorax.readers.protocols import Protocol, protocol
from synthorax.readers.study import Case, Side, Study
from synthorax.seeds import generator

#: The arm of films that no model made or changed, and of the true counterfactuals of virtual patients.
SOURCE, TRUTH = "source", "true counterfactual"


@dataclass(frozen=True)
class Candidate:
    """A film that may be read. ``target`` is what it means to show."""

    arm: str
    image_id: str
    file_name: str
    source_image_id: str
    patient_id: str
    target: tuple[str, ...]
    prompt: str


def create_study(
    run: Path | str,
    out: Path | str,
    protocol_name: str = "cars",
    *,
    readers: int = 2,
    cases: int | None = None,
    repeats: float = 0.1,
    seed: int = 0,
    is_simulated: bool = False,
) -> Study:
    """Make a blinded, randomised study from a run's dataset.

    Args:
        run: run folder with ``synthetic/metadata.parquet``.
        out: the study's file.
        protocol_name: one of ``PROTOCOLS``.
        readers: worklists to make.
        cases: how many distinct cases; None = all that the run gives. The arms take turns.
        repeats: share of the cases, in [0, 1/3], that every reader sees a second time.
        seed: of cases and orders.
        is_simulated: the answers will come from a program; every page and figure then says so.

    Raises:
        InputError: too few cases in the run, films of different sizes, or numbers out of range.
    """
    if readers < 1 or not 0 <= repeats <= 1 / 3:
        raise InputError(
            f"readers is {readers} and repeats {repeats:g}; expected 1 or more readers and a share from 0 to 0.33."
        )
    asked, folder = protocol(protocol_name), Path(run) / "synthetic"
    found = list((_pairs if asked.is_pair else _singles)(candidates(read_metadata(folder)), asked, seed))
    wanted = len(found) if cases is None else cases
    if not found or wanted < 1 or wanted > len(found):
        raise InputError(
            f"{run} gives {len(found)} cases for protocol {protocol_name!r} (one of a source film at most), "
            f"{wanted} were asked for. Ask for fewer, or make a larger run."
        )
    chosen = found[:wanted]
    films = [film for case in chosen for film in case]
    numbers = iter(range(len(films)))
    return Study.write(
        out,
        protocol_name,
        _blinded(folder, [film.file_name for film in films]),
        [
            Case(case[-1].patient_id, _shown(case[-1], asked), tuple(Side(next(numbers), film.arm, film.image_id, film.file_name, film.prompt) for film in case))
            for case in chosen
        ],
        [worklist(wanted, reader, readers, round(repeats * wanted), seed) for reader in range(readers)],
        title=f"{asked.title}: {Path(run).resolve().name}",
        is_simulated=is_simulated,
    )  # fmt: skip


def _shown(film: Candidate, asked: Protocol) -> str:
    """The text that a reader sees under a film."""
    findings = ", ".join(name.replace("_", " ") for name in film.target) or "no findings"
    return {None: "", "prompt": film.prompt, "concepts": findings}[asked.shows]


def candidates(metadata: pl.DataFrame) -> list[Candidate]:
    """The dataset's films, their sources and their true counterfactuals; rejected films are left out."""
    found: dict[tuple[str, str], Candidate] = {}
    for row in metadata.filter(pl.col("is_valid").fill_null(True)).iter_rows(named=True):
        domain = row["negative_prompt"] or ""
        source, patient = row["source_image_id"], row["patient_id"] or row["source_image_id"]
        after = tuple(row["concepts_after"] or ())
        made = Candidate(row["method"], row["image_id"], row["file_name"], source, patient, after,
                         (row["prompt"] or "").removeprefix(domain).strip())  # fmt: skip
        others = (
            (row["counterfactual_file_name"], TRUTH, f"{row['image_id']}-truth", after),
            (row["source_file_name"], SOURCE, source, tuple(row["concepts_before"] or ())),
        )
        found[made.arm, made.image_id] = made
        for file_name, arm, image_id, target in others:
            if file_name is not None:
                found.setdefault(
                    (arm, image_id), Candidate(arm, image_id, file_name, source, patient, target, made.prompt)
                )
    return list(found.values())


def _singles(films: Sequence[Candidate], asked: Protocol, seed: int) -> Iterator[tuple[Candidate]]:
    """The arms take turns; each turn takes a film of a source that no earlier one used."""
    arms: dict[str, list[Candidate]] = {}
    for index in generator("reader films", seed).permutation(len(films)):
        if films[index].arm != TRUTH and (asked.reals or films[index].arm != SOURCE):
            arms.setdefault(films[index].arm, []).append(films[index])
    used: set[str] = set()
    waiting = {arm: iter(arms[arm]) for arm in sorted(arms)}
    while waiting:
        for arm in list(waiting):
            film = next((film for film in waiting[arm] if film.source_image_id not in used), None)
            if film is None:
                del waiting[arm]
            else:
                used.add(film.source_image_id)
                yield (film,)


def _pairs(films: Sequence[Candidate], asked: Protocol, seed: int) -> Iterator[tuple[Candidate, Candidate]]:
    """Source against synthetic (2-AFC), or two arms that mean to show the same findings of one source film."""
    by_source: dict[str, list[Candidate]] = {}
    for film in films:
        by_source.setdefault(film.source_image_id, []).append(film)
    names = sorted(by_source)
    for index in generator("reader pairs", seed).permutation(len(names)):
        group = by_source[names[index]]
        if asked.reals:
            pairs = [(a, b) for a in group if a.arm == SOURCE for b in group if b.arm not in (SOURCE, TRUTH)]
        else:
            pairs = [(a, b) for i, a in enumerate(group) for b in group[i + 1 :]
                     if a.arm != b.arm and SOURCE not in (a.arm, b.arm) and set(a.target) == set(b.target)]  # fmt: skip
        if pairs:
            yield pairs[int(generator("reader pair", seed, names[index]).integers(len(pairs)))]


def worklist(
    n_cases: int, reader: int, n_readers: int, n_repeats: int, seed: int
) -> list[tuple[int, bool, bool]]:
    """One reader's order.

    Args:
        n_cases: distinct cases.
        reader: from 0.
        n_readers: in the study.
        n_repeats: hidden repeats, at most a third of the cases.
        seed: of the study.

    Returns:
        ``(case, is_flipped, is_repeat)`` in reading order; a repeat is flipped the other way round.
    """
    rng = generator("worklist", seed, reader)
    blocks = [range(start, n_cases, n_readers) for start in range(n_readers)]
    order = [
        int(case) for k in range(n_readers) for case in rng.permutation(blocks[(reader + k) % n_readers])
    ]
    items = [(case, (case // n_readers + reader) % 2 == 1, False) for case in order]
    first, late = items[: max(n_repeats, n_cases // 3)], -(-n_cases // 2)
    for index in rng.permutation(len(first))[:n_repeats]:
        case, is_flipped, _ = first[index]
        items.insert(int(rng.integers(late, len(items) + 1)), (case, not is_flipped, True))
    return items


def _blinded(folder: Path, file_names: Sequence[str]) -> Iterator[bytes]:
    """Films as bare grey PNGs, uncompressed: no text, and one size in bytes whatever they show."""
    sizes: Mapping[tuple[int, int], str] = {}
    for file_name in file_names:
        path = (folder / file_name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(
                f"metadata names {file_name!r}, which lies outside {folder}; make the dataset again."
            )
        with Image.open(path) as image:
            grey = Image.frombytes("L", image.size, image.convert("L").tobytes())
        sizes = {grey.size: file_name, **sizes}
        if len(sizes) > 1:
            (size, other), (size_of_first, one) = sizes.items()
            raise InputError(
                f"{other} is {size[0]} x {size[1]} and {one} is {size_of_first[0]} x {size_of_first[1]}: the size "
                "would tell readers what a film is. Make the run with films of one size."
            )
        written = io.BytesIO()
        grey.save(written, format="PNG", compress_level=0)
        yield written.getvalue()
