"""Pages below /certificates/acme/."""

from django.urls import path

from certificates.acme import views

app_name = "acme"
urlpatterns = [
    path("orders/", views.OrderList.as_view(), name="order-list"),
    path("orders/<uuid:order_id>/", views.OrderDetail.as_view(), name="order-detail"),
    path("accounts/", views.AccountList.as_view(), name="account-list"),
    path("accounts/<uuid:account_id>/revoke/", views.RevokeAccount.as_view(), name="account-revoke"),
    path("keys/<uuid:external_id>/revoke/", views.RevokeKey.as_view(), name="external-key-revoke"),
    path("<uuid:authority_id>/", views.ServerDetail.as_view(), name="server-detail"),
    path("<uuid:authority_id>/rules/", views.ServerRules.as_view(), name="server-rules"),
    path("<uuid:authority_id>/stop/", views.Stop.as_view(), name="server-stop"),
    path("<uuid:authority_id>/start/", views.Start.as_view(), name="server-start"),
    path("<uuid:authority_id>/keys/new/", views.NewKey.as_view(), name="external-key-create"),
]
