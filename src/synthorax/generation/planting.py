"""Errors planted in reports at graded risk: what a judge learns from without a physician (MedVAL, arXiv 2507.03152).

MedVAL asks a language model to degrade a text to a level drawn from 1 to 4. Here rules do, so the sentence, category and
level of each error are known. The level follows from what is wrong and from the acuity a of the finding (:data:`ACUITY`):

    claim fabricated or left out, wrong place, measure      1 + a        (a denial that is left out: 1)
    denied where affirmed, affirmed where denied, side      min(4, 2 + a)
    severity over- or understated                           a, one more from small to large, or from none to severe
    certainty over- or understated; side left out           a
    severity left out                                       max(1, a - 1)
    comparison, recommendation, justification               each sentence has its level

Every sentence and word that is planted belongs to one of two parts: a judge that learns from part 0 is tested on part 1.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from synthorax.concepts import Vocabulary
from synthorax.concepts.sections import usable_sentences
from synthorax.generation.facts import ASSERTED, NEGATED, RANKS, UNCERTAIN, Statement, facts_of_text, traits
from synthorax.generation.report_writer import wordings_of
from synthorax.generation.rewording import SAME, like, reworded
from synthorax.generation.sentences import COMPARED, RECOMMENDED
from synthorax.generation.verdict import JUDGED, TextError
from synthorax.seeds import generator

Rng = np.random.Generator
T = TypeVar("T")
TRAINING, HELD_OUT = 0, 1
#: How much a finding matters: 3 calls for action today, 2 changes care, 1 is incidental; set by rule, not by readers.
ACUITY = {
    3: ("pneumothorax", "mass", "metastasis", "enlarged_cardiomediastinum", "subcutaneous_emphysema"),
    2: ("nodule", "pleural_effusion", "consolidation", "pneumonia", "edema", "atelectasis", "cardiomegaly", "lung_opacity",
        "interstitial_pattern", "enlarged_hilum", "fracture", "elevated_diaphragm", "emphysema", "fibrosis", "chest_drain", "tube"),
}  # fmt: skip
_ACUITY = {concept: level for level, concepts in ACUITY.items() for concept in concepts}
#: Sentences with {np}, a finding; each list is parted by its index's parity.
_SAID = ("There is {np}.", "The film shows {np}.", "{Np} is seen.", "Findings include {np}.", "{Np} is noted.", "{Np} is demonstrated.")  # fmt: skip
_DENIED = ("There is no {np}.", "{Np} is absent.", "No {np}.", "The film is free of {np}.", "No evidence of {np}.", "{Np} is not present.")  # fmt: skip
_DOUBTED = ("Possible {np}.", "{Np} cannot be excluded.", "Questionable {np}.", "There may be {np}.")
_CERTAIN = (
    {"may represent": "represents", "suggestive of": "showing", "possible": "definite", "probable": "definite", "likely": "certain", "cannot be excluded": "is present", "compatible with": "proving"},
    {"may represent": "is diagnostic of", "suggestive of": "pathognomonic of", "possible": "obvious", "probable": "obvious", "likely": "undoubted", "cannot be excluded": "is certain", "compatible with": "diagnostic of", "in keeping with": "diagnostic of"},
)  # fmt: skip
_GRADED = (
    {"mild": "severe", "mildly": "severely", "small": "large", "moderate": "mild", "moderately": "mildly", "large": "small", "severe": "mild", "marked": "mild", "markedly": "mildly", "slight": "severe", "tiny": "large", "minimal": "severe", "extensive": "small"},
    {"mild": "marked", "mildly": "markedly", "small": "massive", "moderate": "minimal", "moderately": "slightly", "large": "tiny", "severe": "slight", "marked": "slight", "markedly": "slightly", "slight": "gross", "tiny": "extensive", "minimal": "gross", "extensive": "trace"},
)  # fmt: skip
_PLACED = ({"upper": "lower", "lower": "upper", "base": "apex", "apical": "basal"}, {"upper": "middle", "lower": "middle", "middle": "lower", "basal": "apical", "basilar": "apical"})  # fmt: skip
_COMPARISONS = (
    ("This is unchanged from the prior film.", 2), ("Appearances are stable since the earlier examination.", 2),
    ("The findings have worsened since the prior study.", 3), ("There has been progression in the interval.", 3),
    ("There is interval improvement since the last film.", 3), ("Compared with the previous radiograph aeration has improved.", 3),
    ("A previously seen pneumothorax has resolved.", 4), ("The mass described before has decreased.", 4),
)  # fmt: skip
_RECOMMENDATIONS = (
    ("Clinical follow-up as needed.", 1), ("Follow-up at the clinician's discretion.", 1),
    ("A routine follow-up film is recommended in six weeks.", 2), ("A repeat radiograph in two months is advised.", 2),
    ("CT of the chest is recommended.", 3), ("Consider further evaluation with CT.", 3),
    ("Immediate placement of a chest tube is recommended.", 4), ("Urgent operation is advised.", 4),
)  # fmt: skip
_REASONS = (
    ("This is due to the patient's habitus.", 2), ("This may be put down to rotation, which accounts for it.", 2),
    ("These changes are due to heart failure.", 3), ("The appearance results from infection, which accounts for it.", 3),
    ("Therefore malignancy is excluded.", 4), ("Hence pulmonary embolism can be ruled out.", 4),
    ("This proves malignancy, because nothing else looks alike.", 4), ("The cause is certainly aortic dissection.", 4),
)  # fmt: skip
_SEVERE = (", which is severe", ", massive in extent")
_SCARCE = ("detail misidentification", "missing context", "overstating intensity", "understating intensity")
_STABLE = re.compile(r"\b(?:stable|unchanged|persistent|again|new|worsening|increased|decreased) (?=[a-z])", re.I)  # fmt: skip
_SIDE = re.compile(r"\b(?:left|right)(?:[- ]sided)?\b", re.I)
_NUMBERED = re.compile(r"^\s*\d{1,2}[.)]\s*")


@dataclass(frozen=True)
class Planted:
    """A source, a text, and what is wrong with the text.

    Attributes:
        source, text: reports with headings.
        told, dropped: for each of :func:`lines_of` the text, and the source, what is wrong there; None where nothing is.
    """

    source: str
    text: str
    told: tuple[TextError | None, ...] = field(repr=False)
    dropped: tuple[TextError | None, ...] = field(repr=False)

    @property
    def errors(self) -> tuple[TextError, ...]:
        return tuple(error for error in (*self.told, *self.dropped) if error)

    @property
    def risk(self) -> int:
        """The highest level; 1 where nothing is wrong."""
        return max((error.risk for error in self.errors), default=1)


@dataclass(frozen=True)
class _Edit:
    """What is done to a report's lines: line -> its new words (empty takes it out), or a line put behind."""

    error: TextError
    changed: dict[int, str]
    behind: int | None = None
    in_source: bool = False


