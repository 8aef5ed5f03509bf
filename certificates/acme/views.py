"""Pages of ACME: how an authority serves it, who may open accounts, who has one, what was ordered and why it failed."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from certificates.acme import addresses
from certificates.acme.filters import AccountFilter, OrderFilter
from certificates.acme.forms import ExternalKeyForm, RulesForm
from certificates.acme.services import reading, serving
from certificates.acme.services.serving import OFFERED, Rules
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeOrder, AcmeServer, Authority
from certificates.profiles import PROFILES
from certificates.services.reading import visible_authority
from certificates.views.authorities import managed
from certificates.views.pages import Confirmed
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import ListPage, counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.visible import found

TABS = (("acme:order-list", "Orders"), ("acme:account-list", "Accounts"))


class ServerDetail(ActorRequiredMixin, View):
    """One authority's server: its address, its rules, keys for accounts, and what failed lately."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        authority = visible_authority(actor, authority_id)
        server = reading.visible_servers(actor).filter(authority=authority).first()
        manage = actor.can(Permission.AUTHORITY_MANAGE, authority.ring_id)
        context: dict[str, Any] = {
            "title": f"ACME of {authority}", "authority": authority, "server": server, "may_manage": manage,
            "may_serve": manage and authority.state == "active" and any(name in OFFERED for name in authority.profiles),
            "events": audit.events_for_target("authority", str(authority.pk), 10) if actor.can(Permission.AUDIT_VIEW, authority.ring_id) else [],
        }  # fmt: skip
        if server is not None:
            context |= {
                "address": addresses.of(server, "directory"), "facts": _facts(server), "facts_title": "Rules",
                "state": "enabled" if server.enabled else "disabled",
                "keys": server.external_keys.select_related("owner").order_by("-created_at")[:50],
                "accounts": server.accounts.order_by("-created_at", "-id")[:10], "failures": reading.failures_of(server),
            }  # fmt: skip
        return render(request, "acme/server_detail.html", context)


def _facts(server: AcmeServer) -> list[tuple[str, object]]:
    rules = Rules.of(server)
    above = server.authority.name_rules
    names = ", ".join(rules.names or (*above.dns, *above.ip)) or "none"
    return [
        ("Profiles", ", ".join(PROFILES[name].title for name in rules.profiles)), ("Names", names + (", wildcards too" if rules.wildcards else "")),
        ("Proofs", ", ".join(rules.challenges)), ("Life", f"{rules.days} days" if rules.days else "as the profile suggests"),
        ("Accounts", "with a key from an officer" if rules.external_account_required else "open to everybody"),
        ("Own networks", ", ".join(rules.networks) or "none: proofs are looked for in public only"),
        ("DNS resolvers", ", ".join(rules.resolvers) or "those of the machine"),
        ("CAA", ("obeyed, as " + (", ".join(rules.caa_identities) or "nobody")) if rules.check_caa else "not looked at"),
        ("Terms", rules.terms_url), ("Orders", f"good for {rules.order_hours} hours"), ("Ports", f"{rules.http_port} and {rules.tls_port}"),
    ]  # fmt: skip


