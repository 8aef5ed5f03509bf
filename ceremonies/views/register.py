"""The custody register: every set of shares with its health, one share with its log, the offline package."""

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies import packages
from ceremonies.forms import CustodyForm, SealCustodianForm, WhyForm
from ceremonies.models import CustodyEntry, SealCustodian, Share
from ceremonies.services import custody, risks, seal_shares
from ceremonies.states import GenerationState
from ceremonies.views.guests import banner
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.paging import page_context


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


class Register(ActorRequiredMixin, View):
    """Where every share and package is."""

    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        sets = custody.visible_generations(actor).exclude(state=GenerationState.DEALING.value)
        if request.GET.get("ended") != "1":
            sets = sets.exclude(state=GenerationState.DEAD.value)
        page = page_context(request, sets, ["-created_at", "-id"], size=20)
        found = [(row, custody.health_of(row, row.shares.all())) for row in page["object_list"]]
        seal = seal_shares.unregistered_seal(actor)
        context = page | {
            "title": "Custody register", "subtitle": "Where each share and each package is, and who had access.", "sets": found,
            "unregistered": seal, "seal_custodians": seal_shares.custodians(seal) if seal else [],
            "may_name": actor.can(Permission.CEREMONY_MANAGE),
            "due": custody.due(actor), "ended": request.GET.get("ended") == "1",
            "may_plan": actor.can_somewhere(Permission.CEREMONY_MANAGE),
        }  # fmt: skip
        return render(request, "ceremonies/register.html", context)


