"""The URL map: each app owns the paths below its prefix."""

from django.urls import include, path

urlpatterns = [
    path("account/", include("allauth.urls")),
    path("", include("keyvault_portal.accounts.urls")),
]

handler400 = "keyvault_portal.edges.bad_request"
handler403 = "keyvault_portal.edges.permission_denied"
handler404 = "keyvault_portal.edges.page_not_found"
handler500 = "keyvault_portal.edges.server_error"
