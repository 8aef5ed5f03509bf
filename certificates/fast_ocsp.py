"""The short way of an OCSP question that comes by POST: before Django, in the same process, with the answer of the views.

Nothing is decided here. What is unusual goes on to Django, and so does whatever goes wrong on the short way, a database
that does not answer above all: there the question is asked once more and the error gets its page and its line in the log.
"""

from collections.abc import Callable, Iterable
from functools import cache
from io import BytesIO
from typing import Any

from certificates.ocsp import MAX_REQUEST

type Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@cache
def _answering() -> Callable[..., Any]:
    """The views' own answer, imported when Django is ready."""
    from certificates.public_views import ocsp_answer

    return ocsp_answer


def in_front_of(application: Wsgi) -> Wsgi:
    """A WSGI program that answers OCSP questions by itself and leaves everything else to `application`."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not (path.startswith("/pki/") and path.endswith("/ocsp")):
            return application(environ, start_response)
        name, size = path[len("/pki/") : -len("/ocsp")], environ.get("CONTENT_LENGTH", "")
        if "/" in name or not size.isdecimal():  # without a length, in chunks: the views read that as well
            return application(environ, start_response)
        raw = environ["wsgi.input"].read(min(int(size), MAX_REQUEST + 1))
        try:
            found = _answering()(name, raw, environ)
        except Exception:  # the views meet it again, and Django closes a connection that is broken
            environ["wsgi.input"] = BytesIO(raw)
            environ["CONTENT_LENGTH"] = str(len(raw))
            return application(environ, start_response)
        start_response("200 OK", [*found.headers.items(), ("Content-Length", str(len(found.body)))])
        return [found.body]

    return serve
