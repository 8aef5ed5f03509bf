"""Routes below /v1/: transit on every key ring, and what clients ask of the system."""

from django.urls import path

from keys.vault import views
from keys.vault.transit import OPERATIONS

_key = "<slug:ring>/{}/<slug:key>"
urlpatterns = [
    path("sys/health", views.health, name="vault-health"),
    path("sys/seal-status", views.seal_status, name="vault-seal-status"),
    path("sys/leader", views.leader, name="vault-leader"),
    path("auth/token/lookup-self", views.own_token, name="vault-own-token"),
    *(path(_key.format(name), views.use(name), name="vault-" + name.replace("/", "-")) for name in OPERATIONS),
    *(
        path(_key.format(name) + "/<str:algorithm>", views.use(name), name=f"vault-{name}-by-hash")
        for name in ("sign", "hmac", "verify")
    ),
    path("<slug:ring>/keys", views.key_names, name="vault-key-names"),
    path("<slug:ring>/keys/<slug:key>", views.key_detail, name="vault-key"),
    path("<slug:ring>/keys/<slug:key>/<slug:act>", views.governed, name="vault-governed"),
    path("<path:elsewhere>", views.nowhere, name="vault-nowhere"),
]
