"""Pages of which one part is read again and again while something moves."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def polled(request: HttpRequest, whole: str, part: str, context: dict[str, Any]) -> HttpResponse:
    """The page from the template `whole`, or for a poll its live `part`.

    A poll that finds another `context["shown"]` than its page was made for has the page opened anew: buttons and notices
    around the part hang on that. Opened, not reloaded, for what is on the screen may be the answer to a form.
    """
    if not request.headers.get("HX-Request"):
        return render(request, whole, context)
    if request.GET.get("shown", context["shown"]) != context["shown"]:
        return HttpResponse(headers={"HX-Redirect": request.path})
    return render(request, part, context)
