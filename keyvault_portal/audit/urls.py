"""Paths of the record's pages."""

from django.urls import path

from keyvault_portal.audit import views

app_name = "audit"

urlpatterns = [
    path("", views.EventList.as_view(), name="event-list"),
    path("news", views.EventNews.as_view(), name="event-news"),
    path("export", views.Export.as_view(), name="export"),
    path("evidence", views.Evidence.as_view(), name="evidence"),
    path("checkpoints", views.CheckpointList.as_view(), name="checkpoint-list"),
    path("checkpoints/<int:size>", views.CheckpointNote.as_view(), name="checkpoint-note"),
    path("<int:seq>", views.EventDetail.as_view(), name="event-detail"),
]