def lines_of(report: str) -> list[tuple[str, str]]:
    """(section, sentence) of findings and impression, without headings, numbers and full stops."""
    said = [(name, _NUMBERED.sub("", match[0]).strip(" .;:\n")) for name, match in usable_sentences(report)]
    return [(name, words) for name, words in said if re.search(r"[A-Za-z]{2}", words)]


def acuity(concepts: Sequence[str], vocabulary: Vocabulary) -> int:
    """The highest acuity of some findings; 0 where there is none."""
    return max((_ACUITY.get(name, 1) for name in concepts if name in vocabulary.pathologies), default=0)


def plant(report: str, vocabulary: Vocabulary, seed: int, part: int = TRAINING) -> Planted | None:
    """A text with errors up to a level drawn from 1 to 4, in other words than its source.

    Args:
        report: any report; its findings and impression are taken.
        vocabulary: how its findings are read (``openchest``).
        seed: everything follows from it.
        part: of templates and wordings, :data:`TRAINING` or :data:`HELD_OUT`.

    Returns:
        One to three errors of at most the level, one of them of the level; at level 1 there may be none. None where the
        report has no text, or offers no error of the level.
    """
    rng = generator(seed, "plant", part)
    lines = lines_of(report)
    if not lines:
        return None
    level = int(rng.integers(1, 5))
    edits = list(_edits(lines, vocabulary, rng, part))
    chosen: list[_Edit] = []
    if level > 1 or rng.random() < 0.5:
        first = [edit for edit in edits if edit.error.risk == level]
        if not first and level > 1:
            return None
        chosen += _one_of(first, rng)
        for _ in range(int(rng.integers(0, 3))):
            free = [e for e in edits if e.error.risk <= level and all(_apart(e, other) for other in chosen)]
            chosen += _one_of(free, rng)
    return _written(lines, chosen, rng, part)


