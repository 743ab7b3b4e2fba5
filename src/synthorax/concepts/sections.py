"""A report's sections: which of its text states what the film shows.

Read are findings and impression; indication, history, comparison and technique are not. Real headings stand at
the start of a line, inside one ('... seen. IMPRESSION: No'), alone on a line, or are missing; MIMIC's
body often follows the comparison as a paragraph without a heading.
"""

import re
from dataclasses import dataclass

FINDINGS, IMPRESSION, BODY = "findings", "impression", "body"

#: Heading in lower case -> section; None is text that states nothing about this film.
HEADINGS: dict[str, str | None] = {
    **dict.fromkeys(("findings", "finding", "report", "interpretation", "chest", "description"), FINDINGS),
    **dict.fromkeys(("pa and lateral chest", "chest radiograph", "chest x-ray", "portable chest"), FINDINGS),
    **dict.fromkeys(("chest pa and lateral", "frontal and lateral views of the chest"), FINDINGS),
    **dict.fromkeys(("impression", "impressions", "conclusion", "conclusions", "opinion", "addendum"), IMPRESSION),
    **dict.fromkeys(("findings and impression", "findings/impression", "impression and findings"), IMPRESSION),
    **dict.fromkeys(("indication", "indications", "ndication", "clinical indication", "reason for exam")),
    **dict.fromkeys(("reason for examination", "reason for study", "reason for this examination", "reason")),
    **dict.fromkeys(("history", "clinical history", "clinical information", "clinical data", "patient history")),
    **dict.fromkeys(("comparison", "comparisons", "comparison study", "technique", "procedure", "exam", "examination")),
    **dict.fromkeys(("exam type", "study", "type of examination", "type of exam", "views", "date", "medical condition")),
    **dict.fromkeys(("recommendation", "recommendations", "notification", "final report", "wet read", "signed")),
    **dict.fromkeys(("diagnosis", "admitting diagnosis", "underlying medical condition", "past medical history")),
}  # fmt: skip

_LONGEST = max(len(heading.split()) for heading in HEADINGS)
_WORDS_BEFORE_COLON = re.compile(r"[A-Za-z][A-Za-z/-]*(?: [A-Za-z/-]+)*[ \t]*$")
_ALONE = re.compile(r"^[ \t]*([A-Z][A-Z /-]{3,40})[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_WORD = re.compile(r"[A-Za-z]{2,}")


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


def _headings(report: str) -> list[tuple[int, int, str | None]]:
    """(start, end, section) of each known heading, in order."""
    found = []
    colon = report.find(":")
    while colon >= 0:
        if (match := _WORDS_BEFORE_COLON.search(report, max(0, colon - 48), colon)) and (
            heading := _known_ending(report, match.start(), colon)
        ):
            found.append((*heading[:1], colon + 1, heading[1]))
        colon = report.find(":", colon + 1)
    if "\n" in report:
        for match in _ALONE.finditer(report):
            if (words := " ".join(match[1].lower().split())) in HEADINGS:
                found.append((match.start(), match.end(), HEADINGS[words]))
        found.sort()
    return found


def _known_ending(report: str, start: int, colon: int) -> tuple[int, str | None] | None:
    """The longest known heading that ends at the colon and looks like one: at a start, or capitalised."""
    words = report[start:colon].split(" ")
    for count in range(min(_LONGEST, len(words)), 0, -1):
        heading = " ".join(words[-count:]).strip()
        if (known := heading.lower()) in HEADINGS:
            at = colon - len(" ".join(words[-count:]))
            before = report[:at].rstrip(" \t")[-1:]
            if heading[0].isupper() or before in ("", "\n", "."):
                return at, HEADINGS[known]
    return None


def _after_space(report: str, start: int) -> int:
    """Where the text after a heading begins, so that a blank line right below it is not a paragraph's end."""
    while start < len(report) and report[start].isspace():
        start += 1
    return start


def _has_words(report: str, section: Section) -> bool:
    return any(word[0].strip("Xx") for word in _WORD.finditer(report, section.start, section.end))
