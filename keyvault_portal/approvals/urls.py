"""Pages below /approvals/."""

from django.urls import path

from keyvault_portal.approvals import views

app_name = "approvals"
urlpatterns = [
    path("", views.Inbox.as_view(), name="inbox"),
    path("notices/", views.Notices.as_view(), name="notices"),
    path("signing-keys/", views.SigningKeys.as_view(), name="signing-keys"),
    path("signing-keys/<int:pk>/remove/", views.SigningKeyRemove.as_view(), name="signing-key-remove"),
    path("<uuid:request_id>/statement/", views.Statement.as_view(), name="statement"),
    path("<uuid:request_id>/", views.Detail.as_view(), name="detail"),
    path("<uuid:request_id>/approve/", views.Approve.as_view(), name="approve"),
    path("<uuid:request_id>/reject/", views.Reject.as_view(), name="reject"),
    path("<uuid:request_id>/withdraw/", views.Withdraw.as_view(), name="withdraw"),
    path("<uuid:request_id>/break-glass/", views.BreakGlass.as_view(), name="break-glass"),
]
