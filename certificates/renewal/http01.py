"""Answers to http-01 (RFC 8555, 8.3): asked over plain HTTP, under names that are not the portal's own."""

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from certificates.models import ChallengeAnswer, ManagedCertificate

PREFIX = "/.well-known/acme-challenge/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")


class AnswerChallenges:
    """Stands before everything else, because a CA asks for the name to be proved: hosts and redirects to TLS would refuse it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        token = request.path_info.removeprefix(PREFIX)
        found = None
        if request.method in {"GET", "HEAD"} and _TOKEN.fullmatch(token):
            rows = ChallengeAnswer.objects.filter(token=token, kind=ManagedCertificate.Challenge.HTTP_01)
            found = rows.values_list("content", flat=True).first()
        if found is None:
            return HttpResponse("There is no such challenge.\n", status=404, content_type="text/plain")
        return HttpResponse(found, content_type="application/octet-stream", headers={"Cache-Control": "no-store"})
