"""The gate on planted errors: found by category, and false alarms on clean texts, each with its 95 % interval.

    SYNTHORAX_OPENI_GOLD=GOLD.csv python benchmarks/curation_gate.py [--half held-out|development] [--out TABLE.md]

Half of the errors are planted in reports of Open-I, half in those of our own writer. Errors are planted by patterns
written here by hand, which know nothing of the gate's vocabulary and rules; then each text, clean or not, is worded
anew by further patterns (synonyms, order of sentences). Each planted text has a clean twin from the same source.

Open-I's reports come from the installed package torchxrayvision and are only read here. Its development half, on which
gate and patterns were written, is that of the gold (the annotator's rules were written on it, too); the held-out half
is the rest, without reports whose text also stands in the development half. Our writer's halves differ in their rows,
not in the writer. Open-I has no ages: these, and the sex where the report lacks it, are drawn and written into source
and text alike.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.concepts.reading import read_studies
from synthorax.generation import Facts, check_text, facts_of_labels, facts_of_text, write_report
from synthorax.generation.rewording import reworded as in_other_words
from synthorax.seeds import generator
from synthorax.studies.formats.openi import ARCHIVE, shipped

Rng = np.random.Generator
Planter = Callable[[str, Rng], str | None]

#: What a reader would call findings: how they are planted, and every wording that must go where one is dropped.
WORDINGS = {
    r"(?:pleural )?effusions?": r"effusion|pleural fluid|blunt", r"pneumothora(?:x|ces)": r"pneumothora",
    r"cardiomegaly": r"cardiomegaly|(?:heart|cardiac|cardio)[^.]*enlarge|enlarge[^.]*(?:heart|cardiac)", r"(?:lung |pulmonary )?nodules?": r"nodul|granuloma",
    r"mass(?:es)?\b": r"\bmass", r"atelecta(?:sis|tic changes?)": r"atelecta", r"pneumonia": r"pneumonia|infectious|infection",
    r"(?:patchy |hazy |airspace |lung )*opacit(?:y|ies)": r"opaci|infiltrat|consolidat|airspace", r"consolidations?": r"consolidat|airspace",
    r"infiltrates?": r"infiltrat|opaci|airspace|consolidat", r"(?:pulmonary |interstitial )edema": r"edema|congest|overload|failure|vascular",
    r"(?:calcified )?granulomas?": r"granulom|calcif", r"emphysema": r"emphys|copd|obstructive|hyper|bulla", r"scarring": r"scar|fibro",
    r"fibrosis": r"fibro|scar|interstitial", r"scoliosis": r"scolio|curvature", r"degenerative changes?": r"degenerat|spondyl|osteophyt|spur|arthr",
    r"(?:rib )?fractures?": r"fractur|deformit", r"hiatal hernia": r"hernia", r"pleural thickening": r"pleural (?:thick|scar)|thickened",
    r"hyperinflation": r"emphys|copd|obstructive|hyper", r"PICC": r"picc|catheter|\bline\b", r"pacemaker": r"pacem|pacing|lead|icd",
    r"surgical clips": r"clip|surg", r"sternotomy": r"sternotomy|cabg|wires", r"granulomatous disease": r"granulom|calcif",
}  # fmt: skip
TERMS = {re.compile(term, re.I): re.compile(wordings, re.I) for term, wordings in WORDINGS.items()}
#: Sentences to add, and what must not stand in the text already.
ADDITIONS = (
    ("There is a small right apical pneumothorax.", r"pneumothora"),
    ("Large left pleural effusion.", r"effusion|fluid"),
    ("The heart is markedly enlarged.", r"cardiomegaly|heart|cardiac|cardio"),
    ("A 2 cm nodule projects over the left upper lobe.", r"nodul"),
    ("Patchy consolidation in the right lower lobe.", r"consolidat|airspace|pneumonia"),
    ("There is diffuse pulmonary edema.", r"edema|congestion|vascular"),
    ("Bibasilar atelectasis is noted.", r"atelecta"),
    ("A large hiatal hernia is present.", r"hernia"),
    ("Acute fracture of the left sixth rib.", r"fractur|bon|osseous|rib"),
    ("Findings are consistent with right middle lobe pneumonia.", r"pneumonia|airspace|infiltrat"),
    ("There is a spiculated mass in the right upper lobe.", r"mass"),
    ("A left subclavian pacemaker is in place.", r"pacemaker|icd|defib"),
    ("Right internal jugular catheter with its tip in the right atrium.", r"catheter|picc|line|port"),
    ("Advanced emphysematous change in both upper lobes.", r"emphys|copd|inflat"),
    ("Mild dextroscoliosis of the thoracic spine.", r"scolio|spine|curvature"),
    ("There is bulky bilateral hilar lymphadenopathy.", r"adenopathy|hil"),
)
_NEGATED = re.compile(
    r"\b(?:no|not|without|negative|free|clear|resolved|resolution|unlikely|absent|exclude|rule)\b", re.I
)
_SENTENCE = re.compile(r"[^.\n]+(?:\.(?=\d)[^.\n]*)*\.?")
_SEVERER = {
    "mildly": "severely", "mild": "severe", "minimally": "markedly", "minimal": "extensive", "small": "large", "tiny": "large",
    "slightly": "severely", "slight": "marked", "trace": "large", "moderate": "minimal", "moderately": "minimally",
    "large": "small", "severe": "mild", "markedly": "mildly", "marked": "mild", "extensive": "minimal",
}  # fmt: skip
_SWAPPED_SEX = {
    "male": "female",
    "female": "male",
    "man": "woman",
    "woman": "man",
    "boy": "girl",
    "girl": "boy",
}


@dataclass(frozen=True)
class Case:
    """One text to judge: its source, and the category of what was planted in it (None: clean)."""

    corpus: str
    category: str | None
    text: str
    source: Facts


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of FINDINGS and IMPRESSION."""
    begin = re.search(r"FINDINGS:|IMPRESSION:", text)
    start = begin.start() if begin else 0
    spans = []
    for match in _SENTENCE.finditer(text, start):
        lead = re.match(r"\s*(?:FINDINGS:|IMPRESSION:)?\s*(?:\d\.\s*)?", match[0])
        if match[0][lead.end() if lead else 0 :].strip(" ."):
            spans.append((match.start() + (lead.end() if lead else 0), match.end()))
    return spans


