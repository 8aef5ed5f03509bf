"""This app's pages and endpoints, the record they lead to, and probes, so that these tests need no other part of the portal."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework.routers import DefaultRouter
from rest_framework.views import APIView

from keyvault_portal import errors
from keyvault_portal.accounts.api import router_entries
from keyvault_portal.accounts.api_auth import HasPermission

router = DefaultRouter()
for prefix, view_set, basename in router_entries:
    router.register(prefix, view_set, basename=basename)


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("home")


def failing(request: HttpRequest, name: str) -> HttpResponse:
    raise ERRORS[name]


class Closed(APIView):
    permission_classes = [HasPermission]

    def get(self, request: object) -> None:
        raise AssertionError("A view that names no permission was entered.")


ERRORS = {
    "refused": errors.PermissionRefused("Not <you>.", hint="Ask."),
    "invalid": errors.ValidationFailed(errors={"name": ["Too short."]}),
    "sign-in": errors.NotAuthenticated(),
    "agreement": errors.ApprovalRequired("3f0a8c52-0000-4000-8000-000000000000", "Two officers must agree."),
    "throttled": errors.Throttled(retry_after=7),
}

urlpatterns = [
    path("", home, name="dashboard"),
    path("settings/", home, name="settings"),
    path("account/", include("keyvault_portal.accounts.account_urls")),
    path("", include("keyvault_portal.accounts.urls")),
    path("audit/", include("keyvault_portal.audit.urls")),
    path("api/v1/", include(router.urls)),
    path("api/closed/", Closed.as_view()),
    path("api/failing/<str:name>/", failing),
    path("failing/<str:name>/", failing),
]
handler404 = "keyvault_portal.edges.page_not_found"