class SealShare(ActorRequiredMixin, View):
    """Asks who has a share of the portal's seal that was made without a ceremony."""

    required_permission = Permission.CEREMONY_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        number = request.GET.get("share", "")
        known = dict(self._custodians(request)).get(int(number) if number.isascii() and number.isdigit() else 0)
        initial = {"number": number} | (
            {"custodian": known.custodian, "bag": known.bag, "place": known.place} if known else {}
        )
        return self._page(request, SealCustodianForm(shares=len(self._custodians(request)), initial=initial))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SealCustodianForm(request.POST, shares=len(self._custodians(request)))
        if form.is_valid():
            named = form.run(lambda values: seal_shares.name_custodian(actor=actor_of(request), **values))
            if named is not None:
                messages.success(request, f"{named.custodian} has share {named.number}, says the register.")
                return redirect("ceremonies:register")
        return self._page(request, form, 422)

    def _custodians(self, request: HttpRequest) -> list[tuple[int, SealCustodian | None]]:
        authorize(actor_of(request), Permission.CEREMONY_MANAGE, target="the portal's seal")
        seal = seal_shares.unregistered_seal()
        return seal_shares.custodians(seal) if seal else []

    def _page(self, request: HttpRequest, form: SealCustodianForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Who has this share?", "subtitle": "Seal of the portal", "form": form, "submit_label": "Write it down",
            "cancel_url": reverse("ceremonies:register"),
            "intro": "These shares were made without a ceremony, so no custodian proved anything. What you write is on the record under your name.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class ShareDetail(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest, share_id: int) -> HttpResponse:
        share = custody.visible_share(actor_of(request), share_id)
        return self._page(request, share, CustodyForm(on_paper=share.person_id is None))

    def post(self, request: HttpRequest, share_id: int) -> HttpResponse:
        share = custody.visible_share(actor_of(request), share_id)
        form = CustodyForm(request.POST, on_paper=share.person_id is None)
        noted = None
        if form.is_valid():
            noted = form.run(lambda values: custody.note_custody(actor=actor_of(request), share_id=share_id, **values))
        if noted is not None:
            messages.success(request, "It is in the register.")
            return redirect("ceremonies:share-detail", share_id)
        return self._page(request, share, form, 422)

    def _page(self, request: HttpRequest, share: Share, form: CustodyForm, status: int = 200) -> HttpResponse:
        actor, generation = actor_of(request), share.generation
        own = share.person_id is not None and share.person_id == actor.id
        context = {
            "title": f"Share {share.index} of {generation}", "subtitle": share.custodian, "state": share.state, "share": share, "form": form,
            "log": list(share.log.all()[:100]), "own": own, "practice_banner": banner(generation.practice),
            "at_risk": share.pk in risks.open_risks(generation) and generation.state == GenerationState.ACTIVE
            and actor.can(Permission.CEREMONY_MANAGE, generation.ceremony.ring_id),
            "may_note": own or actor.can(Permission.CEREMONY_MANAGE, generation.ceremony.ring_id),
            "facts": [
                ("Opens", generation.about), ("Custodian", share.custodian), ("Bag", share.bag), ("Place", share.place), ("Site", share.site),
                ("Check value", share.check_value),
                ("Group", share.group.name if share.group else None), ("Sealed to", share.sealed_to),
                ("Proved", _moment(share.proved_at)), ("Missed a roll-call", _moment(share.missed_at)),
                ("Duty acknowledged", _moment(share.acknowledged_at)),
            ],
        }  # fmt: skip
        return render(request, "ceremonies/share_detail.html", context, status=status)


class ShareAcknowledge(ActorRequiredMixin, View):
    """The custodian's yearly word."""

    required_permission = Permission.CEREMONY_VIEW

    def post(self, request: HttpRequest, share_id: int) -> HttpResponse:
        custody.note_custody(actor=actor_of(request), share_id=share_id, what=CustodyEntry.What.ACKNOWLEDGED)
        messages.success(request, "Your duty is acknowledged for a year.")
        return redirect("ceremonies:share-detail", share_id)


class RiskAccept(ActorRequiredMixin, View):
    """A share is lost and the set stays: other officers agree to what remains of the risk."""

    required_permission = Permission.CEREMONY_MANAGE

    def get(self, request: HttpRequest, share_id: int) -> HttpResponse:
        return self._page(request, custody.visible_share(actor_of(request), share_id), WhyForm())

    def post(self, request: HttpRequest, share_id: int) -> HttpResponse:
        share, form = custody.visible_share(actor_of(request), share_id), WhyForm(request.POST)
        if form.is_valid():
            form.run(lambda values: risks.accept_risk(actor=actor_of(request), share_id=share_id, **values))
        return self._page(request, share, form, 422)

    def _page(self, request: HttpRequest, share: Share, form: WhyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Accept the remaining risk", "subtitle": f"{share}, {share.generation}", "form": form, "submit_label": "Ask for agreement",
            "danger": True, "cancel_url": reverse("ceremonies:share-detail", args=[share.pk]),
            "consequences": [
                "Whoever finds the card holds this vote for as long as the set is in force.",
                "A refresh with a new escrow key would end that; nothing else does.",
                f"The set stands at: {custody.health_of(share.generation).words}.",
            ],
            "practice_banner": banner(share.generation.practice),
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class OfflineTool(View):
    """The offline tool's one file, for everybody: custodians without an account, and the day on which the portal is sealed."""

    def get(self, request: HttpRequest) -> HttpResponse:
        headers = {"Content-Disposition": 'attachment; filename="offline.py"'}
        return HttpResponse(packages.tool(), content_type="text/x-python; charset=utf-8", headers=headers)


class Package(ActorRequiredMixin, View):
    """The offline package for a medium: a zip of the package, the tool, instructions and checksums. Each download is on the record."""

    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest, generation_id: UUID) -> HttpResponse:
        found = custody.download_package(actor=actor_of(request), generation_id=generation_id)
        headers = {
            "Content-Disposition": f'attachment; filename="escrow-{found.set_name}-{found.number}.zip"',
            "Cache-Control": "no-store",
        }
        return HttpResponse(packages.read(bytes(found.package)).file(), content_type="application/zip", headers=headers)


class PackagePrint(ActorRequiredMixin, View):
    """The package on paper: manifest, instructions, and lines that can be typed back. Each look is on the record."""

    required_permission = Permission.CEREMONY_VIEW

    @method_decorator(never_cache)
    def get(self, request: HttpRequest, generation_id: UUID) -> HttpResponse:
        found = custody.download_package(actor=actor_of(request), generation_id=generation_id)
        context = {
            "title": f"Package of set {found.set_name}, generation {found.number}", "subtitle": found.about, "generation": found,
            "text": packages.read(bytes(found.package)).printed(), "practice_banner": banner(found.practice),
        }  # fmt: skip
        return render(request, "ceremonies/package.html", context)