def affirmed(text: str, rng: Rng) -> Iterator[tuple[int, int, re.Pattern[str]]]:
    """Sentences that affirm a term, in any order, with the term."""
    found = [
        (start, end, term)
        for start, end in sentences(text)
        for term in TERMS
        if term.search(text, start, end) and not _NEGATED.search(text, start, end)
    ]
    for i in rng.permutation(len(found)):
        yield found[i]


def drop(text: str, rng: Rng) -> str | None:
    """Without every sentence that has the term."""
    for _, _, term in affirmed(text, rng):
        spans = [(a, b) for a, b in sentences(text) if TERMS[term].search(text, a, b)]
        if len(spans) < len(sentences(text)):
            for a, b in reversed(spans):
                text = text[:a] + text[b:]
            return text
    return None


def add(text: str, rng: Rng) -> str | None:
    """With a sentence on something that the text does not speak of."""
    for i in rng.permutation(len(ADDITIONS)):
        sentence, spoken = ADDITIONS[i]
        if not re.search(spoken, text, re.I):
            spans = sentences(text)
            at = spans[int(rng.integers(len(spans)))][1]
            return f"{text[:at].rstrip('. ')}. {sentence}{text[at:]}"
    return None


def contradict(text: str, rng: Rng) -> str | None:
    """What is affirmed is denied, or what is denied affirmed, in one sentence."""
    denied = [
        (start, end, term)
        for start, end in sentences(text)
        for term in list(TERMS)[:12]
        if re.match(r"(?:There is )?no ", text[start:end].lower()) and term.search(text, start, end)
    ]
    if denied and rng.random() < 0.5:
        start, end, term = denied[int(rng.integers(len(denied)))]
        found = term.search(text, start, end)
        word = found[0].lower() if found else ""
        rest = re.sub(rf",? ?(?:or |and )?{re.escape(word)},?", "", text[start:end], flags=re.I).strip()
        kept = f" {rest.rstrip('.')}." if len(rest.split()) > 2 else ""
        return f"{text[:start]}{word.capitalize()} is present.{kept}{text[end:]}"
    for start, end, term in affirmed(text, rng):
        found = term.search(text, start, end)
        if found:
            return f"{text[:start]}There is no {found[0].lower()}.{text[end:]}"
    return None


