"""REST below /api/v1/: one router over the apps' own lists, the schema and its pages."""

from typing import Any

from django.urls import URLPattern, URLResolver, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from ceremonies import api as ceremonies_api
from certificates import api as certificates_api
from certificates.acme import api as acme_api
from certificates.tls.api import api_urlpatterns as tls_urls
from keys import api as keys_api
from keys.dataplane.urls import urlpatterns as dataplane_urls
from keyvault_portal.accounts import api as accounts_api
from keyvault_portal.accounts import api_schema  # noqa: F401  importing it registers it
from keyvault_portal.api import DashboardView, SettingsView
from keyvault_portal.approvals import api as approvals_api
from keyvault_portal.audit import api as audit_api

router = SimpleRouter(trailing_slash=False)
for entries in (
    keys_api.router_entries,
    certificates_api.router_entries,
    acme_api.router_entries,
    ceremonies_api.router_entries,
    approvals_api.router_entries,
    accounts_api.router_entries,
    audit_api.router_entries,
):
    for prefix, viewset, basename in entries:
        router.register(prefix, viewset, basename=f"api-{basename}")

# The description of the interface is public, as in every product one can download; what it describes is not.
_open: dict[str, Any] = {"permission_classes": [], "authentication_classes": []}
urlpatterns: list[URLPattern | URLResolver] = [
    *dataplane_urls,
    *router.urls,
    path("dashboard", DashboardView.as_view(), name="api-dashboard"),
    path("settings", SettingsView.as_view(), name="api-settings"),
    *tls_urls,
    path("schema", SpectacularAPIView.as_view(**_open), name="api-schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="api-schema", **_open), name="api-docs"),
]
