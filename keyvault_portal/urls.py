"""The URL map: each app owns the paths below its prefix."""

from django.urls import include, path

urlpatterns = [
    path("account/", include("allauth.urls")),
]