def swap_side(text: str, rng: Rng) -> str | None:
    """Left for right, or right for left, in one sentence that affirms a term."""
    for start, end, _ in affirmed(text, rng):
        found = re.search(r"\b(?:left|right)\b", text[start:end], re.I)
        if found and not re.search(r"\bbilateral|\bboth\b", text[start:end], re.I):
            other = "right" if found[0].lower() == "left" else "left"
            other = other.capitalize() if found[0][0].isupper() else other
            return text[: start + found.start()] + other + text[start + found.end() :]
    return None


def change_severity(text: str, rng: Rng) -> str | None:
    """Mild for severe, and so on, in one sentence that affirms a term."""
    for start, end, _ in affirmed(text, rng):
        found = re.search(rf"\b(?:{'|'.join(_SEVERER)})\b", text[start:end], re.I)
        if found:
            other = _SEVERER[found[0].lower()]
            other = other.capitalize() if found[0][0].isupper() else other
            return text[: start + found.start()] + other + text[start + found.end() :]
    return None


def change_age(text: str, rng: Rng) -> str | None:
    """Another age, three years or more away."""
    found = re.search(r"(\d+)(?=-year-old)|(?<=aged )(\d+)", text)
    if found is None:
        return None
    age = int(found[0])
    others = [other for other in range(18, 95) if abs(other - age) >= 3]
    return text[: found.start()] + str(others[int(rng.integers(len(others)))]) + text[found.end() :]


def change_sex(text: str, rng: Rng) -> str | None:
    """A man for a woman, in every place."""
    words = "|".join(_SWAPPED_SEX)
    changed = re.sub(
        rf"\b(?:{words})\b", lambda found: _SWAPPED_SEX[found[0].lower()], text, flags=re.IGNORECASE
    )
    return None if changed == text else changed


#: Category -> how it is planted, and the gate's kinds that name it right; the scarce first.
CATEGORIES: dict[str, tuple[Planter, tuple[str, ...]]] = {
    "severity": (change_severity, ("overstated severity", "understated severity")),
    "wrong side": (swap_side, ("wrong side",)),
    "dropped finding": (drop, ("dropped finding", "dropped sentence")),
    "contradicted finding": (contradict, ("contradicted finding",)),
    "added finding": (add, ("added finding", "unsupported sentence")),
    "age": (change_age, ("wrong age",)),
    "sex": (change_sex, ("wrong sex",)),
}


def reworded(text: str, rng: Rng) -> str:
    """The same in other words, its findings in another order."""
    text = in_other_words(text, rng)
    found = re.search(r"FINDINGS: (.*)", text)
    if found and rng.random() < 0.5:
        parts = re.split(r"(?<=[a-zX]\.) ", found[1].strip())
        rng.shuffle(parts)
        text = text[: found.start(1)] + " ".join(parts) + text[found.end(1) :]
    return text


