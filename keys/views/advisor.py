"""The advisor: which algorithm, where to encrypt, what each algorithm is good for, and what is to be said of the keys here."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views import View

from keys.advisor.scopes import SCOPES, THREATS, against
from keys.advisor.tree import PLACES, START, Advice, Answer, Question, way_to
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.services import advice
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of

_KINDS = {
    Kind.AEAD: "Data with one key, authenticated (AEAD)", Kind.KEY_WRAP: "Key wrap", Kind.ASYMMETRIC_ENCRYPTION: "Small data with a public key",
    Kind.SIGNATURE: "Signatures", Kind.KEY_AGREEMENT: "Key agreement", Kind.KEM: "Key encapsulation (KEM)",
    Kind.HPKE: "Data of any size with a public key (HPKE)", Kind.MAC: "Message authentication codes",
}  # fmt: skip
_TABS = (
    ("keys:advisor", "Which algorithm"),
    ("keys:advisor-scopes", "Where to encrypt"),
    ("keys:advisor-algorithms", "Algorithms"),
    ("keys:advisor-findings", "Your keys"),
)


class _Page(ActorRequiredMixin, View):
    required_permission = Permission.KEY_VIEW
    name: str
    title: str
    subtitle: str
    template: str

    def get(self, request: HttpRequest) -> HttpResponse:
        tabs = [{"label": label, "url": reverse(name), "current": name == self.name} for name, label in _TABS]
        context = {"title": self.title, "subtitle": self.subtitle, "tabs": tabs, "tabs_label": "Advisor"}
        return render(request, self.template, context | self.shown(request))

    def shown(self, request: HttpRequest) -> dict[str, Any]:
        raise NotImplementedError


class Choose(_Page):
    """One question of the tree, or the advice at the end of a way; `at` says where one stands."""

    name, template = "keys:advisor", "keys/advisor_choose.html"
    title, subtitle = "Advisor", "A few questions lead to an algorithm and the kind of key to make."

    def shown(self, request: HttpRequest) -> dict[str, Any]:
        place = PLACES.get(request.GET.get("at", START))
        if place is None:
            raise Http404("There is no such question.")
        way = way_to(place.id)
        return {
            "way": way, "question": place if isinstance(place, Question) else None,
            "advice": _advised(request, place) if isinstance(place, Advice) else None, "tree": [] if way else _branches(START),
        }  # fmt: skip


def _advised(request: HttpRequest, found: Advice) -> dict[str, Any]:
    choice = urlencode({"kind": found.kind.value, "algorithm": found.algorithms[0]})
    may_create = actor_of(request).can_somewhere(Permission.KEY_CREATE)
    return {
        "place": found, "algorithms": [ALGORITHMS[name] for name in found.algorithms],
        "create_url": f"{reverse('keys:key-create')}?{choice}" if may_create else "",
    }  # fmt: skip


def _branches(place_id: str) -> list[dict[str, Any]]:
    """The answers below a question as nodes of a tree; an answer that ends the way carries the advice."""
    question = PLACES[place_id]
    if isinstance(question, Advice):
        return []
    return [_branch(answer) for answer in question.answers]


def _branch(answer: Answer) -> dict[str, Any]:
    below = PLACES[answer.leads_to]
    return {
        "title": answer.text, "url": f"?at={answer.leads_to}", "open": True, "children": _branches(answer.leads_to),
        "note": below.title if isinstance(below, Advice) else "",
    }  # fmt: skip


class ThreatForm(forms.Form):
    against = forms.MultipleChoiceField(
        choices=[(threat.id, f"{threat.title}: {threat.text}") for threat in THREATS],
        widget=forms.CheckboxSelectMultiple, required=False, label="Who must not be able to read it?",
    )  # fmt: skip


class Scopes(_Page):
    name, template = "keys:advisor-scopes", "keys/advisor_scopes.html"
    title, subtitle = "Advisor", "Against whom each scope of encryption helps, what it costs, and who holds the keys."

    def shown(self, request: HttpRequest) -> dict[str, Any]:
        form = ThreatForm(request.GET)
        chosen = form.cleaned_data["against"] if form.is_valid() else []
        return {
            "form": form, "asked": bool(chosen), "fitting": "; ".join(scope.title for scope in against(chosen)), "threats": THREATS,
            "rows": [(scope, [(threat, scope.helps[threat.id]) for threat in THREATS]) for scope in SCOPES],
        }  # fmt: skip


class Algorithms(_Page):
    name, template = "keys:advisor-algorithms", "keys/advisor_algorithms.html"
    title, subtitle = "Advisor", "What this portal can do, with sizes, limits, standing and standard."

    def shown(self, request: HttpRequest) -> dict[str, Any]:
        rows = ALGORITHMS.values()
        return {"kinds": [(title, [row for row in rows if row.kind is kind]) for kind, title in _KINDS.items()]}


class Findings(_Page):
    name, template = "keys:advisor-findings", "keys/advisor_findings.html"
    title, subtitle = "Advisor", "What the rules say of the keys that you see."

    def shown(self, request: HttpRequest) -> dict[str, Any]:
        return {"findings": advice.findings(actor_of(request))}
