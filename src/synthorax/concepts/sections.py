"""A report's sections: which of its text states what the film shows.

Read are findings and impression; indication, history, comparison and technique are not. Real headings
stand at the start of a line, inside one ('... seen. IMPRESSION: No'), alone on a line, or are missing;
MIMIC's body often follows the comparison as a paragraph without a heading.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FINDINGS, IMPRESSION, BODY = "findings", "impression", "body"

_READ = {
    FINDINGS: """findings; finding; report; interpretation; description; chest; chest radiograph;
        chest x-ray; portable chest; pa and lateral chest; chest pa and lateral; frontal and lateral views of the chest""",
    IMPRESSION: """impression; impressions; conclusion; conclusions; opinion; addendum;
        findings and impression; findings/impression; impression and findings""",
}
_NOT_READ = """indication; indications; ndication; clinical indication; reason for exam;
    reason for examination; reason for study; reason for this examination; reason; history; clinical history; clinical information;
    clinical data; patient history; past medical history; medical condition; underlying medical condition;
    comparison; comparisons; comparison study; technique; procedure; exam; examination; exam type;
    study; date;    type of exam; type of examination; views; recommendation; recommendations; notification; final report;
    wet read; signed; diagnosis; admitting diagnosis"""
#: Heading in lower case -> section; None is text that states nothing about this film.
HEADINGS: dict[str, str | None] = {
    " ".join(heading.split()): name
    for name, headings in [*_READ.items(), (None, _NOT_READ)]
    for heading in headings.split(";")
}

_LONGEST = max(map(len, HEADINGS)) + 2
_MOST_WORDS = max(len(heading.split()) for heading in HEADINGS)
_ALONE = re.compile(r"\n[ \t]*([A-Z][A-Z /-]{3,40})(?=[ \t\r]*\n)")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_WORD = re.compile(r"[A-Za-z]{2,}")
#: A sentence; a full stop inside a number or an abbreviation ends none.
SENTENCE = re.compile(r"(?:[^.;!?\n]|\.(?=\w))+[.;!?]*")


@dataclass(frozen=True, slots=True)
class Section:
    """One stretch of text that states what the film shows: ``report[start:end]``."""

    name: str
    start: int
    end: int


def usable_sections(report: str) -> list[Section]:
    """The stretches of findings and impression in a report, in order; empty where it has no such text.

    Without any heading the whole report is ``body``. Where no findings heading stands, paragraphs
    after a blank line below another heading are ``body`` too.
    """
    headings = _headings(report)
    if not headings:
        return [section for section in [Section(BODY, 0, len(report))] if _has_words(report, section)]
    found = []
    starts_findings = any(name == FINDINGS for _, _, name in headings)
    bounds = [*headings[1:], (len(report), len(report), None)]
    if headings[0][0] and headings[0][2] is not None and not starts_findings:
        found.append(Section(BODY, 0, headings[0][0]))
    for (_, start, name), (end, _, _) in zip(headings, bounds, strict=True):
        if name is not None:
            found.append(Section(name, start, end))
        elif not starts_findings and (gap := _BLANK_LINE.search(report, _after_space(report, start), end)):
            found.append(Section(BODY, gap.end(), end))
    return [section for section in found if _has_words(report, section)]


def usable_sentences(report: str) -> Iterator[tuple[str, re.Match[str]]]:
    """(section, sentence) of a report's usable sections, in order; what has no word of two letters is none."""
    for section in usable_sections(report):
        for match in SENTENCE.finditer(report, section.start, section.end):
            if _WORD.search(match[0]):
                yield section.name, match


def _headings(report: str) -> list[tuple[int, int, str | None]]:
    """(start, end, section) of each known heading, in order."""
    found = []
    colon = report.find(":")
    while colon >= 0:
        if heading := _heading_before(report, colon):
            found.append(heading)
        colon = report.find(":", colon + 1)
    if "\n" in report:
        alone = [match for match in _ALONE.finditer(report) if match[1].lower() in HEADINGS]
        if alone:
            found += [(match.start(1), match.end(), HEADINGS[match[1].lower()]) for match in alone]
            found.sort(key=lambda heading: heading[0])
    return found


def _heading_before(report: str, colon: int) -> tuple[int, int, str | None] | None:
    """The longest known heading that ends at the colon and looks like one: at a start, or capitalised."""
    before = report[max(0, colon - _LONGEST) : colon]
    line = before[before.rfind("\n") + 1 :].rstrip()
    words = line.split(" ")
    for first in range(max(0, len(words) - _MOST_WORDS), len(words)):
        heading = " ".join(words[first:])
        if (known := heading.lower()) in HEADINGS:
            is_first = not line[: -len(heading)].strip() or line[: -len(heading)].rstrip().endswith(".")
            if is_first or heading[0].isupper():
                return colon - len(before) + before.rfind(heading), colon + 1, HEADINGS[known]
    return None


def _after_space(report: str, start: int) -> int:
    """Where the text after a heading begins, so that a blank line right below it is not a paragraph's end."""
    while start < len(report) and report[start].isspace():
        start += 1
    return start


def _has_words(report: str, section: Section) -> bool:
    """Whether anything but holes of de-identification (XXXX, ___) and numbers stands there."""
    return any(word[0].strip("Xx") for word in _WORD.finditer(report, section.start, section.end))
