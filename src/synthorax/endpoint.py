"""A language model behind an OpenAI-compatible endpoint of this machine.

What is sent are films, or labels and who was filmed; under an agreement on data use these may not leave the machine. So
only an address of this machine is taken, unless the caller names another host.
"""

import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from synthorax.errors import InputError, ModelError

#: Environment variable of the endpoint's key, where it wants one.
KEY = "SYNTHORAX_ENDPOINT_KEY"
_LARGEST_ANSWER = 2**20


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
                "films or reports, or what is derived from them, to third parties. Use an endpoint on 127.0.0.1, or, where the "
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

    def answer(
        self,
        instruction: str,
        question: str,
        seed: int,
        temperature: float = 0.0,
        images: Sequence[str] = (),
        examples: Sequence[tuple[str, str]] = (),
    ) -> str:
        """The model's answer to one question, about images where there are some (data URIs).

        ``examples`` are (image, answer) pairs that stand before it: the same question of another image, and its answer.

        Raises:
            ModelError: no answer, an error status, or one that is not in the form of chat completions.
        """

        def asked(uris: Sequence[str]) -> dict[str, object]:
            shown = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
            return {"role": "user", "content": [*shown, {"type": "text", "text": question}] if shown else question}  # fmt: skip

        before = [turn for uri, said in examples for turn in (asked([uri]), {"role": "assistant", "content": said})]  # fmt: skip
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": instruction}, *before, asked(images)],
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
                f"endpoint {self.url} does not answer ({error}); start the server, or correct its address."
            ) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"endpoint {self.url} answered in another form; expected that of chat completions "
                "(choices[0].message.content). Use an OpenAI-compatible server."
            ) from error
        if not isinstance(text, str) or not text.strip():
            raise ModelError(f"endpoint {self.url} gave an empty answer; try another model.")
        return text.strip()
