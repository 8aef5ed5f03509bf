"""Routes of the data plane below /api/v1/."""

from django.urls import path

from keys.dataplane.operations import OPERATIONS
from keys.dataplane.views import endpoint

urlpatterns = [
    path(f"keys/<uuid:key_id>/{name}", endpoint(name), name="data-" + name.replace("/", "-")) for name in OPERATIONS
]
