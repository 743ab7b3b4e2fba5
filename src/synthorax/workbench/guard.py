"""What stands before every page: host names, the token, requests from other sites, and the security headers.

Cross-site requests are told by what browsers send and pages cannot forge (Sec-Fetch-Site, Origin), not by a token in
the form: so a form that stayed open while the server was killed and started again can still be sent, and no answer
is lost.
"""

import hmac
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = ("/read/", "/static/")
_MAX_BODY = 24 * 2**20
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware; see the module's head."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await refusal(scope, receive, _with_headers(send, scope["path"]))
        await self.app(scope, receive, _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = urlsplit(f"//{headers.get('host', '')}")
        try:
            name = host.hostname
        except ValueError:
            name = None
        if self.token is None and name not in LOOPBACK:
            return PlainTextResponse(
                f"host is {name}; without a token only {', '.join(LOOPBACK)} are answered.", 403
            )
        if scope["method"] not in ("GET", "HEAD"):
            if not _is_same_site(headers):
                return PlainTextResponse("This request came from another site and was refused.", 403)
            length = headers.get("content-length", "")
            if not length.isdigit() or int(length) > _MAX_BODY:
                return PlainTextResponse(
                    f"A request may hold {_MAX_BODY // 2**20} MB and must say its length.", 413
                )
        if self.token is None or scope["path"].startswith(_OPEN):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", [""])[-1]
        if self._fits(given) and scope["method"] == "GET":
            response = RedirectResponse(scope["path"] + (f"?{urlencode(query, True)}" if query else ""), 303)
            response.set_cookie("synthorax", given, httponly=True, samesite="strict")
            return response
        cookie = SimpleCookie(headers.get("cookie", "")).get("synthorax")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._fits(bearer) or (cookie is not None and self._fits(cookie.value)):
            return None
        return PlainTextResponse(
            "Open the address that 'synthorax serve' printed: it carries the token.", 401
        )

    def _fits(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _is_same_site(headers: Headers) -> bool:
    """A browser's request from our own page, or a program's (which has no one's cookies or loopback to abuse)."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if path.startswith(
                "/read/"
            ):  # neither history nor a cache may tell a repeat from a first reading
                headers["cache-control"] = "no-store"
        await send(message)

    return sending