class ServerRules(ActorRequiredMixin, View):
    """Let an authority serve ACME, or change how it does."""

    required_permission = Permission.AUTHORITY_MANAGE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        authority = managed(request, authority_id, issues=True)
        server = AcmeServer.objects.filter(authority=authority).first()
        first = [name for name in OFFERED if name in authority.profiles][:1]
        rules = Rules.of(server) if server else Rules(profiles=first)
        return self._page(request, authority, RulesForm(RulesForm.first_values(rules), authority=authority), plain=True)

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        authority = managed(request, authority_id, issues=True)
        form = RulesForm(request.POST, authority=authority)
        if form.is_valid():
            saved = form.run(
                lambda values: serving.save_server(actor=actor_of(request), authority_id=authority.pk, **values)
            )
            if saved is not None:
                return redirect("acme:server-detail", authority.pk)
        return self._page(request, authority, form, status=422)

    def _page(
        self, request: HttpRequest, authority: Authority, form: RulesForm, *, plain: bool = False, status: int = 200
    ) -> HttpResponse:
        if plain:
            form = RulesForm(initial=form.data, authority=authority)
        context = {
            "title": f"ACME of {authority}", "form": form, "submit_label": "Save the rules", "cancel_url": f"/certificates/acme/{authority.pk}/",
            "intro": "Whoever proves control of a name gets a certificate for it, with nobody asked: choose the names narrowly.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class _OfServer(Confirmed):
    """An act on the server of an authority."""

    required_permission = Permission.AUTHORITY_MANAGE

    def load(self, request: HttpRequest, **named: UUID) -> AcmeServer:
        managed(request, named["authority_id"])
        return reading.visible_server(actor_of(request), named["authority_id"])

    def home(self, row: AcmeServer) -> str:
        return f"/certificates/acme/{row.authority_id}/"


class Stop(_OfServer):
    title, label = "Stop", "Stop serving"

    def act(self, request: HttpRequest, row: AcmeServer, reason: str) -> object:
        return serving.switch_server(
            actor=actor_of(request), authority_id=row.authority_id, enabled=False, reason=reason
        )

    def consequences(self, row: AcmeServer) -> list[Any]:
        living = AcmeOrder.objects.filter(server=row, state="valid", certificate__not_after__gt=timezone.now())
        return [
            counted(
                living.count(),
                "certificate that still lives cannot be renewed by its client",
                "certificates that still live cannot be renewed by their clients",
            ),
            "They stay valid until they end, and accounts stay as they are.",
        ]


class Start(_OfServer):
    title, label = "Start", "Serve again"

    def act(self, request: HttpRequest, row: AcmeServer, reason: str) -> object:
        return serving.switch_server(
            actor=actor_of(request), authority_id=row.authority_id, enabled=True, reason=reason
        )

    def consequences(self, row: AcmeServer) -> list[Any]:
        return ["It serves again by the rules it had."]


@method_decorator(never_cache, name="dispatch")
class NewKey(ActorRequiredMixin, View):
    """Answers the POST with the secret itself: it is in no address, session or later page."""

    required_permission = Permission.AUTHORITY_MANAGE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        managed(request, authority_id)
        return self._page(request, reading.visible_server(actor_of(request), authority_id), ExternalKeyForm())

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        managed(request, authority_id)
        server, form = reading.visible_server(actor_of(request), authority_id), ExternalKeyForm(request.POST)
        if form.is_valid():
            made = form.run(
                lambda values: serving.create_external_key(actor=actor_of(request), authority_id=authority_id, **values)
            )
            if made is not None:
                row, secret = made
                context = {
                    "title": "New key for ACME accounts", "row": row, "secret": secret.reveal().decode(), "server": server,
                    "address": addresses.of(server, "directory"),
                }  # fmt: skip
                return render(request, "acme/external_key_created.html", context)
        return self._page(request, server, form, status=422)

    def _page(self, request: HttpRequest, server: AcmeServer, form: ExternalKeyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "New key for ACME accounts", "form": form, "submit_label": "Make the key",
            "cancel_url": f"/certificates/acme/{server.authority_id}/",
            "intro": "A client sends it once, when it opens its account (external account binding). Its secret is shown on the next page only.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class RevokeKey(Confirmed):
    required_permission = Permission.AUTHORITY_MANAGE
    title, label = "Revoke the key", "Revoke it"

    def load(self, request: HttpRequest, **named: UUID) -> AcmeExternalKey:
        row = found(reading.visible_keys(actor_of(request)), named["external_id"], "key")
        _authorize(request, row.server)
        return row

    def home(self, row: AcmeExternalKey) -> str:
        return f"/certificates/acme/{row.server.authority_id}/"

    def act(self, request: HttpRequest, row: AcmeExternalKey, reason: str) -> object:
        return serving.revoke_external_key(actor=actor_of(request), key_id=row.pk, reason=reason)

    def consequences(self, row: AcmeExternalKey) -> list[Any]:
        return [
            "No account opens with it any more.",
            counted(
                row.accounts.filter(state="valid").count(),
                "account that opened with it goes on; revoke that by itself",
                "accounts that opened with it go on; revoke those by themselves",
            ),
        ]


def _authorize(request: HttpRequest, server: AcmeServer) -> None:
    ring_id = server.authority.ring_id
    authorize(actor_of(request), Permission.AUTHORITY_MANAGE, ring_id=ring_id, target=str(server.authority))


class RevokeAccount(Confirmed):
    required_permission = Permission.AUTHORITY_MANAGE
    title, label, irreversible = "Revoke the account", "Revoke it", True

    def load(self, request: HttpRequest, **named: UUID) -> AcmeAccount:
        row = found(reading.visible_accounts(actor_of(request)), named["account_id"], "account")
        _authorize(request, row.server)
        return row

    def home(self, row: AcmeAccount) -> str:
        return "/certificates/acme/accounts/"

    def act(self, request: HttpRequest, row: AcmeAccount, reason: str) -> object:
        return serving.revoke_account(actor=actor_of(request), account_id=row.pk, reason=reason)

    def consequences(self, row: AcmeAccount) -> list[Any]:
        living = row.orders.filter(state="valid", certificate__not_after__gt=timezone.now()).count()
        open_ = row.orders.filter(state__in=["pending", "ready"]).count()
        return [
            counted(open_, "open order fails", "open orders fail"),
            counted(
                living,
                "certificate stays valid until it ends or is revoked by itself",
                "certificates stay valid until they end or are revoked by themselves",
            ),
            "Its key never opens an account here again.",
        ]


class _AcmeList(ListPage):
    required_permission = Permission.CERTIFICATE_VIEW
    address = ""

    def extra(self) -> dict[str, Any]:
        tabs = [{"label": label, "url": reverse(name), "current": name == self.address} for name, label in TABS]
        return {"tabs": tabs, "tabs_label": "ACME", "manages": self.actor.can_somewhere(Permission.AUTHORITY_MANAGE)}


class OrderList(_AcmeList):
    template_name, title, address = "acme/order_list.html", "ACME orders", "acme:order-list"
    filter_class = OrderFilter
    columns = [{"label": label} for label in ("Names", "State", "Account", "Authority")] + [
        {"label": "Ordered", "sort": "ordered"}
    ]
    sorts = {"-ordered": ("-created_at", "-id"), "ordered": ("created_at", "id")}
    exported = {
        "names": "names", "state": "state", "profile": "profile", "account": "account_id", "authority": "server__authority__name",
        "error": "error", "serial": "certificate__serial", "created_at": "created_at", "expires_at": "expires_at", "id": "id",
    }  # fmt: skip
    empty = ("No orders yet", "Open an authority that issues to servers and let it serve ACME.")

    def queryset(self) -> QuerySet[AcmeOrder]:
        return reading.visible_orders(self.actor)


class AccountList(_AcmeList):
    template_name, title, address = "acme/account_list.html", "ACME accounts", "acme:account-list"
    filter_class = AccountFilter
    columns = [
        *({"label": label} for label in ("Account", "State", "Authority", "Opened with")), {"label": "Opened", "sort": "opened"},
        {"label": "Actions", "hidden": True},
    ]  # fmt: skip
    sorts = {"-opened": ("-created_at", "-id"), "opened": ("created_at", "id")}
    exported = {
        "contact": "contact", "state": "state", "thumbprint": "thumbprint", "authority": "server__authority__name",
        "external_key": "external_key__label", "created_at": "created_at", "created_from": "created_from", "id": "id",
    }  # fmt: skip
    empty = ("No accounts yet", "A client opens one with its first order.")

    def queryset(self) -> QuerySet[AcmeAccount]:
        return reading.visible_accounts(self.actor)


class OrderDetail(ActorRequiredMixin, View):
    """One order: its names, how each was proved or why not, and what came of it."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        row, actor = reading.visible_order(actor_of(request), order_id), actor_of(request)
        ring_id = row.server.authority.ring_id
        context = {
            "title": str(row), "order": row, "state": row.state,
            "authorizations": row.authorizations.prefetch_related("challenges").order_by("name", "wildcard"),
            "events": audit.events_for_target("acme_order", str(row.pk), 20) if actor.can(Permission.AUDIT_VIEW, ring_id) else [],
            "facts": [
                ("Authority", row.server.authority), ("Account", row.account), ("Profile", PROFILES[row.profile].title),
                ("Ordered", f"{row.created_at:%-d %B %Y, %H:%M} UTC"), ("Good until", f"{row.expires_at:%-d %B %Y, %H:%M} UTC"),
                ("Replaces", row.replaces.serial if row.replaces else ""),
            ],
        }  # fmt: skip
        return render(request, "acme/order_detail.html", context)
