"""Pages of people, rings, tokens and one's own account."""

from django.urls import path

from keyvault_portal.accounts.views import entrance, people, profile, rings, tokens

app_name = "accounts"
urlpatterns = [
    path("set-up/<str:link>/", entrance.SetupView.as_view(), name="setup"),
    path("sign-in/<str:link>/", entrance.SignInLinkView.as_view(), name="sign-in-link"),
    path("people/", people.PersonList.as_view(), name="person-list"),
    path("people/invite/", people.Invite.as_view(), name="person-invite"),
    path("people/<uuid:pk>/", people.PersonPage.as_view(), name="person-detail"),
    path("people/<uuid:pk>/edit/", people.EditPerson.as_view(), name="person-edit"),
    path("people/<uuid:pk>/invite/", people.InviteAgain.as_view(), name="person-invite-again"),
    path("people/<uuid:pk>/deactivate/", people.ChangeActive.as_view(), name="person-deactivate"),
    path("people/<uuid:pk>/reactivate/", people.ChangeActive.as_view(deactivates=False), name="person-reactivate"),
    path("people/<uuid:pk>/roles/", people.BindRole.as_view(), name="role-bind"),
    path("roles/<uuid:pk>/remove/", people.UnbindRole.as_view(), name="role-unbind"),
    path("rings/", rings.RingList.as_view(), name="ring-list"),
    path("rings/new/", rings.NewRing.as_view(), name="ring-create"),
    path("rings/<uuid:pk>/", rings.RingPage.as_view(), name="ring-detail"),
    path("rings/<uuid:pk>/edit/", rings.EditRing.as_view(), name="ring-edit"),
    path("tokens/", tokens.TokenList.as_view(), name="token-list"),
    path("tokens/new/", tokens.NewToken.as_view(), name="token-create"),
    path("tokens/<uuid:pk>/revoke/", tokens.RevokeToken.as_view(), name="token-revoke"),
    path("profile/", profile.Profile.as_view(), name="profile"),
    path("profile/sessions/end-others/", profile.RevokeOtherSessions.as_view(), name="session-revoke-others"),
    path("sessions/<int:pk>/end/", profile.RevokeSession.as_view(), name="session-revoke"),
]
