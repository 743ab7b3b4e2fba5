"""One peer of the annotator over a file of texts: what it calls present, and the seconds that it takes.

    python concepts_peers.py --peer medspacy TEXTS.jsonl VOCABULARY.json FOUND.jsonl

Runs in the peers' own environment and imports nothing of synthorax; concepts_compare.py makes both. TEXTS has one
``{"id", "text"}`` a line, VOCABULARY maps a concept to its wordings, FOUND gets ``{"id", "concepts"}`` a line.
Prints one JSON line: ``seconds`` of this process's own time for one pass over all texts, one thread, the mean of the
passes; loading and a first text are not counted.
"""

import argparse
import itertools
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

#: A text -> the labels of what it calls present. A label is one or more concepts joined by SHARED.
Reader = Callable[[str], set[str]]
SHARED = "+"


def medspacy_reader(labels: Mapping[str, str], sentencizer: bool = False) -> Reader:
    """medspaCy as it loads: its tokenizer, PyRuSH sentences, TargetMatcher, ConText with the default rules.

    Present is what is not negated, uncertain, hypothetical, historical or of the family. Nearly all the time
    goes into PyRuSH; ``sentencizer`` puts spaCy's full stops in its place, so that ConText itself is seen.
    """
    import medspacy
    from medspacy.ner import TargetRule

    nlp = medspacy.load()
    if sentencizer:
        nlp.replace_pipe("medspacy_pyrush", "sentencizer")
    rules = [TargetRule(wording, label) for wording, label in labels.items()]
    nlp.get_pipe("medspacy_target_matcher").add(rules)
    return lambda text: {found.label_ for found in nlp(text).ents if not found._.any_context_attributes}


def negspacy_reader(labels: Mapping[str, str]) -> Reader:
    """negspaCy (NegEx) with its clinical terms on blank English: sentences end at full stops.

    Present is what is not negated; NegEx knows no uncertainty and no history.
    """
    import negspacy.negation  # noqa: F401  registers negex
    import spacy
    from negspacy.termsets import termset

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    ruler = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    ruler.add_patterns([{"pattern": wording, "label": label} for wording, label in labels.items()])
    nlp.add_pipe("negex", config={"neg_termset": termset("en_clinical").get_patterns()})
    return lambda text: {found.label_ for found in nlp(text).ents if not found._.negex}


def corpa_reader(labels: Mapping[str, str]) -> Reader:
    """After the description of CoRPA's matcher, written anew from that.

    A sentence counts up to its first 'no' or 'without': one that starts with 'no' is dropped, what follows
    'without' is cut. Wordings are compared with single words, so one of several words never matches.
    """

    def read(text: str) -> set[str]:
        found = set()
        for sentence in re.split(r"[.?!\n]", text.lower()):
            words = re.findall(r"[a-z]+", sentence)
            asserted = itertools.takewhile(lambda word: word not in ("no", "without"), words)
            found |= {labels[word] for word in asserted if word in labels}
        return found

    return read


READERS: dict[str, Callable[[Mapping[str, str]], Reader]] = {
    "medspacy": medspacy_reader,
    "medspacy_sentencizer": partial(medspacy_reader, sentencizer=True),
    "negspacy": negspacy_reader,
    "corpa": corpa_reader,
}


def labels_of(vocabulary: Mapping[str, list[str]]) -> dict[str, str]:
    """Wording -> its label; spaCy gives a span one label, so concepts that share a wording are joined."""
    concepts = defaultdict(list)
    for concept, wordings in vocabulary.items():
        for wording in wordings:
            concepts[wording].append(concept)
    return {wording: SHARED.join(names) for wording, names in concepts.items()}


def main() -> None:
    """Write what the peer finds, print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--peer", choices=READERS, required=True)
    parser.add_argument("--at-least-s", type=float, default=0, help="passes are repeated until then")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.texts.read_text(encoding="utf-8").splitlines()]
    read = READERS[arguments.peer](labels_of(json.loads(arguments.vocabulary.read_text(encoding="utf-8"))))
    read(rows[0]["text"])
    passes, start = 0, time.process_time()
    while not passes or time.process_time() - start < arguments.at_least_s:
        found = [read(row["text"]) for row in rows]
        passes += 1
    seconds = (time.process_time() - start) / passes
    with arguments.found.open("w", encoding="utf-8") as out:
        for row, labels in zip(rows, found, strict=True):
            concepts = sorted({name for label in labels for name in label.split(SHARED)})
            out.write(json.dumps({"id": row["id"], "concepts": concepts}) + "\n")
    print(json.dumps({"seconds": seconds, "n_texts": len(rows)}))


if __name__ == "__main__":
    main()
