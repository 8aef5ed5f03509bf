"""Pages below /tls/."""

from django.urls import path

from certificates.tls import views

app_name = "tls"
urlpatterns = [
    path("", views.ConfigurationPage.as_view(), name="configuration"),
    path("scan/", views.ScanPage.as_view(), name="scan"),
    path("pins/", views.PinPage.as_view(), name="pins"),
    path("records/", views.RecordsPage.as_view(), name="records"),
    path("manifests/", views.ManifestPage.as_view(), name="manifests"),
]