def with_person(report: str, rng: Rng) -> str:
    """Open-I's report with an age, and a sex where it has none."""
    age, sex = int(rng.integers(18, 95)), "man" if rng.random() < 0.5 else "woman"
    report = re.sub(r"XXXX(?=[- ]year)", str(age), report, count=1)
    if not re.search(r"\b(?:fe)?male\b|\b(?:wo)?man\b", report, re.I):
        sex_said = f"{age}-year-old {sex}"
    elif re.search(rf"\b{age}[- ]year", report):
        return report
    else:
        sex_said = f"{age}-year-old"
    return f"PATIENT: {sex_said}.\n{report}"


def openi_reports(gold: Path, half: str) -> list[str]:
    """One half's reports, each text once."""
    archive = shipped(ARCHIVE)
    if archive is None:
        raise SystemExit("torchxrayvision is not installed and has the reports; install synthorax[xrv].")
    studies, _ = read_studies(archive, "openi")
    in_gold = pl.col("study_id").is_in(pl.read_csv(gold)["report_id"].to_list())
    plain = pl.col("report").str.replace(r"(?s)^INDICATION:.*?\n", "").alias("plain")
    development = studies.filter(in_gold).with_columns(plain).unique("plain", maintain_order=True)
    if half == "development":
        return development["report"].to_list()
    rest = studies.filter(~in_gold).with_columns(plain).unique("plain", maintain_order=True)
    return rest.filter(~pl.col("plain").is_in(development["plain"].to_list()))["report"].to_list()


def openi_sources(gold: Path, half: str, vocabulary: Vocabulary) -> Iterator[tuple[str, Facts]]:
    """Reports of Open-I with a person: the text, and what the gate's source is."""
    reports = openi_reports(gold, half)
    rng = generator("curation gate", half)
    for i in rng.permutation(len(reports)):
        report = with_person(reports[i], rng)
        yield report, facts_of_text(report, vocabulary)


#: Names that label tables give, and whether they come with a side and a severity.
LABELS = {
    "Cardiomegaly": (False, True), "Pleural Effusion": (True, True), "Pneumothorax": (True, True), "Atelectasis": (True, True),
    "Consolidation": (True, True), "Lung Opacity": (True, False), "Edema": (False, True), "Pneumonia": (True, False),
    "Nodule": (True, False), "Mass": (True, False), "Emphysema": (False, True), "Fibrosis": (True, False), "Hernia": (False, False),
    "Fracture": (True, False), "Pleural Thickening": (True, False), "Scoliosis": (False, True),
}  # fmt: skip


def written_sources(half: str, vocabulary: Vocabulary) -> Iterator[tuple[str, Facts]]:
    """Rows of labels drawn by chance, and our own writer's reports of them."""
    names, number = list(LABELS), 0
    while True:
        rng, number = generator("written", half, number), number + 1
        drawn = [names[i] for i in rng.permutation(len(names))]
        count = int(rng.integers(0, 4))
        present = drawn[:count] or ["No Finding"]
        sides, severities = [], []
        for name in drawn[:count]:
            sided, graded = LABELS[name]
            if sided and rng.random() < 0.7:
                sides.append({"concept": name, "side": ("left", "right", "bilateral")[int(rng.integers(3))]})
            if graded and rng.random() < 0.6:
                severities.append(
                    {
                        "concept": name,
                        "severity": ("small", "mild", "moderate", "large")[int(rng.integers(4))],
                    }
                )
        row = {
            "study_id": str(number), "labels_present": present, "labels_absent": drawn[count : count + 6], "sides": sides,
            "severities": severities, "sex": "FM"[int(rng.integers(2))], "age": float(rng.integers(18, 95)),
            "view_position": ("PA", "AP")[int(rng.integers(2))],
        }  # fmt: skip
        source = facts_of_labels(row, vocabulary)
        yield write_report(source, vocabulary, number), source


