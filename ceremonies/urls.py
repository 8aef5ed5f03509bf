"""Pages of ceremonies, below /ceremonies/."""

from django.urls import path

from ceremonies.views import guests, plans, register, room, scripts, shares, subjects

app_name = "ceremonies"
urlpatterns = [
    path("", plans.CeremonyList.as_view(), name="list"),
    path("new/", plans.CeremonyCreate.as_view(), name="create"),
    path("offline.py", register.OfflineTool.as_view(), name="offline-tool"),
    path("custody/", register.Register.as_view(), name="register"),
    path("custody/seal/", register.SealShare.as_view(), name="seal-share"),
    path("custody/<int:share_id>/", register.ShareDetail.as_view(), name="share-detail"),
    path("custody/<int:share_id>/acknowledge/", register.ShareAcknowledge.as_view(), name="share-acknowledge"),
    path("custody/<int:share_id>/accept-risk/", register.RiskAccept.as_view(), name="share-accept-risk"),
    path("sets/<uuid:generation_id>/package", register.Package.as_view(), name="package"),
    path("sets/<uuid:generation_id>/print/", register.PackagePrint.as_view(), name="package-print"),
    path("scripts/", scripts.ScriptList.as_view(), name="script-list"),
    path("scripts/new/", scripts.ScriptUpload.as_view(), name="script-upload"),
    path("scripts/<str:label>/", scripts.ScriptDetail.as_view(), name="script-detail"),
    path("join/<str:link>/", guests.Join.as_view(), name="join"),
    path("<uuid:ceremony_id>/", plans.CeremonyDetail.as_view(), name="detail"),
    path("<uuid:ceremony_id>/people/", plans.PersonAdd.as_view(), name="person-add"),
    path("<uuid:ceremony_id>/people/<uuid:participant_id>/remove/", plans.PersonRemove.as_view(), name="person-remove"),
    path("<uuid:ceremony_id>/people/<uuid:participant_id>/invite/", plans.PersonInvite.as_view(), name="person-invite"),
    path("<uuid:ceremony_id>/subject/", subjects.Subject.as_view(), name="subject"),
    path("<uuid:ceremony_id>/people/invite/", plans.PeopleInvite.as_view(), name="people-invite"),
    path("<uuid:ceremony_id>/open/", plans.OpenRoom.as_view(), name="open"),
    path("<uuid:ceremony_id>/replan/", plans.Replan.as_view(), name="replan"),
    path("<uuid:ceremony_id>/call-off/", plans.CallOff.as_view(), name="call-off"),
    path("<uuid:ceremony_id>/calendar.ics", plans.Calendar.as_view(), name="calendar"),
    path("<uuid:ceremony_id>/minutes.pdf", plans.Minutes.as_view(), name="minutes"),
    path("<uuid:ceremony_id>/room/", room.Room.as_view(), name="room"),
    path("<uuid:ceremony_id>/room/live/", room.RoomLive.as_view(), name="room-live"),
    path("<uuid:ceremony_id>/room/share/", shares.MyShare.as_view(), name="room-share"),
    path("<uuid:ceremony_id>/room/sealed-share/", shares.MySealedShare.as_view(), name="room-sealed-share"),
    path("<uuid:ceremony_id>/room/<slug:act>/", room.RoomAct.as_view(), name="room-act"),
]
