"""Rules of TLS configuration, endpoints that are watched, and logs."""

from typing import Any

from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import (
    API_CA,
    CA,
    Rule,
    acts,
    lists,
    makes,
    sees,
)
from tests.api.world import EVERYTHING, HERE, World

_TLS_CONFIGURATION = {"server": "nginx", "profile": "modern"}
_TLS_SCAN = {"host": "192.0.2.1", "port": 443}  # in no allowed network
_TLS_MANIFEST = {"issuer": "ours", "name": "example-com", "names": ["example.com"]}


def _target(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "host": "10.77.0.1"}


def _monitor(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "Log", "url": "https://10.77.0.1/log/", "domains": ["example.org"],
        "public_key": world.objects["log_key"], "every_minutes": 60,
    }  # fmt: skip


def _agent(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "host": "web-1", "found": [{"path": "/a.pem", "pem": ""}]}


_RANGE = {"value": "10.88.0.0/16", "reason": "A test."}
_LOG_LIST = {
    "content": {"version": "1", "log_list_timestamp": "2026-01-01T00:00:00Z", "operators": []}, "provenance": "A test.",
}  # fmt: skip
_ENDPOINT = {"view": P.TLS_VIEW}
_API_ENDPOINT = {"view": P.TLS_VIEW, "opens": P.TLS_VIEW}


RULES: dict[str, Rule] = {
    "GET tls:configuration": lists(P.TLS_VIEW),
    "GET tls:scan": lists(P.TLS_SCAN),
    "POST tls:scan": Rule(
        (P.TLS_SCAN,), acts=(P.TLS_SCAN, EVERYTHING), body=_TLS_SCAN | {"server": "nginx", "hsts_seconds": 0}
    ),
    "GET tls:pins": lists(P.TLS_VIEW),
    "POST tls:pins": lists(P.TLS_VIEW),
    "GET tls:records": lists(P.TLS_VIEW),
    "GET tls:manifests": lists(P.TLS_VIEW),
    "GET certificates:target-list": lists(P.TLS_VIEW),
    "GET certificates:target-create": lists(P.TLS_SCAN),
    "POST certificates:target-create": makes(P.TLS_SCAN, lambda world: _target(world) | {"port": 443}, hidden=422),
    "GET certificates:target-detail": sees(P.TLS_VIEW),
    "POST certificates:target-scan": acts(P.TLS_SCAN, **_ENDPOINT),
    "GET certificates:target-remove": acts(P.TLS_SCAN, **_ENDPOINT),
    "POST certificates:target-remove": acts(P.TLS_SCAN, **_ENDPOINT),
    "GET certificates:range-list": lists(P.TLS_VIEW),
    "POST certificates:range-list": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_RANGE),
    "POST certificates:range-withdraw": Rule((P.SETTINGS_MANAGE,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "GET certificates:transparency": lists(P.CERTIFICATE_VIEW),
    "GET certificates:log-list-upload": lists(P.SETTINGS_MANAGE),
    "POST certificates:log-list-upload": lists(P.SETTINGS_MANAGE),  # without its file the form refuses everybody alike
    "GET certificates:monitor-create": lists(P.TLS_SCAN),
    "POST certificates:monitor-create": makes(
        P.TLS_SCAN, lambda world: _monitor(world) | {"domains": "example.org"}, hidden=422
    ),
    "GET certificates:monitor-detail": sees(P.CERTIFICATE_VIEW),
    "POST certificates:monitor-read": acts(P.TLS_SCAN, **CA),
    "GET certificates:monitor-remove": acts(P.TLS_SCAN, **CA),
    "POST certificates:monitor-remove": acts(P.TLS_SCAN, **CA),
    "POST api-certificate-report-list": Rule(
        (P.CERTIFICATE_REPORT,), acts=(P.CERTIFICATE_REPORT, HERE), body=_agent, hidden=422
    ),
    "GET api-scan-range-list": lists(P.TLS_VIEW),
    "POST api-scan-range-list": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_RANGE),
    "GET api-scan-range-detail": lists(P.TLS_VIEW),
    "DELETE api-scan-range-detail": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "GET api-scan-target-list": lists(P.TLS_VIEW),
    "POST api-scan-target-list": Rule((P.TLS_VIEW,), acts=(P.TLS_SCAN, HERE), body=_target, hidden=422),
    "GET api-scan-target-detail": sees(P.TLS_VIEW),
    "DELETE api-scan-target-detail": acts(P.TLS_SCAN, **_API_ENDPOINT),
    "POST api-scan-target-scan": acts(P.TLS_SCAN, **_API_ENDPOINT),
    "GET api-scan-target-scans": sees(P.TLS_VIEW),
    "GET api-log-list-list": lists(P.CERTIFICATE_VIEW),
    "POST api-log-list-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_LOG_LIST),
    "GET api-log-list-detail": lists(P.CERTIFICATE_VIEW),
    "GET api-log-monitor-list": lists(P.CERTIFICATE_VIEW),
    "POST api-log-monitor-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.TLS_SCAN, HERE), body=_monitor, hidden=422),
    "GET api-log-monitor-detail": sees(P.CERTIFICATE_VIEW),
    "DELETE api-log-monitor-detail": acts(P.TLS_SCAN, **API_CA),
    "POST api-log-monitor-read": acts(P.TLS_SCAN, **API_CA),
    "GET api-log-monitor-findings": sees(P.CERTIFICATE_VIEW),
    "POST api-tls-configuration": Rule((P.TLS_VIEW,), body=_TLS_CONFIGURATION),
    "POST api-tls-scan": Rule((P.TLS_SCAN,), acts=(P.TLS_SCAN, EVERYTHING), body=_TLS_SCAN),
    "POST api-tls-pins": Rule((P.TLS_VIEW,), body={"domain": "example.com", "chain": "none", "backups": ["none"]}),
    "POST api-tls-records": Rule((P.TLS_VIEW,), body={"domain": "example.com", "issuers": ["letsencrypt.org"]}),
    "POST api-tls-manifests": Rule((P.TLS_VIEW,), body=_TLS_MANIFEST),
}
