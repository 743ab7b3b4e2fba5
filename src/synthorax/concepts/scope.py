"""The scope pass: what is said of each finding, in one walk over the words that matter.

The walk keeps, within a sentence, which triggers are still open:

* a trigger *before* a finding (no, possible, history of) reaches forward until a sentence end or a
  terminator (but, with, stable). A negation goes on over the commas of a list ('no pneumothorax, effusion,
  or consolidation') and ends at a comma clause with a verb of its own ('..., the heart is enlarged') or
  with a new statement ('..., small effusion');
* a trigger *after* a finding (is not seen, unlikely, has resolved) reaches back to the last comma or
  terminator, over the commas of an *or* list.

The order of strength is negated, historical, uncertain, asserted.
"""

import re

from synthorax.concepts.lexicon import Kind, Lexicon

ASSERTED, UNCERTAIN, NEGATED, HISTORICAL = range(4)
STATE_NAMES = ("asserted", "uncertain", "negated", "historical")

#: In characters: a history's reach forward, and how far apart two parts, a trait and its finding, may lie.
HISTORY_REACH = 45
PARTS_APART = 60
TRAIT_REACH = 32
EXCLUDER_REACH = 45

#: A found mention, mutable while the walk goes on.
CONCEPT, START, END, STATE, SIDE, SEVERITY, LOCATION, CAUTIOUS = range(8)
Found = list

_OF_AN_ORGAN = re.compile(r" (?:in|of|within|from|at) (?:the |a )?(?:left |right )?")
#: What may stand between a finding and its place: 'nodule is present in the left upper lobe'.
_PLACED = re.compile(
    r"(?: (?:is|are|seen|visible|demonstrated|located|present|noted|new|still|again|of|in|at|on|within|involving|occupying|the|both|left|right|lung|persists?)){1,7}"
)
_PARTING = frozenset(("or", "and", "with", "fracture"))
_JOINS = (" or ", " nor ")
_ENDS = ".;,"
_PLURALS = (" are ", " were ")
#: After an insertion between commas the statement goes on: 'The heart, as before, remains enlarged.'
_GOES_ON = (
    " is ",
    " are ",
    " was ",
    " were ",
    " has ",
    " have ",
    " remains ",
    " remain ",
    " appears ",
    " of ",
)
INSERTION_AT_MOST = 60
# plain integers: comparing them is what the walk does most
CAUTIOUS_SAID, PART = int(Kind.CAUTIOUS), int(Kind.PART)
NEGATION_BEFORE, NEGATION_AFTER = int(Kind.NEGATION_BEFORE), int(Kind.NEGATION_AFTER)
UNCERTAINTY_BEFORE, UNCERTAINTY_AFTER = int(Kind.UNCERTAINTY_BEFORE), int(Kind.UNCERTAINTY_AFTER)
HISTORY_BEFORE, HISTORY_AFTER, CONTINUES = (
    int(Kind.HISTORY_BEFORE),
    int(Kind.HISTORY_AFTER),
    int(Kind.CONTINUES),
)
TERMINATOR, NEW_STATEMENT, VERB = int(Kind.TERMINATOR), int(Kind.NEW_STATEMENT), int(Kind.VERB)
ORGAN, EXCLUDER, SIDE_SAID, SEVERITY_SAID = (
    int(Kind.ORGAN),
    int(Kind.EXCLUDER),
    int(Kind.SIDE),
    int(Kind.SEVERITY),
)
PLACE, STOP, COMMA = int(Kind.LOCATION), int(Kind.STOP), int(Kind.COMMA)


