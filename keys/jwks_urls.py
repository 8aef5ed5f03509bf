"""Where verifiers look for public keys; included at the root, since the first path is fixed by RFC 8615."""

from django.urls import path

from keys import jwks_views

urlpatterns = [
    path(".well-known/jwks.json", jwks_views.all_keys, name="jwks"),
    path("jwks/<slug:ring>/<slug:name>.json", jwks_views.one_key, name="jwks-key"),
]
