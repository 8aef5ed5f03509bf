"""The short way of an OCSP question whose answer was just given: before Django, in the same process, by the bytes that were asked.

Whatever is not kept goes on to the views, which decide, sign and keep. What is kept is a signed public answer that the
views would give with the same bytes; it is kept for two seconds, so a revocation is never hidden for longer than that.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from certificates.ocsp import MAX_REQUEST

type Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def in_front_of(application: Wsgi) -> Wsgi:
    """A WSGI program that answers kept OCSP questions by itself and leaves everything else to `application`."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not (path.startswith("/pki/") and path.endswith("/ocsp")):
            return application(environ, start_response)
        from certificates.public_views import headers_of, kept_answer

        try:
            size = min(int(environ["CONTENT_LENGTH"]), MAX_REQUEST + 1)
        except (KeyError, ValueError):  # in chunks: no client does that, and the views read it as well
            return application(environ, start_response)
        raw = environ["wsgi.input"].read(size)
        kept = kept_answer(path[len("/pki/") : -len("/ocsp")], raw)
        if kept is None:
            environ["wsgi.input"] = BytesIO(raw)
            environ["CONTENT_LENGTH"] = str(len(raw))
            return application(environ, start_response)
        body, until = kept
        start_response("200 OK", [*headers_of(body, until).items(), ("Content-Length", str(len(body)))])
        return [body]

    return serve