def cases(corpus: str, sources: Iterator[tuple[str, Facts]], n: int, half: str) -> list[Case]:
    """``n`` planted texts, as evenly over the categories as the sources allow, each with its clean twin."""
    pool = [found for _, found in zip(range(4 * n), sources, strict=False)]
    used: set[int] = set()
    made: list[Case] = []
    left, names = n, list(CATEGORIES)
    for position, category in enumerate(names):
        wanted = left // (len(names) - position)
        for number, (text, source) in enumerate(pool):
            if not wanted:
                break
            rng = generator("plant", corpus, half, category, number)
            if number in used or (planted := CATEGORIES[category][0](text, rng)) is None or planted == text:
                continue
            used.add(number)
            made.append(Case(corpus, category, reworded(planted, rng), source))
            made.append(Case(corpus, None, reworded(text, generator("clean", corpus, half, number)), source))
            wanted, left = wanted - 1, left - 1
    return made


def wilson(hits: int, n: int) -> str:
    """'93.1 % [91.4, 94.5] of 1,000': a share with Wilson's 95 % interval."""
    z, p = 1.959964, hits / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{p:.1%} [{low:.1%}, {high:.1%}] of {n:,}".replace("%", " %")


def main() -> None:
    """Print the table; with ``--show`` also what was missed and what was a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("held-out", "development"), default="held-out")
    parser.add_argument("--errors", type=int, default=1000)
    parser.add_argument(
        "--show", type=int, default=0, help="so many misses and false alarms, with their texts"
    )
    parser.add_argument("--out", type=Path, help="Markdown file that also gets the table")
    arguments = parser.parse_args()
    if "SYNTHORAX_OPENI_GOLD" not in os.environ:
        parser.error("SYNTHORAX_OPENI_GOLD names no gold; it says which half of Open-I is development.")
    gold, half = Path(os.environ["SYNTHORAX_OPENI_GOLD"]), arguments.half
    vocabulary = Vocabulary.load("openchest")
    each = arguments.errors // 2
    found = cases("Open-I", openi_sources(gold, half, vocabulary), each, half)
    found += cases("own writer", written_sources(half, vocabulary), each, half)
    flagged: Counter = Counter()
    named: Counter = Counter()
    total: Counter = Counter()
    shown = 0
    for case in found:
        verdict = check_text(case.text, case.source, vocabulary)
        key = (case.corpus, case.category or "clean")
        kinds = {error.kind for error in verdict.errors if error.risk > 1}
        total[key] += 1
        flagged[key] += not verdict.is_passed
        named[key] += bool(case.category and kinds & set(CATEGORIES[case.category][1]))
        if shown < arguments.show and verdict.is_passed == (case.category is not None):
            shown += 1
            print(f"\n{key}\n{case.text}\n-- source: {' '.join(case.source.sentences) or case.source.statements}\n-> {verdict.errors}")  # fmt: skip
    lines = ["| planted | corpus | found | with the right kind |", "| --- | --- | --- | --- |"]
    for category in CATEGORIES:
        for corpus in ("Open-I", "own writer"):
            if n := total[corpus, category]:
                shares = (wilson(counts[corpus, category], n) for counts in (flagged, named))
                lines.append(f"| {category} | {corpus} | {' | '.join(shares)} |")
    for corpus in ("Open-I", "own writer", "both"):
        keys = [key for key in total if key[0] == corpus or corpus == "both"]
        planted = [key for key in keys if key[1] != "clean"]
        sums = [sum(counts[key] for key in planted) for counts in (flagged, named, total)]
        lines.append(f"| **all** | {corpus} | {wilson(sums[0], sums[2])} | {wilson(sums[1], sums[2])} |")
    for corpus in ("Open-I", "own writer", "both"):
        clean = [key for key in total if key[1] == "clean" and (key[0] == corpus or corpus == "both")]
        alarms, n = sum(flagged[key] for key in clean), sum(total[key] for key in clean)
        lines.append(f"| nothing (false alarms) | {corpus} | {wilson(alarms, n)} | |")
    table = "\n".join(lines)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
