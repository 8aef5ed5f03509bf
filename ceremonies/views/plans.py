"""Planning pages: the list, one ceremony with its people and the solver's verdict, opening the room, minutes and calendar."""

from hashlib import sha256
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies.forms import PersonForm, PlanForm, WhyForm
from ceremonies.models import Ceremony
from ceremonies.models import Minutes as Signed
from ceremonies.models.ceremonies import CEREMONY_STATES
from ceremonies.script import Kind
from ceremonies.services import custody, invitations, plans, subjects, verdicts
from ceremonies.services.minutes import read_minutes
from ceremonies.states import BEFORE_COMMIT, ENDED, OPEN, PLANNING, CeremonyState
from ceremonies.views.entering import enter
from ceremonies.views.guests import banner
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.paging import page_context

RECENT = ["-starts_at", "-id"]
COLUMNS = [{"label": "Ceremony"}, {"label": "Kind"}, {"label": "Key"}, {"label": "State"}, {"label": "Date"}]
EXPORTED = {
    "title": "title", "kind": "kind", "key": "key__name", "state": "state", "practice": "practice", "starts_at": "starts_at", "ended_at": "ended_at",
    "script_hash": "script_hash", "id": "id",
}  # fmt: skip


class CeremonyList(ActorRequiredMixin, View):
    """Ceremonies, the next date first, and above them what is due."""

    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        actor = actor_of(request)
        rows = plans.visible_ceremonies(actor).select_related("key")
        state = request.GET.get("state", "")
        if state in dict(CEREMONY_STATES):
            rows = rows.filter(state=state)
        if download := list_download(actor, request, "ceremonies", rows.order_by(*RECENT), EXPORTED):
            return download
        context = page_context(request, rows, RECENT) | {
            "title": "Ceremonies", "subtitle": "Acts that need people together.", "columns": COLUMNS, "exportable": True,
            "due": custody.due(actor), "may_plan": actor.can_somewhere(Permission.CEREMONY_MANAGE), "empty_title": "No ceremony yet",
            "empty_text": "Plan one to put a master key in escrow, to recover it, or to call the roll.", "empty_icon": "people",
        }  # fmt: skip
        return render(request, "ceremonies/list.html", context)


class CeremonyCreate(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, PlanForm(actor=actor_of(request), initial=request.GET.dict()))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = PlanForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            made = form.run(lambda values: plans.plan_ceremony(actor=actor_of(request), **values))
            if made is not None:
                messages.success(request, "The plan is written down. Now seat the people.")
                return redirect("ceremonies:detail", made.pk)
        return self._page(request, form, 422)

    def _page(self, request: HttpRequest, form: PlanForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Plan a ceremony",
            "form": form,
            "submit_label": "Write the plan down",
            "cancel_url": "/ceremonies/",
            "may_make_key": form.initial.get("key") is None and actor_of(request).can_somewhere(Permission.KEY_CREATE),
        }
        return render(request, "ceremonies/plan.html", context, status=status)


