"""Just the paths that notices of approvals link to."""

from django.urls import include, path

urlpatterns = [path("approvals/", include("keyvault_portal.approvals.urls"))]
