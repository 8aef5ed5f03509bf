"""The portal's own seal: how it is opened, sealing it now, and the page by which custodians open it again."""

import base64
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from keys.forms import ReasonForm, ServiceForm
from keys.models import Key, RootSeal
from keys.sealed_forms import RecipientForm, SealedForm
from keys.services import commands, keyholders, provider_seals, root_key, seals, unsealing
from keys.services.overview import visible_keys
from keys.services.provider_seals import seal_context
from keys.states import SealStanding
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of, client_address
from keyvault_portal.approvals import services as approvals
from keyvault_portal.errors import PortalError, Throttled, ValidationFailed

TRIES, WINDOW = 20, 60  # shares an address may try, in so many seconds


class SharesForm(ServiceForm):
    name = forms.CharField(max_length=150, initial="Custodians")
    threshold = forms.IntegerField(
        min_value=2, max_value=seals.MAX_SHARES, initial=3, help_text="So many open the portal."
    )
    count = forms.IntegerField(
        min_value=2, max_value=seals.MAX_SHARES, initial=5, label="Shares", help_text="So many are made."
    )
    reason = forms.CharField(max_length=2000, help_text="The officers who agree read it.")


class ProviderSealForm(ServiceForm):
    name = forms.CharField(max_length=150, initial="Key provider")
    key = forms.ModelChoiceField(
        Key.objects.none(),
        label="Master key",
        help_text="One that lives at a provider: it opens every machine by itself.",
    )
    reason = forms.CharField(max_length=2000, help_text="The officers who agree read it.")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast("forms.ModelChoiceField[Key]", self.fields["key"])
        field.queryset = provider_seals.sealing_keys() & visible_keys(actor)
        field.label_from_instance = lambda obj: f"{obj}, at {obj.provider}"  # type: ignore[method-assign]


class ShareForm(SealedForm):
    nonce = forms.CharField(max_length=64, widget=forms.HiddenInput)


class SealList(ActorRequiredMixin, View):
    """The seals in use, and the button that seals everything."""

    required_permission = Permission.SETTINGS_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        return _list(request)


class SealShares(ActorRequiredMixin, View):
    """Asks for a seal of shares; they are made once others agreed."""

    required_permission = Permission.SETTINGS_MANAGE

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SharesForm(request.POST)
        if form.is_valid():
            made = form.run(lambda values: seals.register_shares(actor=actor_of(request), **values))
            if made is not None:
                return redirect("keys:seal-make-shares", made.pk)
        return _list(request, form, status=422)


@method_decorator(never_cache, name="dispatch")
class SealMakeShares(ActorRequiredMixin, View):
    """Makes the shares of a seal that was agreed to; they are sealed to a key of the page, which alone shows them, this once."""

    required_permission = Permission.SETTINGS_MANAGE

    def get(self, request: HttpRequest, seal_id: UUID) -> HttpResponse:
        seal = seals.find(seal_id)
        context = {
            "title": "Make the shares", "subtitle": f"{seal}: {seal.threshold} of {seal.shares}", "seal": seal,
            "numbers": range(1, (seal.shares or 0) + 1), "bound": seal_context(seal.pk).decode(),
        }  # fmt: skip
        return render(request, "keys/seal_shares.html", context)

    def post(self, request: HttpRequest, seal_id: UUID) -> JsonResponse:
        form = RecipientForm(request.POST)
        try:
            if not form.is_valid():
                raise ValidationFailed(errors={"key": ["A raw X25519 key, in base64."]})
            made = seals.make_shares(actor=actor_of(request), seal_id=seal_id, recipient=form.cleaned_data["key"])
        except PortalError as error:
            return JsonResponse({"title": error.title, "detail": error.detail, "hint": error.hint}, status=error.status)
        return JsonResponse({"sealed": [base64.b64encode(share).decode() for share in made.sealed]})


class SealProvider(ActorRequiredMixin, View):
    """Has the root sealed under a key that lives at a provider."""

    required_permission = Permission.SETTINGS_MANAGE

    def post(self, request: HttpRequest) -> HttpResponse:
        authorize(actor_of(request), Permission.SETTINGS_MANAGE, target="the portal's seal")
        form = ProviderSealForm(request.POST, prefix="provider", actor=actor_of(request))
        if form.is_valid():
            made = form.run(lambda values: seals.register_provider(actor=actor_of(request), **values))
            if made is not None:
                messages.info(request, f"{made} is being made: a worker asks {made.provider}.")
                return redirect("keys:seal-list")
        return _list(request, provider_form=form, status=422)


class SealCheck(ActorRequiredMixin, View):
    required_permission = Permission.SETTINGS_MANAGE

    def post(self, request: HttpRequest, seal_id: UUID) -> HttpResponse:
        seal = seals.request_check(actor=actor_of(request), seal_id=seal_id)
        messages.info(request, f"A worker tries whether {seal} opens the portal; the page says it in a moment.")
        return redirect("keys:seal-list")


