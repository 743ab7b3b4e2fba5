"""A language model as judge: MedVAL-4B, or any other, behind an endpoint or in a transformers folder.

MedVAL-4B (arXiv 2507.03152) answers in fields: its reasoning, numbered errors, and one level from 1 to 4. The instruction
here says in our words what its fields and categories are; the fields' names and order are those it was taught.
"""

import re
from pathlib import Path

from synthorax.endpoint import Endpoint
from synthorax.errors import ModelError
from synthorax.generation.verdict import CATEGORIES, JUDGED, Judge, TextError, Verdict

TASK = "Report a chest radiograph again: the same findings, in other words."
_INSTRUCTION = """You compare an output with the input that it was made from, and tell whether it is factually consistent with it.
An error counts only if it matters clinically: for understanding, decisions or safety.

Fields that you are given: instruction, input, output. Fields that you fill:
reasoning: how you came to your answer.
errors: one line an error, as 'Error 1: <category>: <in a few words, with the words of input or output>'; None if there is none.
Categories: {categories}.
risk_level: one number. 1 no risk: nothing that matters clinically differs. 2 low: subtle, unlikely to change a decision.
3 moderate: may change how the film is understood or what is done. 4 high: may lead to a wrong or unsafe decision.

Answer in this form:
[[ ## reasoning ## ]]
...
[[ ## errors ## ]]
...
[[ ## risk_level ## ]]
...
[[ ## completed ## ]]"""
#: Words by which an error's line is counted to a category, where it does not name one.
_HINTS = {
    "missing comparison": r"(?:missing|omit\w*|lacks?) [\w ]*(?:comparison|change|prior)", "missing context": r"(?:missing|omit\w*) [\w ]*(?:side|laterality|location|severity|context|detail)",
    "missing claim": r"missing|omit|left out|not mention|fails to", "false comparison": r"comparison|unchanged|prior|interval",
    "incorrect recommendation": r"recommend|follow[- ]?up|advi[cs]e", "misleading justification": r"justif|reason|due to|caus",
    "detail misidentification": r"wrong|instead of|laterality|side|lobe|misidentif", "overstating intensity": r"overstat|exaggerat|more (?:severe|certain)",
    "understating intensity": r"understat|downplay|less (?:severe|certain)", "fabricated claim": r"fabricat|introduc|added|not (?:in|present in|supported by) the",
}  # fmt: skip


def judge_by_endpoint(endpoint: Endpoint, seed: int = 0) -> Judge:
    """An OpenAI-compatible server, at temperature 0.

    Raises:
        ModelError: from the judge: no answer, or one without a level.
    """
    return lambda text, source: verdict_of(endpoint.answer(instruction(), question(text, source), seed))


def judge_by_pipeline(folder: Path | str, device: str = "cpu", max_new_tokens: int = 1024) -> Judge:
    """A transformers model for text generation in a folder: safetensors, no code of the model's own, no sampling.

    Raises:
        ModelError: no such folder, or transformers cannot load it; from the judge: an answer without a level.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path / 'config.json'} does not exist; expected the folder of a judge (synthorax train judge) or of a transformers "
            "model, e.g. by `hf download stanfordmimi/MedVAL-4B --local-dir FOLDER`."
        )
    from transformers import pipeline

    try:
        made = pipeline("text-generation", model=str(path), device=device, model_kwargs={"use_safetensors": True})  # fmt: skip
    except Exception as error:  # transformers raises whatever the folder leads it to
        raise ModelError(f"{path} cannot be loaded as a language model ({type(error).__name__}: {(str(error).splitlines() or [''])[0]}).") from error  # fmt: skip

    def judge(text: str, source: str) -> Verdict:
        chat = [{"role": "system", "content": instruction()}, {"role": "user", "content": question(text, source)}]  # fmt: skip
        answer = made(chat, max_new_tokens=max_new_tokens, do_sample=False, return_full_text=False)
        return verdict_of(answer[0]["generated_text"])

    return judge


def instruction() -> str:
    """What the judge is told once."""
    return _INSTRUCTION.format(categories=", ".join(CATEGORIES))


def question(text: str, source: str) -> str:
    """One text and its source in the judge's fields."""
    return f"[[ ## instruction ## ]]\n{TASK}\n\n[[ ## input ## ]]\n{source}\n\n[[ ## output ## ]]\n{text}"


def verdict_of(answer: str) -> Verdict:
    """The fields of an answer as a verdict; the one level that it gives is the level of each of its errors.

    Raises:
        ModelError: no level from 1 to 4 in it.
    """
    level = re.search(r"[1-4]", _field(answer, "risk_level"))
    if level is None:
        raise ModelError(f"the judge answered {answer[:80]!r}; expected [[ ## risk_level ## ]] and a number from 1 to 4. Use a model that follows it, such as MedVAL-4B.")  # fmt: skip
    risk = int(level[0])
    lines = [re.sub(r"^\s*(?:Error \d+:|[-*])\s*", "", line).strip() for line in _field(answer, "errors").splitlines()]  # fmt: skip
    errors = [TextError(JUDGED, None, line, "", category_of(line), risk) for line in lines if line and line.lower().strip(" .") != "none"]  # fmt: skip
    if not errors and risk > 1:
        errors = [TextError(JUDGED, None, "", "", "other", risk)]
    return Verdict(tuple(errors))


def category_of(line: str) -> str:
    """MedVAL's category that an error's line names, or speaks of."""
    low = line.lower()
    named = [category for category in CATEGORIES[:-1] if category in low]
    hinted = [category for category, words in _HINTS.items() if re.search(words, low)]
    return (named or hinted or ["other"])[0]


def _field(answer: str, name: str) -> str:
    found = re.search(rf"\[\[ ## {name} ## \]\](.*?)(?=\[\[ ##|\Z)", answer, re.S)
    return found[1].strip() if found else ""
