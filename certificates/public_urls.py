"""Where relying parties look; the addresses stand in certificates, so they never change."""

from django.urls import path

from certificates import public_views as views

urlpatterns = [
    path("pki/<slug:name>/ca.cer", views.certificate, name="pki-ca"),
    path("pki/<slug:name>/chain.pem", views.chain, name="pki-chain"),
    path("pki/<slug:name>/crls.pem", views.lists, name="pki-crls"),
    path("pki/<slug:name>/crl", views.crl, name="pki-crl"),
    path("pki/<slug:name>/crl/delta", views.delta, name="pki-crl-delta"),
    path("pki/<slug:name>/crl/<int:partition>", views.crl, name="pki-crl-partition"),
    path("pki/<slug:name>/ocsp", views.OcspPost.as_view(), name="pki-ocsp"),
    path("pki/<slug:name>/ocsp/<path:question>", views.OcspGet.as_view(), name="pki-ocsp-get"),
]
