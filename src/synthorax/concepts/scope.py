"""The scope pass: what is said of each finding, in one walk over the words that matter.

The walk keeps, within a sentence, which triggers are still open:

* a trigger *before* a finding (no, possible, history of) reaches forward until a sentence end or a
  terminator (but, with, stable). A negation goes on over the commas of a list ('no pneumothorax, effusion, or
  consolidation') and ends at a comma clause with a verb of its own ('..., the heart is enlarged') or with a new
  statement ('..., small effusion');
* a trigger *after* a finding (is not seen, unlikely, has resolved) reaches back to the last comma or
  terminator, over the commas of an *or* list.

The order of strength is negated, historical, uncertain, asserted.
"""

import re

from synthorax.concepts.lexicon import Kind, Lexicon

ASSERTED, UNCERTAIN, NEGATED, HISTORICAL = range(4)
STATE_NAMES = ("asserted", "uncertain", "negated", "historical")

#: How far, in characters, a history reaches forward, two parts may lie apart, and a trait may lie from its finding.
HISTORY_REACH = 45
PARTS_APART = 60
TRAIT_REACH = 32
EXCLUDER_REACH = 45

#: A found mention, mutable while the walk goes on: concept, start, end, state, laterality, severity, cautious.
CONCEPT, START, END, STATE, SIDE, SEVERITY, CAUTIOUS = range(7)
Found = list

_OF_AN_ORGAN = re.compile(r" (?:in|of|within|from|at) (?:the |a )?(?:left |right )?")
_JOINS = (" or", " no", " an")
_CONCEPT, _CAUTIOUS, _PART = int(Kind.CONCEPT), int(Kind.CAUTIOUS), int(Kind.PART)


def find_mentions(text: str, lexicon: Lexicon, unremarkable: str, offset: int = 0) -> list[Found]:
    """All findings of one section, with their states.

    Args:
        text: normalised text (lower case, single spaces), see ``normalise``.
        lexicon: vocabulary and scope words.
        unremarkable: the concept that no organ and no exclusion touches, and that parts two halves.
        offset: added to the spans.
    """
    out: list[Found] = []
    actions, size = lexicon.actions, len(text)
    sentence = clause = listed = 0
    negation = uncertainty = history = comma = organ = -1
    joined = False
    side = severity = None
    side_at = severity_at = -1
    parts: list[tuple[str, int, int, int, int]] = []
    excluders: list[tuple[str, int]] = []

    for pattern, start, end in lexicon.automaton.find_matches_as_indexes(text):
        todo = actions[pattern]
        kind = todo[0][0]
        if kind == 17:  # comma
            comma = start
            joined = text[end : end + 3] in _JOINS
            clause = listed if joined else len(out)
            history = -1
            parts.clear()
            side = severity = None
            continue
        if kind == 16:  # full stop or semicolon
            if end < size and text[end] != " " and (text[end].isdigit() or text[start] == ";" or start < 3):
                continue
            sentence = clause = listed = len(out)
            negation = uncertainty = history = comma = organ = -1
            side = severity = None
            parts.clear()
            excluders.clear()
            continue
        if (start and text[start - 1].isalnum()) or (end < size and text[end].isalnum()):
            continue
        for kind, payload in todo:
            if kind <= _PART:
                if kind == _PART:
                    name, number, half = payload
                    first, last = start, end
                    for other_name, other_number, other_half, other_start, other_end in parts:
                        apart = start - other_end
                        if (
                            other_name == name
                            and other_number == number
                            and other_half != half
                            and apart <= PARTS_APART
                        ):
                            first = other_start
                            break
                    else:
                        parts.append((name, number, half, start, end))
                        continue
                else:
                    name, first, last = payload, start, end
                    if name == unremarkable:
                        parts.clear()
                    elif organ >= 0 and _is_adjacent(text[organ:start]):
                        continue
                    if any(x == name and _is_adjacent(text[at:start]) for x, at in excluders):
                        continue
                if negation >= 0:
                    state = NEGATED
                elif history >= 0 and start - history <= HISTORY_REACH:
                    state = HISTORICAL
                elif uncertainty >= 0:
                    state = UNCERTAIN
                else:
                    state = ASSERTED
                out.append(
                    [
                        name,
                        first + offset,
                        last + offset,
                        state,
                        side if side and start - side_at <= TRAIT_REACH else None,
                        severity if severity and start - severity_at <= TRAIT_REACH else None,
                        kind == _CAUTIOUS,
                    ]
                )
            elif kind == 3:  # negation before
                negation = end
                comma = -1
            elif kind == 12:  # verb
                if negation >= 0 and comma >= 0 and not joined:
                    negation = -1
                    for mention in reversed(out):
                        if mention[START] - offset < comma:
                            break
                        if mention[STATE] == NEGATED:
                            mention[STATE] = ASSERTED
                listed = clause if joined else len(out) if comma < 0 else clause
            elif kind == 10:  # terminator
                negation = uncertainty = history = -1
                clause = listed = len(out)
                side = severity = None
            elif kind == 11:  # new statement
                if comma >= 0 and start - comma <= 2:
                    negation = uncertainty = -1
                    listed = len(out)
            elif kind == 14:
                if side and payload != side and start - side_at <= 16:
                    payload = "bilateral"
                side, side_at = payload, end
                if (
                    len(out) > clause
                    and out[-1][SIDE] is None
                    and text[:start].endswith(("on the ", "at the ", "in the "))
                ):
                    out[-1][SIDE] = payload
            elif kind == 15:
                severity, severity_at = payload, end
            elif kind == 4:  # negation after
                for mention in out[clause:]:
                    mention[STATE] = NEGATED
            elif kind == 5:  # uncertainty before
                if comma >= 0:
                    negation = -1
                uncertainty = end
            elif kind == 6:  # uncertainty after
                for mention in out[clause:]:
                    if mention[STATE] == ASSERTED:
                        mention[STATE] = UNCERTAIN
            elif kind == 7:
                history = end
            elif kind == 8:  # history after
                for mention in out[clause:]:
                    if mention[STATE] != NEGATED:
                        mention[STATE] = HISTORICAL
            elif kind == 9:  # what was seen before goes on
                for mention in out[clause:]:
                    if mention[STATE] == HISTORICAL:
                        mention[STATE] = ASSERTED
            elif kind == 13:  # another organ
                organ = end
                if len(out) > sentence and _OF_AN_ORGAN.fullmatch(text[out[-1][END] - offset : start]):
                    out.pop()
            elif kind == 18 and negation < 0:  # a word that takes the finding back
                excluders.append((payload, end))
                for position in range(len(out) - 1, clause - 1, -1):
                    if (
                        out[position][CONCEPT] == payload
                        and start - out[position][END] + offset <= EXCLUDER_REACH
                    ):
                        del out[position]
                clause, listed = min(clause, len(out)), min(listed, len(out))
    for mention in out:
        if mention[CAUTIOUS] and mention[STATE] == ASSERTED:
            mention[STATE] = UNCERTAIN
    return out


def _is_adjacent(gap: str) -> bool:
    """Whether at most one word lies between, and no comma, full stop or conjunction."""
    words = gap.split()
    return len(words) <= 1 and (
        not words or (words[0].isalpha() and words[0] not in ("or", "and", "with", "fracture"))
    )
