"""This app's pages and endpoints, with the few neighbours that its templates link to."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from keyvault_portal.approvals.api import router_entries

router = SimpleRouter(trailing_slash=False)
for prefix, view_set, basename in router_entries:
    router.register(prefix, view_set, basename=basename)


def page(request: HttpRequest, **arguments: object) -> HttpResponse:
    return HttpResponse("page")


accounts = ([path("people/<uuid:pk>/", page, name="person-detail")], "accounts")
audit = ([path("<int:seq>/", page, name="event-detail")], "audit")
urlpatterns = [
    path("", page, name="dashboard"),
    path("settings/", page, name="settings"),
    path("account/", include("keyvault_portal.accounts.account_urls")),
    path("", include(accounts)),
    path("audit/", include(audit)),
    path("approvals/", include("keyvault_portal.approvals.urls")),
    path("api/v1/", include(router.urls)),
]
