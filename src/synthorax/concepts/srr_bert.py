"""SRR-BERT (SRRG, arXiv 2505.24223) as annotator: a transformers folder reads sentences, the result is as the rules'.

Its outputs are labels, or labels with '(Present)' or '(Uncertain)'; a probability of more than one half counts. It names no
span: the evidence is the sentence. The shipped vocabulary ``srr`` has its 55 labels in the order of the model's outputs.
"""

import re
from collections.abc import Callable
from pathlib import Path

from synthorax.concepts.annotator import Annotation, Mention, collapse
from synthorax.concepts.sections import usable_sentences
from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import Vocabulary
from synthorax.errors import ModelError

_STATUS = re.compile(r"\s*\((present|uncertain)\)$", re.I)
_STATES = {"present": "asserted", "uncertain": "uncertain"}
MAX_TOKENS = 128


def srr_bert(
    folder: Path | str, vocabulary: Vocabulary, device: str = "cpu"
) -> Callable[[str | None], Annotation]:
    """An annotator from a folder of ``BertForSequenceClassification`` (safetensors) and its tokenizer.

    Args:
        folder: e.g. by `hf download StanfordAIMI/SRR-BERT-Leaves --local-dir FOLDER`, with the tokenizer's files of
            microsoft/BiomedVLP-CXR-BERT-general beside it where it has none.
        vocabulary: whose labels the outputs are named after (``srr``); of a label's concepts the first is meant.
        device: torch device.

    Returns:
        Reports -> annotations; a mention's span is its sentence, and it has neither side nor severity.

    Raises:
        ModelError: no such folder, it cannot be loaded, or its outputs are no labels of the vocabulary.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(f"{path / 'config.json'} does not exist; expected the folder of a transformers model, e.g. by `hf download StanfordAIMI/SRR-BERT-Leaves --local-dir FOLDER`.")  # fmt: skip
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = (
            AutoModelForSequenceClassification.from_pretrained(path, use_safetensors=True).to(device).eval()
        )
    except Exception as error:  # transformers raises whatever the folder leads it to
        raise ModelError(f"{path} cannot be loaded as a classifier of sentences ({type(error).__name__}: {(str(error).splitlines() or [''])[0]}).") from error  # fmt: skip
    outputs = _outputs(path, [model.config.id2label[i] for i in range(model.config.num_labels)], vocabulary)

    def annotate(report: str | None) -> Annotation:
        spans = [*usable_sentences(report)] if report else []
        if report is None or not spans:
            return Annotation(ConceptVector(unknown=frozenset(vocabulary.concepts)), (), False)
        inputs = tokenizer([m[0].strip() for _, m in spans], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            chosen = model(**inputs.to(device)).logits.sigmoid().gt(0.5).tolist()
        mentions = []
        for (section, match), row in zip(spans, chosen, strict=True):
            start = match.end() - len(match[0].lstrip())
            for concept, state in [outputs[i] for i, told in enumerate(row) if told]:
                mentions.append(Mention(concept, state, start, match.end(), report[start : match.end()], None, None, None, section))  # fmt: skip
        return Annotation(
            collapse(((m.concept, m.state) for m in mentions), vocabulary), tuple(mentions), True
        )

    return annotate


def _outputs(path: Path, names: list[str], vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """(concept, state) of each output."""
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        if len(names) != len(vocabulary.concepts):
            raise ModelError(f"{path} has {len(names)} outputs without names; expected {len(vocabulary.concepts)}, those of vocabulary {vocabulary.name!r} in order. Name them in config.json (id2label).")  # fmt: skip
        return [(name, "asserted") for name in vocabulary.concepts]
    found = []
    for name in names:
        status = _STATUS.search(name)
        label = _STATUS.sub("", name)
        if label not in vocabulary.labels or not vocabulary.concepts_of(label):
            raise ModelError(f"{path} has the output {name!r}, which vocabulary {vocabulary.name!r} has no concept for; expected labels such as {', '.join(vocabulary.labels[:3])}. Name its own by --vocabulary.")  # fmt: skip
        found.append((vocabulary.concepts_of(label)[0], _STATES[status[1].lower()] if status else "asserted"))
    return found