class CeremonyDetail(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = plans.visible_ceremony(actor_of(request), ceremony_id)
        if request.headers.get("HX-Request"):
            moved = request.GET.get("tag") != _tag(ceremony)
            return HttpResponse(status=200 if moved else 204, headers={"HX-Refresh": "true"} if moved else {})
        return detail_page(request, ceremony)


def _tag(ceremony: Ceremony) -> str:
    """Changes when the page should be read again while others agree, or while the minutes are signed."""
    return f"{ceremony.state}.{ceremony.version}.{Signed.objects.filter(ceremony=ceremony).exists():d}"


def detail_page(request: HttpRequest, ceremony: Ceremony, *, status: int = 200, **more: Any) -> HttpResponse:
    """One ceremony as planned, and what became of it."""
    actor = actor_of(request)
    script, state = ceremony.read_script(), ceremony.status
    may_manage = actor.can(Permission.CEREMONY_MANAGE, ceremony.ring_id)
    seats = list(ceremony.participants.select_related("deputy_for"))
    result = ceremony.told_result
    signed = Signed.objects.filter(ceremony=ceremony).defer("pdf").first()
    minutes_wait = bool(state in ENDED and ceremony.minutes_key_id and ceremony.opened_at) and signed is None
    facts = [
        ("Purpose", ceremony.purpose), ("Kind", ceremony.get_kind_display()), ("Key", ceremony.key), ("Place", ceremony.place),
        ("Date", ceremony.there(ceremony.starts_at)),
        ("Reserve date", ceremony.there(ceremony.reserve_at) if ceremony.reserve_at else None),
        ("Components", f"{ceremony.share_count}, all of them needed" if ceremony.kind == Kind.BYOK else None),
        ("Shares", ceremony.quorum.words.capitalize() if ceremony.threshold and ceremony.kind != Kind.BYOK else None),
        ("Passphrase", "wanted, beside the shares" if ceremony.with_passphrase else None),
        *subjects.described(ceremony), ("Goes to", ceremony.provider),
        ("Planned by", ceremony.planned_by),
        ("Minutes signed by", ceremony.minutes_key),
        ("Policy", ", ".join(name.replace("_", " ") for name, value in ceremony.policy.items() if value)),
    ]  # fmt: skip
    context = {
        "title": str(ceremony), "ceremony": ceremony, "state": ceremony.state, "script": script, "commit_step": script.commit_step, "seats": seats,
        "needs_subject": subjects.needs_subject(ceremony),
        "verdict": verdicts.verdict(ceremony), "may_manage": may_manage, "planning": may_manage and state in PLANNING,
        "waiting": state is CeremonyState.AWAITING_APPROVAL, "tag": _tag(ceremony),
        "minutes_wait": minutes_wait, "follows": state is CeremonyState.AWAITING_APPROVAL or minutes_wait,
        "open": state in OPEN, "may_call_off": may_manage and state in BEFORE_COMMIT, "may_invite": may_manage and state not in ENDED,
        "ended": state in ENDED, "practice_banner": banner(ceremony.practice), "mine": any(seat.person_id == actor.id for seat in seats),
        "person_form": PersonForm(ceremony=ceremony), "deviations": list(ceremony.deviations.all()),
        "events": audit.events_for_target("ceremony", ceremony.pk, 30) if actor.can(Permission.AUDIT_VIEW, ceremony.ring_id) else [],
        "minutes": signed, "certificate_sha256": sha256(bytes(signed.certificate)).hexdigest() if signed else "",
        "result": [(name.replace("_", " ").capitalize().replace("sha256", "SHA-256"), _said(value)) for name, value in result.items()],
        "facts": [(label, value) for label, value in facts if value],
    } | more  # fmt: skip
    return render(request, "ceremonies/detail.html", context, status=status)


class _Act(ActorRequiredMixin, View):
    """A POST on one ceremony's plan."""

    required_permission = Permission.CEREMONY_MANAGE

    def ceremony(self, request: HttpRequest, ceremony_id: UUID) -> Ceremony:
        return plans.visible_ceremony(actor_of(request), ceremony_id)


class PersonAdd(_Act):
    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        form = PersonForm(request.POST, ceremony=ceremony)
        if form.is_valid():
            seat = form.run(lambda values: plans.add_person(actor=actor_of(request), ceremony_id=ceremony.pk, **values))
            if seat is not None:
                messages.success(request, f"{seat.name} is in the plan.")
                return redirect("ceremonies:detail", ceremony.pk)
        return detail_page(request, ceremony, status=422, person_form=form)


class PersonRemove(_Act):
    def post(self, request: HttpRequest, ceremony_id: UUID, participant_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        plans.remove_person(actor=actor_of(request), ceremony_id=ceremony.pk, participant_id=participant_id)
        return redirect("ceremonies:detail", ceremony.pk)


class PersonInvite(_Act):
    """Shows a guest's link and code, this once."""

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, ceremony_id: UUID, participant_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        made = invitations.invite_guest(actor=actor_of(request), ceremony_id=ceremony.pk, participant_id=participant_id)
        context = {
            "title": f"Invitation of {made.seat.name}",
            "ceremony": ceremony,
            "invitation": made,
            "practice_banner": banner(ceremony.practice),
        }
        return render(request, "ceremonies/invitation.html", context)


class PeopleInvite(_Act):
    """Tells everybody in the plan who has an account."""

    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        told = invitations.invite_people(actor=actor_of(request), ceremony_id=ceremony.pk)
        messages.success(request, f"Told on their pages and by e-mail: {told}. Invite each guest by their own link.")
        return redirect("ceremonies:detail", ceremony.pk)


class OpenRoom(_Act):
    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        try:
            plans.open_room(actor=actor_of(request), ceremony_id=ceremony.pk, reason=ceremony.purpose)
        except ValidationFailed as error:
            messages.error(request, " ".join([error.detail, *error.errors.get("people", [])]))
            return redirect("ceremonies:detail", ceremony.pk)
        messages.success(request, "The room is open.")
        return redirect("ceremonies:room", ceremony.pk)


class Replan(_Act):
    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = self.ceremony(request, ceremony_id)
        plans.back_to_planning(actor=actor_of(request), ceremony_id=ceremony.pk)
        messages.success(request, "The plan can be changed again; others have to agree anew.")
        return redirect("ceremonies:detail", ceremony.pk)


class CallOff(_Act):
    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        return self._page(request, self.ceremony(request, ceremony_id), WhyForm())

    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony, form = self.ceremony(request, ceremony_id), WhyForm(request.POST)
        if not form.is_valid():
            return self._page(request, ceremony, form, 422)
        plans.call_off(actor=actor_of(request), ceremony_id=ceremony.pk, reason=form.cleaned_data["reason"])
        messages.success(request, "The ceremony is called off; nothing has changed.")
        return redirect("ceremonies:detail", ceremony.pk)

    def _page(self, request: HttpRequest, ceremony: Ceremony, form: WhyForm, status: int = 200) -> HttpResponse:
        invited = ceremony.participants.count()
        context = {
            "title": "Call the ceremony off", "subtitle": str(ceremony), "form": form, "danger": True, "submit_label": "Call it off",
            "consequences": ["Everything shares were made of in this ceremony is erased.", "The key and its escrow stay as they were.",
                             f"{invited} {'person has' if invited == 1 else 'people have'} to be told."],
            "cancel_url": f"/ceremonies/{ceremony.pk}/", "practice_banner": banner(ceremony.practice),
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class Calendar(View):
    """The date for a calendar program; whoever has a seat may fetch it."""

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        _, _, ceremony = enter(request, ceremony_id)
        headers = {"Content-Disposition": 'attachment; filename="ceremony.ics"'}
        return HttpResponse(
            invitations.calendar_file(ceremony), content_type="text/calendar; charset=utf-8", headers=headers
        )


class Minutes(View):
    """The minutes as a PDF: as they were signed; before the end they are a draft."""

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor, _, ceremony = enter(request, ceremony_id)
        made = read_minutes(actor=actor, ceremony=ceremony)
        return HttpResponse(
            made,
            content_type="application/pdf",
            headers={"Content-Disposition": f'inline; filename="minutes-{ceremony.pk}.pdf"'},
        )


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_said(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name.replace('_', ' ')} {_said(item)}" for name, item in value.items())
    return str(value)