def _one_of(edits: list[_Edit], rng: Rng) -> list[_Edit]:
    """One edit, each category being as likely as another, those that few sentences allow three times as likely."""
    if not edits:
        return []
    categories = sorted({edit.error.category for edit in edits})
    weights = np.array([3.0 if category in _SCARCE else 1.0 for category in categories])
    category = categories[int(rng.choice(len(categories), p=weights / weights.sum()))]
    some = [edit for edit in edits if edit.error.category == category]
    return [some[int(rng.integers(len(some)))]]


def _apart(one: _Edit, other: _Edit) -> bool:
    lines = [{*edit.changed, *([edit.behind] if edit.behind is not None else [])} for edit in (one, other)]
    is_twice = (
        one.error.category == other.error.category and one.behind is not None and other.behind is not None
    )
    return not lines[0] & lines[1] and not is_twice


def _written(lines: list[tuple[str, str]], edits: list[_Edit], rng: Rng, part: int) -> Planted | None:
    """The text and its source, with the errors beside their lines."""
    source: list[tuple[str, str, TextError | None]] = []
    told: list[tuple[str, str, TextError | None]] = []
    for i, (section, said) in enumerate(lines):
        edit = next((e for e in edits if i in e.changed), None)
        new = said if edit is None else edit.changed[i]
        source.append((section, said, edit.error if edit and not new else None))
        if new:
            told.append((section, reworded(new, rng, SAME[part::2]), edit.error if edit else None))
        for other in edits:
            if other.behind == i:
                place = source if other.in_source else told
                place.append((section, other.error.source or other.error.said, other.error))
    order = rng.permutation(len(told)) if rng.random() < 0.5 else np.arange(len(told))
    told = [told[i] for i in order]
    if not told:
        return None
    text, told_errors = _report(told)
    before, dropped = _report(source)
    return Planted(before, text, tuple(told_errors), tuple(dropped))


def _report(lines: list[tuple[str, str, TextError | None]]) -> tuple[str, list[TextError | None]]:
    """Lines as a report, and the errors once more in the order of :func:`lines_of`."""
    parts, errors = [], []
    for name in dict.fromkeys(section for section, _, _ in lines):
        here = [(said, error) for section, said, error in lines if section == name]
        heading = "" if name == "body" else f"{name.upper()}: "
        parts.append(heading + " ".join(f"{said[:1].upper()}{said[1:]}." for said, _ in here))
        for said, error in here:
            errors += [error] * len(lines_of(f"FINDINGS: {said}."))
    text = "\n".join(parts)
    found = lines_of(text)
    return text, errors[: len(found)] + [None] * (len(found) - len(errors))


