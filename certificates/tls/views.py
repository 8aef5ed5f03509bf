"""Pages: a configuration, a scan, pins, DNS records and cert-manager manifests."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views import View

from certificates.tls import dns, manifests, pins, services
from certificates.tls.forms import ConfigurationForm, ManifestForm, PinForm, RecordsForm, ScanForm
from certificates.tls.generator import generate
from certificates.tls.suites import TLS13_SUITES
from keys.forms import ServiceForm
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of

TABS = (
    ("configuration", "Configuration"), ("scan", "Scan"), ("pins", "Pins"), ("records", "DNS records"), ("manifests", "cert-manager"),
)  # fmt: skip


class ToolView(ActorRequiredMixin, View):
    """One form, and its result beside it."""

    required_permission = Permission.TLS_VIEW
    tab: ClassVar[str]
    template: ClassVar[str]
    form_class: ClassVar[type[ServiceForm]]
    title: ClassVar[str]
    subtitle: ClassVar[str]

    def page(self, request: HttpRequest, form: ServiceForm, **more: Any) -> HttpResponse:
        tabs = [{"label": label, "url": reverse(f"tls:{name}"), "current": name == self.tab} for name, label in TABS]
        context = {"title": self.title, "subtitle": self.subtitle, "form": form, "tabs": tabs, "tabs_label": "TLS"}
        return render(request, self.template, context | more)

    def asked(self, request: HttpRequest) -> ServiceForm:
        """The form as it was sent in the address, or with its first values."""
        return self.form_class(request.GET) if request.GET else self.form_class(self.first_values())

    def first_values(self) -> Mapping[str, Any]:
        fields = self.form_class().fields
        return {name: field.initial for name, field in fields.items() if field.initial is not None}


def _file(name: str, text: str) -> HttpResponse:
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


class ConfigurationPage(ToolView):
    tab, template, form_class = "configuration", "tls/configuration.html", ConfigurationForm
    title = "TLS configuration"
    subtitle = "Files for nginx, Envoy and HAProxy, proved in the real servers by this program's own tests."

    def get(self, request: HttpRequest) -> HttpResponse:
        form = self.asked(request)
        assert isinstance(form, ConfigurationForm)
        asked = form.configuration() if form.is_valid() else None
        made = generate(asked) if asked else None
        if made and "download" in request.GET:
            return _file(made.name, made.text)
        query = request.GET.copy()
        query["download"] = "1"
        return self.page(
            request, form, made=made, download="?" + query.urlencode() if request.GET else "",
            suites=TLS13_SUITES,
        )  # fmt: skip


class ScanPage(ToolView):
    required_permission = Permission.TLS_SCAN
    tab, template, form_class = "scan", "tls/scan.html", ScanForm
    title = "Scan of an endpoint"
    subtitle = "What a live server really accepts, its grade with reasons, and how it differs from what was generated."

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(request, ScanForm(initial={"host": request.GET.get("host", "")[:253]}))

    def post(self, request: HttpRequest) -> HttpResponse:
        form, found = ScanForm(request.POST), None
        if form.is_valid():
            found = form.run(
                lambda values: services.scan_endpoint(
                    actor=actor_of(request), host=values["host"], port=values["port"], asked=form.compared()
                )
            )
        return self.page(request, form, found=found)


class PinPage(ToolView):
    tab, template, form_class = "pins", "tls/pins.html", PinForm
    title = "Pins for mobile programs"
    subtitle = "Keys that a program trusts besides the usual check. Read the warning first."

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(request, PinForm(), warnings=pins.WARNINGS)

    def post(self, request: HttpRequest) -> HttpResponse:
        form, made = PinForm(request.POST), None
        if form.is_valid():
            made = form.run(_make_pins)
        more = {"android": pins.android(made), "ios": pins.ios(made)} if made else {}
        return self.page(request, form, warnings=pins.WARNINGS, made=made, **more)


def _make_pins(values: dict[str, Any]) -> pins.Pins:
    backups = [values.pop("backup"), values.pop("second_backup")]
    try:
        return pins.make_pins(backups=backups, today=timezone.localdate(), **values)
    except pins.ValidationFailed as error:
        if "backups" in error.errors:
            error.errors["backup"] = error.errors.pop("backups")
        raise


class RecordsPage(ToolView):
    tab, template, form_class = "records", "tls/records.html", RecordsForm
    title = "DNS records"
    subtitle = "CAA records say who may issue for a domain; Certificate Transparency shows who did."

    def get(self, request: HttpRequest) -> HttpResponse:
        form, made = self.asked(request), None
        if form.is_valid():
            made = form.run(lambda values: dns.caa_records(**values))
        return self.page(request, form, made=made, advice=dns.TRANSPARENCY)


class ManifestPage(ToolView):
    tab, template, form_class = "manifests", "tls/manifests.html", ManifestForm
    title = "cert-manager manifests"
    subtitle = "An issuer and a certificate for Kubernetes, from Let's Encrypt or from an authority of yours."

    def get(self, request: HttpRequest) -> HttpResponse:
        form = self.asked(request)
        assert isinstance(form, ManifestForm)
        asked = form.manifest() if form.is_valid() else None
        return self.page(request, form, made=manifests.render(asked) if asked else None)

    def first_values(self) -> Mapping[str, Any]:
        return {**super().first_values(), "key": "ECDSA 256"}
