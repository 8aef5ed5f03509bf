"""django-allauth's pages below account/, and what answers in place of those that have no use here."""

from django.urls import include, path, re_path, reverse_lazy
from django.views.generic import RedirectView

from keyvault_portal.accounts.views.factors import RemovePasskey

_PROFILE = RedirectView.as_view(url=reverse_lazy("accounts:profile"))
_SIGN_IN = RedirectView.as_view(url=reverse_lazy("account_login"))

urlpatterns = [
    path("sessions/", _PROFILE, name="usersessions_list"),  # one page for sessions: ours
    # Officers change addresses: a password reset goes there, so a stolen session must not be enough.
    path("email/", _PROFILE, name="account_email"),
    re_path("^confirm-email/", _PROFILE, name="account_email_verification_sent"),
    path("login/code/confirm/", _SIGN_IN, name="account_confirm_login_code"),  # nobody is mailed a code
    path("2fa/webauthn/keys/<int:pk>/remove/", RemovePasskey.as_view(), name="mfa_remove_webauthn"),
    path("", include("allauth.urls")),
]