def _edits(lines: list[tuple[str, str]], vocabulary: Vocabulary, rng: Rng, part: int) -> Iterator[_Edit]:
    """All that can be done wrong to a report, one way each drawn."""
    stated = [list(facts_of_text(f"FINDINGS: {said}.", vocabulary).statements) for _, said in lines]
    whole = " ".join(said for _, said in lines)
    for i, (_, said) in enumerate(lines):
        findings = [s for s in stated[i] if s.concept in vocabulary.pathologies]
        affirmed = [s for s in findings if s.state == ASSERTED]
        if affirmed:
            yield from _details(i, said, affirmed, vocabulary, part)
            yield from _reversed(i, said, affirmed[0], ASSERTED, vocabulary, rng, part)
            yield from _left_out(affirmed[0].concept, lines, stated, vocabulary)
        elif findings and all(s.state == NEGATED for s in findings):
            yield _Edit(_error("missing claim", 1, "", said), {i: ""})
            yield from _reversed(i, said, findings[0], NEGATED, vocabulary, rng, part)
        yield from _certainty(i, said, findings, vocabulary, rng, part)
        if COMPARED.search(said) and (new := _STABLE.sub("", said)) != said:
            yield _Edit(_error("missing comparison", 3 if re.search("new|wors|increas", said, re.I) else 2, new, said), {i: new})  # fmt: skip
    spoken = {s.concept for some in stated for s in some}
    for concept in (name for name in vocabulary.pathologies if name not in spoken):
        a = acuity([concept], vocabulary)
        said = _sentence(_half(_SAID, part), _noun(concept, vocabulary, rng, part), rng)
        yield _Edit(_error("fabricated claim", 1 + a, said, "", concept), {}, int(rng.integers(len(lines))))
    for category, sentences, pattern in (
        ("false comparison", _COMPARISONS, COMPARED),
        ("incorrect recommendation", _RECOMMENDATIONS, RECOMMENDED),
        ("misleading justification", _REASONS, None),
    ):
        if pattern is None or not pattern.search(whole):
            for said, risk in _half(sentences, part):
                yield _Edit(_error(category, risk, said.rstrip("."), ""), {}, int(rng.integers(len(lines))))
    if not COMPARED.search(whole):
        for said, risk in _half(_COMPARISONS, part):
            yield _Edit(_error("missing comparison", risk, "", said.rstrip(".")), {}, int(rng.integers(len(lines))), in_source=True)  # fmt: skip


def _details(
    i: int, said: str, affirmed: list[Statement], vocabulary: Vocabulary, part: int
) -> Iterator[_Edit]:
    """Side, place, measure and severity, changed or left out."""
    concept, a = affirmed[0].concept, acuity([s.concept for s in affirmed], vocabulary)
    sides = _SIDE.findall(said)
    if len(sides) == 1 and traits(said, "laterality") in ({"left"}, {"right"}):
        flipped = _SIDE.sub(lambda m: like(m, "right" if m[0].lower().startswith("left") else "left"), said)
        yield _Edit(_error("detail misidentification", min(4, 2 + a), flipped, said, concept), {i: flipped})
        bare = re.sub(r" (?:on|at|in) the (?:left|right)(?: side)?\b", "", said, flags=re.I)
        bare = " ".join((_SIDE.sub("", bare) if bare == said else bare).split())
        yield _Edit(_error("missing context", a, bare, said, concept), {i: bare})
    for words, category, risk in (
        (_PLACED[part], "detail misidentification", 1 + a),
        (_GRADED[part], "", 0),
    ):
        found = re.search(rf"\b(?:{'|'.join(words)})\b", said, re.I)
        if not found:
            continue
        new = said[: found.start()] + like(found, words[found[0].lower()]) + said[found.end() :]
        if category:
            yield _Edit(_error(category, risk, new, said, concept), {i: new})
            continue
        before, after = (max((RANKS[v] for v in traits(t, "severity")), default=0) for t in (said, new))
        if before != after:
            name = "overstating intensity" if after > before else "understating intensity"
            risk = min(4, a + (abs(after - before) > 1))
            yield _Edit(_error(name, risk, new, said, concept), {i: new})
        bare = " ".join((said[: found.start()] + said[found.end() :]).split())
        yield _Edit(_error("missing context", max(1, a - 1), bare, said, concept), {i: bare})
    if not traits(said, "severity"):
        new = said + _SEVERE[part]
        yield _Edit(_error("overstating intensity", min(4, a + 1), new, said, concept), {i: new})
    if found := re.search(r"\d+(?:\.\d+)?(?= ?(?:cm|mm)\b)", said):
        new = said[: found.start()] + f"{float(found[0]) * (2.5, 0.4)[part]:.1f}" + said[found.end() :]
        yield _Edit(_error("detail misidentification", 1 + a, new, said, concept), {i: new})


