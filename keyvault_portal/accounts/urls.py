"""Pages of people, rings, tokens and one's own account."""

from django.urls import path

from keyvault_portal.accounts.views import entrance

app_name = "accounts"
urlpatterns = [
    path("set-up/<str:link>/", entrance.SetupView.as_view(), name="setup"),
    path("sign-in/<str:link>/", entrance.SignInLinkView.as_view(), name="sign-in-link"),
]