class SealRetire(ActorRequiredMixin, View):
    required_permission = Permission.SETTINGS_MANAGE

    def get(self, request: HttpRequest, seal_id: UUID) -> HttpResponse:
        return self._page(request, seal_id, ReasonForm())

    def post(self, request: HttpRequest, seal_id: UUID) -> HttpResponse:
        form = ReasonForm(request.POST)
        if form.is_valid():
            actor = actor_of(request)
            if form.run(lambda values: seals.retire_seal(actor=actor, seal_id=seal_id, **values)) is not None:
                messages.success(request, "This seal opens the portal no more.")
                return redirect("keys:seal-list")
        return self._page(request, seal_id, form, status=422)

    def _page(self, request: HttpRequest, seal_id: UUID, form: ReasonForm, status: int = 200) -> HttpResponse:
        authorize(actor_of(request), Permission.SETTINGS_MANAGE, target="the portal's seal")
        seal = seals.find(seal_id)
        left = seals.ways_in_use() - (seal.state == SealStanding.IN_USE.value)
        agree = approvals.officers_needed(actor_of(request), None)
        asks = agree and seal.state != SealStanding.PREPARING.value
        context = {
            "title": f"Retire the seal {seal}", "form": form, "danger": True, "cancel_url": "/keys/seals/",
            "consequences": seals.when_retired(seal, left),
            "submit_label": "Ask to retire it" if asks else "Retire it",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class SealNow(ActorRequiredMixin, View):
    required_permission = Permission.SETTINGS_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, ReasonForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._page(request, form)
        seals.seal_now(actor=actor_of(request), reason=form.cleaned_data["reason"])
        return redirect("sealed")

    def _page(self, request: HttpRequest, form: ReasonForm) -> HttpResponse:
        consequences = [
            "Nobody can encrypt, decrypt or sign from this moment, in any process on any machine.",
            "Jobs stop where they are and go on after the portal is opened.",
            "It stays sealed, over restarts too, until an officer or a quorum of custodians opens it.",
        ]
        context = {
            "title": "Seal the portal now", "form": form, "consequences": consequences, "submit_label": "Seal now", "danger": True,
            "cancel_url": "/keys/seals/",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context)


class Sealed(View):
    """Open to everyone while the portal is sealed: custodians have no other way in."""

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        return super().dispatch(request, *args, **kwargs)  # type: ignore[return-value]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request)

    def post(self, request: HttpRequest) -> HttpResponse:
        keyholder = root_key.keyholder()
        if "open" in request.POST:
            actor = actor_of(request)
            if not seals.open_again(actor=actor):
                messages.warning(
                    request, "It stays sealed: no file and no provider opens it. Custodians have to give their shares."
                )
            return redirect("sealed")
        if "begin" in request.POST:
            keyholder.begin()
            return redirect("sealed")
        _count_try(request)
        try:
            form = ShareForm(request.POST)
            if not form.is_valid():
                raise ValidationFailed(
                    "This is no sealed share.", hint="Type the words, or paste what the command wrote."
                )
            values = form.cleaned_data
            if not unsealing.give_share(**values, bound_to=unsealing.bound_to(values["nonce"])).missing:
                messages.success(request, "The portal is open.")
                return redirect("dashboard")
        except PortalError as error:
            return self._page(request, error)
        return redirect("sealed")

    def _page(self, request: HttpRequest, error: PortalError | None = None) -> HttpResponse:
        status = unsealing.attempt()
        bound = unsealing.bound_to(status["nonce"]).decode()
        context = {
            "bound": bound, "command": commands.seal_command(status["public_key"], bound),
            "title": "The portal is sealed" if status["sealed"] else "The portal is open", "status": status, "error": error,
            "missing": status["threshold"] - len(status["given"]), "on_purpose": seals.sealed_on_purpose(),
            **_machines(isinstance(request.user, Person) and actor_of(request).can(Permission.SETTINGS_MANAGE)),
        }  # fmt: skip
        return render(request, "keys/sealed.html", context, status=503 if status["sealed"] else 200)


def _machines(may_open: bool) -> dict[str, Any]:
    """This machine's name for everybody, because a custodian has to know where the share goes; the others' for officers."""
    seen = keyholders.seen()
    return {
        "may_open": may_open, "machine": keyholders.machine(), "keyholders": seen if may_open else [], "machines": len(seen),
        "unsealed": sum(one.state == "unsealed" for one in seen),
    }  # fmt: skip


def _list(
    request: HttpRequest,
    form: SharesForm | None = None,
    provider_form: ProviderSealForm | None = None,
    status: int = 200,
) -> HttpResponse:
    actor = actor_of(request)
    may_manage = actor.can(Permission.SETTINGS_MANAGE)
    rows = RootSeal.objects.select_related("key__ring", "version")
    in_use = list(rows.filter(retired_at=None).order_by("created_at"))
    working = sum(seal.state == SealStanding.IN_USE.value for seal in in_use)
    context = {
        "title": "Seal of the portal", "form": form or SharesForm(), "may_manage": may_manage,
        "provider_form": provider_form or ProviderSealForm(prefix="provider", actor=actor),
        "seals": [
            {
                "seal": seal, "may_retire": may_manage and working > (seal.state == SealStanding.IN_USE.value),
                "may_make": seal.waits_for_shares and seal.created_by_id == actor.id,
            }
            for seal in in_use
        ],
        "has_shares": any(seal.kind == RootSeal.Kind.SHARES.value for seal in in_use),
        "officers": approvals.officers_needed(actor, None) if may_manage else 0,
        "lonely": working == 1, "keyholders": keyholders.seen(), "retired": rows.exclude(retired_at=None).order_by("-retired_at")[:20],
    }  # fmt: skip
    return render(request, "keys/seal_list.html", context, status=status)


def _count_try(request: HttpRequest) -> None:
    name = f"sealed-tries:{client_address(request)}"
    cache.add(name, 0, WINDOW)
    if cache.incr(name) > TRIES:
        raise Throttled("Too many shares were tried from here.", hint="Wait a minute.", retry_after=WINDOW)
