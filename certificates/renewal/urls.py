"""Pages of renewal, below /certificates/."""

from django.urls import path

from certificates.renewal import views

_managed = "renewals/<uuid:managed_id>/"
_source = "sources/<uuid:source_id>/"
urlpatterns = [
    path("sources/", views.SourceList.as_view(), name="source-list"),
    path("sources/new/", views.SourceCreate.as_view(), name="source-create"),
    path(_source, views.SourceDetail.as_view(), name="source-detail"),
    path(_source + "retry/", views.SourceRetry.as_view(), name="source-retry"),
    path(_source + "retire/", views.SourceRetire.as_view(), name="source-retire"),
    path("dns-hooks/new/", views.DnsHookCreate.as_view(), name="dns-hook-create"),
    path("renewals/", views.RenewalList.as_view(), name="renewal-list"),
    path("renewals/new/", views.RenewalCreate.as_view(), name="renewal-create"),
    path(_managed, views.RenewalDetail.as_view(), name="renewal-detail"),
    path(_managed + "now/", views.RenewNow.as_view(), name="renewal-now"),
    path(_managed + "stop/", views.Stop.as_view(), name="renewal-stop"),
    path(_managed + "resume/", views.Resume.as_view(), name="renewal-resume"),
    path(_managed + "hooks/new/", views.HookCreate.as_view(), name="hook-create"),
    path("hooks/<uuid:hook_id>/remove/", views.HookRemove.as_view(), name="hook-remove"),
    path("deliveries/<uuid:delivery_id>/retry/", views.DeliveryRetry.as_view(), name="delivery-retry"),
]
