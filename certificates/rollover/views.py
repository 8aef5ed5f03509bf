"""Pages of rollovers: where each stands, who lags, the steps, and the relying parties."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views import View

from certificates.models import RelyingParty, Rollover
from certificates.rollover import gates, parties, steps
from certificates.rollover.forms import RolloverForm, StepForm
from certificates.rollover.states import ROLLOVER_MOVES, RolloverState
from certificates.services.reading import pem
from certificates.views.pages import Confirmed, MakePage
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound
from keyvault_portal.paging import page_context
from keyvault_portal.visible import found

P, R = Permission, RolloverState
_ACTS = {
    R.TRUST_BOTH: "Have B trusted too", R.ISSUE_B: "Issue from B", R.TRUST_B: "Trust B alone", R.CANCELLED: "Cancel it",
}  # fmt: skip


class RolloverList(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        context = page_context(request, steps.visible_rollovers(actor), ["-created_at", "-id"]) | {
            "title": "Rollovers", "subtitle": "One authority takes the place of another, and nobody who trusts it is cut off.",
            "may_manage": actor.can_somewhere(P.AUTHORITY_MANAGE),
            "columns": [{"label": "From A"}, {"label": "To B"}, {"label": "State"}, {"label": "Planned by"}, {"label": "Planned"}],
            "empty_title": "There is no rollover", "empty_text": "Make the authority that is to take over, then plan the way to it.",
        }  # fmt: skip
        return render(request, "certificates/rollover_list.html", context)


class RolloverCreate(MakePage):
    required_permission = P.AUTHORITY_MANAGE
    form_class, title, label = RolloverForm, "Plan a rollover", "Plan it"
    intro = (
        "Trust A, trust A and B, issue from B, trust B. Each step waits until nobody who has reported would be cut off. "
        "Planning changes nothing."
    )
    back, detail, prefilled = "certificates:rollover-list", "certificates:rollover-detail", ("old",)

    def make(self, values: dict[str, Any]) -> Rollover:
        return steps.plan_rollover(actor=self.actor, **values)


class RolloverDetail(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, rollover_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        row = steps.visible_rollover(actor, rollover_id)
        found, state = gates.gate(row), R(row.state)
        manage = actor.can(P.AUTHORITY_MANAGE, row.ring_id)
        standing = gates.standings(row)
        others = [to for to in (R.TRUST_BOTH, R.CANCELLED) if to in ROLLOVER_MOVES[state] and to is not found.to]
        context = {
            "title": f"Rollover from {row.old} to {row.new}", "row": row, "steps": steps.as_steps(row), "gate": found,
            "next": {"to": found.to.value, "label": _ACTS[found.to]} if found.to else None,
            "others": [{"to": to.value, "label": "Issue from A again" if to is R.TRUST_BOTH else _ACTS[to]} for to in others], "may_manage": manage,
            "standings": standing[: gates.SHOWN], "more": max(0, len(standing) - gates.SHOWN), "living": gates.living_of(row.old).count(),
            "waiting": list(approvals.visible_requests(actor).filter(target_type="rollover", target_id=str(row.pk), state="pending")[:5]),
            "facts": [
                ("A", row.old), ("A's certificate", row.old.certificate.fingerprint if row.old.certificate else ""),
                ("B", row.new), ("B's certificate", row.new.certificate.fingerprint if row.new.certificate else ""),
                ("Ring", row.ring), ("Planned by", row.created_by), ("Why", row.reason),
            ],
            "events": audit.events_for_target("rollover", str(row.pk), 10) if actor.can(P.AUDIT_VIEW, row.ring_id) else [],
        }  # fmt: skip
        return render(request, "certificates/rollover_detail.html", context)


class Bundle(ActorRequiredMixin, View):
    """What relying parties are to trust now, as PEM."""

    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, rollover_id: UUID) -> HttpResponse:
        row = steps.visible_rollover(actor_of(request), rollover_id)
        response = HttpResponse(pem(*steps.bundle(row)), content_type="application/x-pem-file")
        response["Content-Disposition"] = f'attachment; filename="trust-{row.old.name}-{row.new.name}.pem"'
        return response


class Step(ActorRequiredMixin, View):
    """One step: what it does, whom it would break, and who has to agree."""

    required_permission = P.AUTHORITY_MANAGE

    def get(self, request: HttpRequest, rollover_id: UUID, to: str) -> HttpResponse:
        return self._page(request, *self._find(request, rollover_id, to), StepForm())

    def post(self, request: HttpRequest, rollover_id: UUID, to: str) -> HttpResponse:
        row, wanted = self._find(request, rollover_id, to)
        form = StepForm(request.POST)
        if form.is_valid():
            done = form.run(
                lambda values: steps.take_step(actor=actor_of(request), rollover_id=row.pk, to=wanted.value, **values)
            )
            if done is not None:
                return redirect("certificates:rollover-detail", row.pk)
        return self._page(request, row, wanted, form, status=422)

    def _find(self, request: HttpRequest, rollover_id: UUID, to: str) -> tuple[Rollover, RolloverState]:
        row = steps.visible_rollover(actor_of(request), rollover_id)
        authorize(actor_of(request), P.AUTHORITY_MANAGE, ring_id=row.ring_id, target=str(row))
        if to not in {state.value for state in _ACTS}:
            raise NotFound("There is no such step.")
        steps.check_step(row, R(to))
        return row, R(to)

    def _page(
        self, request: HttpRequest, row: Rollover, to: RolloverState, form: StepForm, status: int = 200
    ) -> HttpResponse:
        faults = steps.faults_of(row, to)
        if not faults:
            del form.fields["force"]
        needed = approvals.officers_needed(actor_of(request), row.ring_id)
        context = {
            "title": f"{_ACTS[to]}: {row.old} to {row.new}", "form": form, "submit_label": _ACTS[to],
            "cancel_url": f"/certificates/rollovers/{row.pk}/",
            "consequences": steps.consequences(row, to), "danger": bool(faults) or to is R.TRUST_B,
            "needs_approval": f"{needed} other security officers." if needed else "",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class PartyList(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        context = page_context(request, parties.visible_parties(actor).select_related("ring"), ["name", "id"]) | {
            "title": "Relying parties", "subtitle": "What trusts our authorities, by its own report.", "since": timezone.now() - parties.FRESH,
            "may_manage": actor.can_somewhere(P.AUTHORITY_MANAGE),
            "columns": [
                {"label": "Name"}, {"label": "Certificates it trusts"}, {"label": "Reported"}, {"label": "By"},
                *([{"label": "Actions", "hidden": True}] if actor.can_somewhere(P.AUTHORITY_MANAGE) else []),
            ],
            "empty_title": "Nobody has reported yet",
            "empty_text": "A service with the right trust.report posts the SHA-256 fingerprints of its bundle to /api/v1/relying-parties.",
        }  # fmt: skip
        return render(request, "certificates/party_list.html", context)


class PartyRemove(Confirmed):
    required_permission = P.AUTHORITY_MANAGE
    label, danger = "Count it no more", True

    def heading(self, row: RelyingParty) -> str:
        return f"Count {row} no more"

    def load(self, request: HttpRequest, **named: UUID) -> RelyingParty:
        row = found(parties.visible_parties(actor_of(request)), named["party_id"], "relying party")
        authorize(actor_of(request), P.AUTHORITY_MANAGE, ring_id=row.ring_id, target=str(row))
        return row

    def home(self, row: RelyingParty) -> str:
        return "/certificates/relying-parties/"

    def act(self, request: HttpRequest, row: RelyingParty, reason: str) -> object:
        return parties.remove_party(actor=actor_of(request), party_id=row.pk, reason=reason)

    def consequences(self, row: RelyingParty) -> list[Any]:
        return ["No step of a rollover waits for it any more.", "If it still exists, its next report brings it back."]