def find_mentions(text: str, lexicon: Lexicon, unremarkable: str, offset: int = 0) -> list[Found]:
    """All findings of one section, with their states.

    Args:
        text: normalised text with a space before each word, see ``normalise``.
        lexicon: vocabulary and scope words.
        unremarkable: the concept that no organ and no exclusion touches, and that parts two halves.
        offset: added to the spans.
    """
    out: list[Found] = []
    actions, size = lexicon.actions, len(text)
    sentence = clause = listed = series = inserted = 0
    is_verbless = True
    negation = uncertainty = history = comma = organ = -1
    joined = False
    side = severity = place = None
    side_at = severity_at = place_at = -1
    parts: list[tuple[str, int, int, int, int]] = []
    before = (0, 0, parts)
    excluders: list[tuple[str, int]] = []

    for pattern, start, end in lexicon.automaton.find_matches_as_indexes(text):
        todo = actions[pattern]
        kind = todo[0][0]
        if kind == COMMA:
            if (
                comma >= 0
                and start - comma <= INSERTION_AT_MOST
                and len(out) == inserted
                and text.startswith(_GOES_ON, end)
            ):
                clause, listed, parts = before
                comma = -1
                continue
            before, inserted = (clause, listed, parts[:]), len(out)
            comma = start
            joined = text.startswith(_JOINS, end)
            clause = listed if joined else len(out)
            history = -1
            parts.clear()
            side = severity = place = None
            continue
        if kind == STOP:
            if end < size and text[end] != " ":  # a decimal, or an abbreviation
                continue
            sentence = clause = listed = series = len(out)
            is_verbless = True
            negation = uncertainty = history = comma = organ = -1
            side = severity = place = None
            parts.clear()
            excluders.clear()
            continue
        if end < size and text[end].isalnum():
            continue
        start += 1
        for kind, payload in todo:
            if kind <= PART:
                if kind == PART:
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
                    if excluders and any(
                        x == name and _is_adjacent(text[at:start], 4) for x, at in excluders
                    ):
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
                        side if side and first - side_at <= TRAIT_REACH else None,
                        severity if severity and first - severity_at <= TRAIT_REACH else None,
                        place if place and first - place_at <= TRAIT_REACH else None,
                        kind == CAUTIOUS_SAID,
                    ]
                )
            elif kind == NEGATION_BEFORE:
                if (
                    (end >= size or text[end] in _ENDS)
                    and len(out) > clause
                    and out[-1][END] - offset == start - 1
                ):
                    out[-1][STATE] = NEGATED  # 'Pneumothorax: no.'
                    continue
                negation = end
                comma = -1
            elif kind == VERB:
                is_verbless = False
                if negation >= 0 and comma >= 0 and not joined:
                    negation = -1
                    for mention in reversed(out):
                        if mention[START] - offset < comma:
                            break
                        if mention[STATE] == NEGATED:
                            mention[STATE] = ASSERTED
                listed = clause if joined else len(out) if comma < 0 else clause
            elif kind == TERMINATOR:
                negation = uncertainty = history = -1
                clause = listed = series = len(out)
                is_verbless = True
                side = severity = place = None
            elif kind == NEW_STATEMENT:
                if comma >= 0 and start - comma <= 2:
                    negation = uncertainty = -1
                    listed = len(out)
            elif kind == SIDE_SAID:
                if side and payload != side and start - side_at <= 16:
                    payload = "bilateral"
                side, side_at = payload, end
                if (
                    len(out) > sentence
                    and out[-1][SIDE] is None
                    and _PLACED.fullmatch(text, out[-1][END] - offset, start - 1)
                ):
                    out[-1][SIDE] = payload
            elif kind == SEVERITY_SAID:
                severity, severity_at = payload, end
            elif kind == PLACE:
                place, place_at = payload, end
                if (
                    len(out) > sentence
                    and out[-1][LOCATION] is None
                    and _PLACED.fullmatch(text, out[-1][END] - offset, start - 1)
                ):
                    out[-1][LOCATION] = payload
            elif kind == NEGATION_AFTER:
                is_list = is_verbless and text.startswith(_PLURALS, start - 1)
                for mention in out[series if is_list else clause :]:  # 'A, B, and C are not seen'
                    mention[STATE] = NEGATED
            elif kind == UNCERTAINTY_BEFORE:
                if comma >= 0:
                    negation = -1
                uncertainty = end
            elif kind == UNCERTAINTY_AFTER:
                for mention in out[clause:]:
                    if mention[STATE] == ASSERTED:
                        mention[STATE] = UNCERTAIN
            elif kind == HISTORY_BEFORE:
                history = end
            elif kind == HISTORY_AFTER:
                for mention in out[clause:]:
                    if mention[STATE] != NEGATED:
                        mention[STATE] = HISTORICAL
            elif kind == CONTINUES:
                for mention in out[clause:]:
                    if mention[STATE] == HISTORICAL:
                        mention[STATE] = ASSERTED
            elif kind == ORGAN:
                organ = end
                if len(out) > sentence and _OF_AN_ORGAN.fullmatch(text[out[-1][END] - offset : start]):
                    out.pop()
            elif kind == EXCLUDER and negation < 0:
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


def _is_adjacent(gap: str, at_most: int = 1) -> bool:
    """Whether no more than so many words lie between, and no comma, full stop or conjunction."""
    words = gap.split()
    return len(words) <= at_most and all(word.isalpha() and word not in _PARTING for word in words)
