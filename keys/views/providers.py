"""Key providers: where keys may live, whether they answer, what they hold, and the work that waits for them."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from keys.forms import ProviderForm, ReasonForm
from keys.models import KeyProvider, ProviderFinding, ProviderIntent
from keys.providers import registry
from keys.providers.abilities import abilities
from keys.services import data_key_cache, provider_seals
from keys.services.providers import breaker, comparison, figures, findings, health, intents, registration, replication
from keys.services.ratelimit import provider_budget
from keys.views.keys import visible_key
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError
from keyvault_portal.paging import page_context
from keyvault_portal.visible import on_rings

FINDINGS_SHOWN, WORK_SHOWN = 100, 20


def _may_manage(actor: Actor) -> bool:
    return actor.can(Permission.PROVIDER_MANAGE)


class ProviderList(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        is_open = Q(findings__state=ProviderFinding.State.OPEN)
        rows = KeyProvider.objects.annotate(differences=Count("findings", filter=is_open))
        context = page_context(request, rows, ["alias"]) | {
            "title": "Key providers", "may_manage": _may_manage(actor_of(request)),
            "columns": [
                {"label": "Provider"}, {"label": "Kind"}, {"label": "State"}, {"label": "Last test"},
                {"label": "Calls in an hour", "num": True}, {"label": "95 of 100 within", "num": True}, {"label": "Differences", "num": True},
            ],
            "empty_title": "No provider is registered", "empty_text": "Keys live in the portal itself until you register a KMS or an HSM.",
        }  # fmt: skip
        context["object_list"] = [
            {"provider": row, "kind": _kind_title(row.kind), "figures": figures.of(row.alias)}
            for row in context["object_list"]
        ]
        return render(request, "keys/provider_list.html", context)


def _kind_title(kind: str) -> str:
    found = registry.KINDS.get(kind)
    return found.title if found else kind


class ProviderKinds(ActorRequiredMixin, View):
    """The kind is chosen first, because its form follows from it."""

    required_permission = Permission.PROVIDER_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        authorize(actor_of(request), Permission.PROVIDER_MANAGE, target="key providers")
        context = {
            "title": "Register a key provider", "subtitle": "What kind is it?",
            "kinds": [{"kind": kind, "title": title, "missing": missing} for kind, title, missing in registration.kinds()],
        }  # fmt: skip
        return render(request, "keys/provider_kinds.html", context)


class ProviderCreate(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def get(self, request: HttpRequest, kind: str) -> HttpResponse:
        return self._page(request, kind, ProviderForm(declared=_declared(request, kind)))

    def post(self, request: HttpRequest, kind: str) -> HttpResponse:
        form = ProviderForm(request.POST, declared=_declared(request, kind))
        if form.is_valid():
            row = form.run(lambda values: registration.register_provider(actor=actor_of(request), kind=kind, **values))
            if row is not None:
                messages.success(request, f"{row} is registered. Test it before keys are made there.")
                return redirect("keys:provider-detail", row.alias)
        return self._page(request, kind, form, status=422)

    def _page(self, request: HttpRequest, kind: str, form: ProviderForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Register: {_kind_title(kind)}", "form": form, "submit_label": "Register", "cancel_url": "/keys/providers/new/",
            "intro": "Where the kind offers it, leave credentials empty: the identity of the machine is safer than a secret kept anywhere.",
        }  # fmt: skip
        return render(request, "keys/provider_form.html", context, status=status)


def _declared(request: HttpRequest, kind: str) -> Any:
    authorize(actor_of(request), Permission.PROVIDER_MANAGE, target="key providers")
    if kind not in registry.KINDS or kind == registry.LOCAL:
        raise NotFound("There is no such kind of provider.")
    return registry.provider_class(kind).settings


class ProviderEdit(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def get(self, request: HttpRequest, alias: str) -> HttpResponse:
        row = registration.find(actor_of(request), alias)
        return self._page(request, row, ProviderForm(declared=_declared(request, row.kind), instance=row))

    def post(self, request: HttpRequest, alias: str) -> HttpResponse:
        row = registration.find(actor_of(request), alias)
        form = ProviderForm(request.POST, declared=_declared(request, row.kind), instance=row)
        if form.is_valid():
            done = form.run(lambda values: registration.update_provider(actor=actor_of(request), alias=alias, **values))
            if done is not None:
                messages.success(request, f"{done} is changed; every process sees it within a few seconds.")
                return redirect("keys:provider-detail", alias)
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: KeyProvider, form: ProviderForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Change {row}", "form": form, "submit_label": "Save", "cancel_url": f"/keys/providers/{row.alias}/",
            "intro": "Keys made there are found again only if it stays the same place.",
        }  # fmt: skip
        return render(request, "keys/provider_form.html", context, status=status)


class ProviderDetail(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_VIEW

    def get(self, request: HttpRequest, alias: str) -> HttpResponse:
        actor = actor_of(request)
        row = registration.find(actor, alias)
        may_manage = _may_manage(actor)
        shown = list(findings.findings_of(row)[:FINDINGS_SHOWN])
        context = {
            "title": row.title, "provider": row, "state": row.shown_state, "may_manage": may_manage,
            "capabilities": _capabilities(row), "figures": figures.of(alias), "complaints": figures.complaints(alias),
            "circuit": f"circuit_{breaker.look(alias).value}",
            "findings": [
                {"finding": finding, "can_mend": findings.can_mend(finding), "can_accept": findings.can_accept(finding)} for finding in shown
            ],
            "work": list(_work(actor, alias)[:WORK_SHOWN]), "regions": replication.regions_of(row),
            "data_keys": data_key_cache.figures_of(alias), "data_key_bounds": data_key_cache.bounds(),
            "events": audit.events_for_target("provider", str(row.pk), 15) if actor.can(Permission.AUDIT_VIEW) else [],
            "facts": [
                ("Alias", row.alias), ("Kind", _kind_title(row.kind)), ("Region", row.region), *_settings_words(row),
                ("Keys", f"{registration.keys_at(alias).count():,}"), ("It takes us for", row.last_identity),
                ("Budget of background work", f"{provider_budget(alias)} calls/s"), ("Published limits", health.quota_words(row)),
                ("Registered", f"{row.created_at:%-d %b %Y, %H:%M} by {row.created_by}"),
            ],
        }  # fmt: skip
        return render(request, "keys/provider_detail.html", context)


def _settings_words(row: KeyProvider) -> list[tuple[str, str]]:
    """What was typed, without what was left empty, and where the credentials are."""
    try:
        declared = registry.provider_class(row.kind).settings
    except registry.KindUnavailable:
        return []
    typed = [
        (setting.label, str(row.settings.get(setting.name, "")))
        for setting in declared
        if setting.name not in {"region", "location"}
    ]
    credentials = "sealed, never shown" if row.sealed_settings_id else "none kept here: the machine's own identity"
    return [*((label, value) for label, value in typed if value), ("Credentials", credentials)]


def _capabilities(row: KeyProvider) -> list[dict[str, Any]]:
    """Of this very provider: a vault with and one without hardware are of one kind, and differ."""
    try:
        has = registry.provider(row.alias).capabilities if row.state == row.State.ENABLED else None
    except PortalError:
        has = None
    try:
        has = registry.provider_class(row.kind).capabilities if has is None else has
    except registry.KindUnavailable:
        return []
    return [
        {"has": ability.has, "words": ability.words, "reason": ability.reason} for ability in abilities(row.kind, has)
    ]


def _work(actor: Actor, alias: str) -> Any:
    """Work that is not done, on the rings this person sees, the oldest first."""
    rings = actor.ring_ids(Permission.KEY_VIEW)
    rows = ProviderIntent.objects.filter(version__provider=alias).exclude(state="done")
    rows = on_rings(rows, rings, "version__key__ring_id")
    return rows.select_related("version__key").order_by("created_at")


class ProviderTest(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def post(self, request: HttpRequest, alias: str) -> HttpResponse:
        actor = actor_of(request)
        authorize(actor, Permission.PROVIDER_MANAGE, target="key providers")
        row = registration.find(actor, alias)
        try:
            report = health.test_provider(actor=actor, alias=alias)
        except PortalError as error:
            messages.error(request, f"{error.detail} {error.hint}".strip())
        else:
            messages.success(request, report.summary)
        return redirect("keys:provider-detail", row.alias)


class ProviderCompare(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def post(self, request: HttpRequest, alias: str) -> HttpResponse:
        comparison.request_comparison(actor=actor_of(request), alias=alias)
        messages.info(request, "It is being compared with the inventory; differences appear here in a moment.")
        return redirect("keys:provider-detail", alias)


class ProviderConfirmed(ActorRequiredMixin, View):
    """A page that says what will happen and asks for a reason."""

    required_permission = Permission.PROVIDER_MANAGE
    button: ClassVar[str]
    danger: ClassVar[bool] = False
    template_name: ClassVar[str] = "generic/confirm.html"

    def get(self, request: HttpRequest, alias: str, **which: Any) -> HttpResponse:
        return self._page(request, alias, ReasonForm(), which)

    def post(self, request: HttpRequest, alias: str, **which: Any) -> HttpResponse:
        form = ReasonForm(request.POST)
        if form.is_valid():
            done = form.run(lambda values: self.do(actor_of(request), alias, values["reason"], **which))
            if done is not None:
                messages.success(request, done)
                return redirect("keys:provider-detail", alias)
        return self._page(request, alias, form, which, status=422)

    def _page(
        self, request: HttpRequest, alias: str, form: ReasonForm, which: dict[str, Any], status: int = 200
    ) -> HttpResponse:
        actor = actor_of(request)
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        title, consequences = self.words(registration.find(actor, alias), actor, **which)
        context = {
            "title": title, "form": form, "submit_label": self.button, "danger": self.danger,
            "consequences": consequences, "cancel_url": f"/keys/providers/{alias}/", **self.more(actor, alias, **which),
        }  # fmt: skip
        return render(request, self.template_name, context, status=status)

    def more(self, actor: Actor, alias: str, **which: Any) -> dict[str, Any]:
        """Other context of the page."""
        return {}

    def words(self, row: KeyProvider, actor: Actor, **which: Any) -> tuple[str, list[str]]:
        raise NotImplementedError

    def do(self, actor: Actor, alias: str, reason: str, **which: Any) -> str:
        raise NotImplementedError


class ProviderDisable(ProviderConfirmed):
    button, danger = "Disable it", True

    def words(self, row: KeyProvider, actor: Actor, **which: Any) -> tuple[str, list[str]]:
        number = registration.keys_at(row.alias).count()
        return f"Disable {row}", [
            f"{number:,} key{' has' if number == 1 else 's have'} versions there: they cannot be used, nor what stands below them.",
            "Work that waits for it goes on waiting until it is enabled again.",
            *(
                ["The portal's root is sealed under it: after a restart another seal has to open it."]
                if provider_seals.opens(row.alias)
                else []
            ),
        ]

    def do(self, actor: Actor, alias: str, reason: str, **which: Any) -> str:
        return f"{registration.disable_provider(actor=actor, alias=alias, reason=reason)} is disabled."


class ProviderEnable(ProviderConfirmed):
    button = "Enable it"

    def words(self, row: KeyProvider, actor: Actor, **which: Any) -> tuple[str, list[str]]:
        return f"Enable {row}", ["Its keys work again, and the work that waited for it is done."]

    def do(self, actor: Actor, alias: str, reason: str, **which: Any) -> str:
        return f"{registration.enable_provider(actor=actor, alias=alias, reason=reason)} is enabled."


class WorkRetry(ActorRequiredMixin, View):
    required_permission = Permission.KEY_ROTATE

    def post(self, request: HttpRequest, intent_id: UUID) -> HttpResponse:
        key_id = ProviderIntent.objects.filter(pk=intent_id).values_list("version__key_id", flat=True).first()
        if key_id is None:
            raise NotFound("There is no such work.")
        visible_key(request, key_id)
        intent = intents.retry_intent(actor=actor_of(request), intent_id=intent_id)
        messages.success(request, f"{intent.get_act_display()}: it is tried again.")
        return redirect("keys:key-detail", intent.version.key_id)
