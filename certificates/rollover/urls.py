"""Pages of rollovers, below /certificates/."""

from django.urls import path

from certificates.rollover import views

_rollover = "rollovers/<uuid:rollover_id>/"
urlpatterns = [
    path("rollovers/", views.RolloverList.as_view(), name="rollover-list"),
    path("rollovers/new/", views.RolloverCreate.as_view(), name="rollover-create"),
    path(_rollover, views.RolloverDetail.as_view(), name="rollover-detail"),
    path(_rollover + "bundle.pem", views.Bundle.as_view(), name="rollover-bundle"),
    path(_rollover + "step/<slug:to>/", views.Step.as_view(), name="rollover-step"),
    path("relying-parties/", views.PartyList.as_view(), name="party-list"),
    path("relying-parties/<uuid:party_id>/remove/", views.PartyRemove.as_view(), name="party-remove"),
]
