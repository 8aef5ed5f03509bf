"""The addresses of ACME servers. Those of accounts stand in clients and in CAA records, so they never change."""

from django.urls import path

from certificates.acme import public_views as views

_above = "acme/<slug:name>/"
urlpatterns = [
    path(_above + "directory", views.Directory.as_view(), name="acme-directory"),
    path(_above + "new-nonce", views.NewNonce.as_view(), name="acme-new-nonce"),
    path(_above + "new-account", views.NewAccount.as_view(), name="acme-new-account"),
    path(_above + "new-order", views.NewOrder.as_view(), name="acme-new-order"),
    path(_above + "revoke-cert", views.RevokeCert.as_view(), name="acme-revoke-cert"),
    path(_above + "key-change", views.KeyChange.as_view(), name="acme-key-change"),
    path(_above + "account/<uuid:account_id>", views.Account.as_view(), name="acme-account"),
    path(_above + "account/<uuid:account_id>/orders", views.AccountOrders.as_view(), name="acme-account-orders"),
    path(_above + "order/<uuid:order_id>", views.Order.as_view(), name="acme-order"),
    path(_above + "order/<uuid:order_id>/finalize", views.Finalize.as_view(), name="acme-finalize"),
    path(_above + "authorization/<uuid:authorization_id>", views.Authorization.as_view(), name="acme-authorization"),
    path(_above + "challenge/<uuid:challenge_id>", views.Challenge.as_view(), name="acme-challenge"),
    path(_above + "certificate/<uuid:certificate_id>", views.CertificateChain.as_view(), name="acme-certificate"),
    path(
        _above + "certificate/<uuid:certificate_id>/<int:number>",
        views.CertificateChain.as_view(),
        name="acme-certificate-alternate",
    ),
    path(_above + "renewal-info/<str:identifier>", views.RenewalInfo.as_view(), name="acme-renewal-info"),
]
