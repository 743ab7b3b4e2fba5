"""A language model behind an OpenAI-compatible endpoint as the writer: a draft, then a second pass that corrects it.

What is sent are the labels and who was filmed; under an agreement on data use these may not leave the machine. So only
an address of this machine is taken, unless the caller names another host.
"""

import difflib
import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, ModelError
from synthorax.generation.facts import ASSERTED, NEGATED, UNCERTAIN, Facts
from synthorax.generation.verdict import TextError

#: Environment variable of the endpoint's key, where it wants one.
KEY = "SYNTHORAX_ENDPOINT_KEY"
_LARGEST_ANSWER = 2**20

_WRITE = """You write reports of chest radiographs from structured metadata.
Answer with four lines that begin with PATIENT:, TECHNIQUE:, FINDINGS: and IMPRESSION:, and nothing else.
PATIENT: the age, sex and race that are given; leave the line out if none is. TECHNIQUE: the view, if given.
FINDINGS: one paragraph with every finding of the metadata, by its usual name.
IMPRESSION: the findings again, in brief.
Say nothing that the metadata does not hold: no side, severity, place, cause, comparison or advice of your own, and deny
only findings that are listed as absent. At most {max_words} words."""
_CORRECT = """You check a report of a chest radiograph against the metadata that it was written from.
Correct what is wrong, take out what the metadata does not hold, add what is missing; leave the rest as it is.
Keep its form. Answer with the corrected report alone, at most {max_words} words."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that sends elsewhere is an error: elsewhere may be outside."""

    def redirect_request(self, *args, **options):
        return None


@dataclass(frozen=True)
class Endpoint:
    """Where the language model is.

    Attributes:
        url: the base, e.g. ``http://127.0.0.1:8000/v1``; ``/chat/completions`` is added.
        model: the name that the endpoint knows it by.
        allowed_host: a host beyond this machine that may be asked; None allows none.
        timeout_s: seconds that an answer may take.

    Raises:
        InputError: no http(s) address, or a host that is neither this machine nor ``allowed_host``.
    """

    url: str
    model: str
    allowed_host: str | None = None
    timeout_s: float = 120

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"endpoint {self.url!r} is no address; expected one like http://127.0.0.1:8000/v1."
            )
        if not self.is_local and parts.hostname != self.allowed_host:
            raise InputError(
                f"endpoint {self.url} is not on this machine. Agreements on data use such as PhysioNet's forbid to send "
                "reports, or what is derived from them, to third parties. Use an endpoint on 127.0.0.1, or, where the "
                f"agreement of your data allows it, give --allow-external-endpoint {parts.hostname}."
            )

    @property
    def is_local(self) -> bool:
        """Whether the address is this machine's loopback."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def answer(self, instruction: str, question: str, seed: int, temperature: float = 0.0) -> str:
        """The model's answer to one question.

        Raises:
            ModelError: no answer, an error status, or one that is not in the form of chat completions.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": question}],
            "temperature": temperature,
            "seed": seed % 2**31,
        }
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        if key := os.environ.get(KEY):
            request.add_header("Authorization", f"Bearer {key}")
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self.is_local:  # a proxy would carry it outside
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s) as response:
                found = json.loads(response.read(_LARGEST_ANSWER))
            text = found["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            error.close()
            raise ModelError(
                f"endpoint {self.url} answered {error.code} {error.reason}; expected 200. Look at the server's log, "
                f"its model's name ({self.model}) and {KEY}."
            ) from error
        except OSError as error:
            raise ModelError(
                f"endpoint {self.url} does not answer ({error}); start the server, or correct --endpoint."
            ) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"endpoint {self.url} answered in another form; expected that of chat completions "
                "(choices[0].message.content). Use an OpenAI-compatible server."
            ) from error
        if not isinstance(text, str) or not text.strip():
            raise ModelError(f"endpoint {self.url} gave an empty answer; try another model.")
        return text.strip()

    def write(self, source: Facts, vocabulary: Vocabulary, seed: int, max_words: int) -> str:
        """A first report from the metadata."""
        told = metadata_text(source, vocabulary)
        return self.answer(_WRITE.format(max_words=max_words), told, seed, temperature=0.7)

    def correct(
        self,
        draft: str,
        source: Facts,
        vocabulary: Vocabulary,
        errors: Sequence[TextError],
        seed: int,
        max_words: int,
    ) -> str:
        """The second pass: the draft corrected against the metadata, with the gate's errors as hints."""
        hints = "\n".join(f"- {sentence_of(error)}" for error in errors) or "- none was found by rules"
        told = f"Metadata:\n{metadata_text(source, vocabulary)}\n\nReport:\n{draft}\n\nFaults that rules found:\n{hints}"
        return self.answer(_CORRECT.format(max_words=max_words), told, seed)


def metadata_text(source: Facts, vocabulary: Vocabulary) -> str:
    """A row of labels as lines of 'Name: value', only what is known."""
    lines = [
        ("Age", ", ".join(f"{age} years" for age in source.ages)),
        ("Sex", ", ".join({"F": "female", "M": "male"}[sex] for sex in source.sexes)),
        ("Race", source.race or ""),
        ("View", ", ".join(sorted(source.views))),
    ]
    named = {
        ASSERTED: "Findings that are present",
        UNCERTAIN: "Findings that are uncertain",
        NEGATED: "Findings that are absent",
    }
    for state, title in named.items():
        told = [
            " ".join(filter(None, (s.severity, s.side, s.said.lower())))
            for s in source.statements
            if s.state == state and s.said not in source.others
        ]
        lines.append((title, "; ".join([*told, *(source.others if state == ASSERTED else ())])))
    return "\n".join(f"{name}: {value}" for name, value in lines if value)


def sentence_of(error: TextError) -> str:
    """An error in words: 'wrong side: "Right effusion." against "left pleural effusion"'."""
    against = f' against "{error.source}"' if error.source else ""
    said = f'"{error.said}"' if error.said else (error.concept or "").replace("_", " ")
    return f"{error.kind}: {said}{against}".strip()


def difference(draft: str, corrected: str) -> str:
    """What changed, word by word: '[-right-] {+left+}'; empty where nothing did."""
    old, new = draft.split(), corrected.split()
    parts = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            gone, come = " ".join(old[a:b]), " ".join(new[c:d])
            parts.append(" ".join(filter(None, (f"[-{gone}-]" if gone else "", f"{{+{come}+}}" if come else ""))))  # fmt: skip
    return " ".join(parts)
