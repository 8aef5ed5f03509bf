"""The URL map: each app owns the paths below its prefix."""

from django.urls import include, path

from keys.views.seals import Sealed
from keyvault_portal.views import Dashboard, Settings, healthz

urlpatterns = [
    path("api/v1/", include("keyvault_portal.api_urls")),  # first: the data plane is asked most
    path("v1/", include("keys.vault.urls")),
    path("", Dashboard.as_view(), name="dashboard"),
    path("settings/", Settings.as_view(), name="settings"),
    path("healthz", healthz, name="healthz"),
    path("sealed/", Sealed.as_view(), name="sealed"),
    path("account/", include("keyvault_portal.accounts.account_urls")),
    path("", include("keyvault_portal.accounts.urls")),
    path("approvals/", include("keyvault_portal.approvals.urls")),
    path("audit/", include("keyvault_portal.audit.urls")),
    path("keys/", include("keys.urls")),
    path("certificates/acme/", include("certificates.acme.urls")),
    path("certificates/", include("certificates.urls")),
    path("ceremonies/", include("ceremonies.urls")),
    path("tls/", include("certificates.tls.urls")),
    path("", include("keys.jwks_urls")),
    path("", include("certificates.public_urls")),
    path("", include("certificates.acme.public_urls")),
]

handler400 = "keyvault_portal.edges.bad_request"
handler403 = "keyvault_portal.edges.permission_denied"
handler404 = "keyvault_portal.edges.page_not_found"
handler500 = "keyvault_portal.edges.server_error"
