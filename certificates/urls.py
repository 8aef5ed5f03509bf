"""Pages below /certificates/."""

from django.urls import path

from certificates.renewal.urls import urlpatterns as renewal_urls
from certificates.rollover.urls import urlpatterns as rollover_urls
from certificates.views import acts, authorities, calendar, certificates, endpoints, transparency

app_name = "certificates"
_authority = "authorities/<uuid:authority_id>/"
_certificate = "<uuid:certificate_id>/"
_target, _monitor = "endpoints/<uuid:target_id>/", "transparency/<uuid:monitor_id>/"
urlpatterns = [
    *renewal_urls,
    *rollover_urls,
    path("", certificates.CertificateList.as_view(), name="certificate-list"),
    path("expiry/", calendar.ExpiryCalendar.as_view(), name="expiry"),
    path("upload/", certificates.Upload.as_view(), name="upload"),
    path("revoke-many/", acts.RevokeMany.as_view(), name="revoke-many"),
    path("endpoints/", endpoints.TargetList.as_view(), name="target-list"),
    path("endpoints/new/", endpoints.TargetCreate.as_view(), name="target-create"),
    path("endpoints/ranges/", endpoints.RangeList.as_view(), name="range-list"),
    path("endpoints/ranges/<int:range_id>/withdraw/", endpoints.RangeWithdraw.as_view(), name="range-withdraw"),
    path(_target, endpoints.TargetDetail.as_view(), name="target-detail"),
    path(_target + "scan/", endpoints.TargetScan.as_view(), name="target-scan"),
    path(_target + "remove/", endpoints.TargetRemove.as_view(), name="target-remove"),
    path("transparency/", transparency.Transparency.as_view(), name="transparency"),
    path("transparency/list/", transparency.LogListUpload.as_view(), name="log-list-upload"),
    path("transparency/new/", transparency.MonitorCreate.as_view(), name="monitor-create"),
    path(_monitor, transparency.MonitorDetail.as_view(), name="monitor-detail"),
    path(_monitor + "read/", transparency.MonitorRead.as_view(), name="monitor-read"),
    path(_monitor + "remove/", transparency.MonitorRemove.as_view(), name="monitor-remove"),
    path(_certificate, certificates.CertificateDetail.as_view(), name="certificate-detail"),
    path(_certificate + "chain.pem", certificates.CertificateDownload.as_view(), name="certificate-download"),
    path(_certificate + "renew/", certificates.Renew.as_view(), name="certificate-renew"),
    path(_certificate + "renew-key/", certificates.RenewKey.as_view(), name="certificate-renew-key"),
    path(_certificate + "revoke/", certificates.RevokeCertificate.as_view(), name="certificate-revoke"),
    path(_certificate + "release/", certificates.Release.as_view(), name="certificate-release"),
    path("authorities/", authorities.AuthorityTree.as_view(), name="authority-list"),
    path("authorities/new/", authorities.AuthorityCreate.as_view(), name="authority-create"),
    path("authorities/import/", authorities.AuthorityImport.as_view(), name="authority-import"),
    path("authorities/import-key/", authorities.AuthorityKeyImport.as_view(), name="authority-import-key"),
    path(_authority, authorities.AuthorityDetail.as_view(), name="authority-detail"),
    path(_authority + "issue/", certificates.Issue.as_view(), name="issue"),
    path(_authority + "issue-key/", certificates.IssueKey.as_view(), name="issue-key"),
    path(_authority + "issue-for-key/", acts.IssueForKey.as_view(), name="issue-for-key"),
    path(_authority + "cross-sign/", authorities.CrossSign.as_view(), name="cross-sign"),
    path(_authority + "crl/", authorities.PublishCrl.as_view(), name="publish-crl"),
    path(_authority + "retire/", authorities.Retire.as_view(), name="authority-retire"),
    path(_authority + "resume/", authorities.Resume.as_view(), name="authority-resume"),
    path(_authority + "revoke/", authorities.Revoke.as_view(), name="authority-revoke"),
]