def _reversed(
    i: int, said: str, statement: Statement, state: str, vocabulary: Vocabulary, rng: Rng, part: int
) -> Iterator[_Edit]:
    """What is affirmed is denied, what is denied affirmed."""
    frames = _half(_DENIED if state == ASSERTED else _SAID, part)
    noun = _noun(statement.concept, vocabulary, rng, part)
    new = _sentence(frames, _bare(noun) if state == ASSERTED else noun, rng)
    risk = min(4, 2 + acuity([statement.concept], vocabulary))
    yield _Edit(_error("fabricated claim", risk, new, said, statement.concept), {i: new})


def _left_out(
    concept: str, lines: list[tuple[str, str]], stated: list[list[Statement]], vocabulary: Vocabulary
) -> Iterator[_Edit]:
    """Every line that speaks of a finding is taken out; a report keeps a line at least."""
    gone = [i for i, some in enumerate(stated) if any(s.concept == concept and s.state != NEGATED for s in some)]  # fmt: skip
    kept = {s.concept for i, some in enumerate(stated) if i not in gone for s in some}
    dropped = {s.concept for i in gone for s in stated[i] if s.state != NEGATED} - kept
    if len(gone) < len(lines):
        said = lines[gone[0]][1]
        yield _Edit(_error("missing claim", 1 + acuity([*dropped], vocabulary), "", said, concept), dict.fromkeys(gone, ""))  # fmt: skip


def _certainty(
    i: int, said: str, findings: list[Statement], vocabulary: Vocabulary, rng: Rng, part: int
) -> Iterator[_Edit]:
    """A doubt where there was none, or none where there was one."""
    if not findings:
        return
    concept, a = findings[0].concept, acuity([s.concept for s in findings], vocabulary)
    if a and {s.state for s in findings} == {ASSERTED} and len({s.concept for s in findings}) == 1:
        traits_said = " ".join(sorted(traits(said, "severity") | traits(said, "laterality") - {"bilateral"}))
        noun = f"{traits_said} {_bare(_noun(concept, vocabulary, rng, part))}".strip()
        new = _sentence(_half(_DOUBTED, part), noun, rng)
        yield _Edit(_error("understating intensity", a, new, said, concept), {i: new})
    words = _CERTAIN[part]
    found = re.search(rf"\b(?:{'|'.join(words)})\b", said, re.I)
    if found and a and any(s.state in (ASSERTED, UNCERTAIN) for s in findings):
        new = said[: found.start()] + like(found, words[found[0].lower()]) + said[found.end() :]
        yield _Edit(_error("overstating intensity", a, new, said, concept), {i: new})


def _error(category: str, risk: int, said: str, source: str, concept: str | None = None) -> TextError:
    return TextError(JUDGED, concept, said.strip(), source, category, risk)


def _half(choices: Sequence[T], part: int) -> Sequence[T]:
    return choices[part::2]


def _noun(concept: str, vocabulary: Vocabulary, rng: Rng, part: int) -> str:
    wordings = wordings_of(concept, vocabulary)
    some = wordings[part::2] or wordings
    return some[int(rng.integers(len(some)))]


def _bare(noun: str) -> str:
    return noun.removeprefix("an ").removeprefix("a ")


def _sentence(frames: Sequence[str], noun: str, rng: Rng) -> str:
    frame = frames[int(rng.integers(len(frames)))]
    return frame.format(np=noun, Np=noun[:1].upper() + noun[1:]).rstrip(".")
