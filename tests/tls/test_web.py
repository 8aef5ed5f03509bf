"""Pages, REST and commands over the pure parts: thin, allowed, on the record."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from certificates.tls.configuration import Configuration
from certificates.tls.forms import ScanForm
from certificates.tls.generator import generate
from certificates.tls.profiles import ProfileName, ServerKind
from keyvault_portal.audit.models import AuditEvent
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.tls.authority import Hierarchy
from tests.tls.test_pins import CHAIN, SPARE_PEM

pytestmark = [pytest.mark.needs_haproxy, pytest.mark.django_db]
HERE = "127.0.0.0/8"


@pytest.fixture
def officer() -> Client:
    return sign_in(make_person("olga", "security_officer"))


@pytest.fixture
def endpoint(asks: Any, run: Any, settings: Any) -> Any:
    """A server with the modern profile on an address that may be scanned."""
    settings.TLS_SCAN_ALLOWED_HOSTS = [HERE, "::1/128"]
    asked = asks(ServerKind.ENVOY, ProfileName.MODERN, names=("localhost",))
    run(asked, generate(asked).text)
    return asked


def test_a_configuration_is_shown_and_downloaded(officer):
    query = {
        "server": "nginx", "profile": "seed", "names": "example.com, www.example.com", "backend": "127.0.0.1:8080", "port": 443,
        "hsts_seconds": 60, "client_depth": 2, "client_authorities": "/etc/clients.pem", "http2": "on",
    }  # fmt: skip
    page = officer.get("/tls/", query).content.decode()
    assert "server_name example.com www.example.com;" in page
    assert "ssl_verify_client on;" in page
    file = officer.get("/tls/", query | {"download": "1"})
    assert file["Content-Disposition"] == 'attachment; filename="example.com.conf"'
    assert file.content.decode().startswith("# nginx, profile seed")
    assert "max-age=60" in file.content.decode()
    internal = {"stapling": "on", "resolvers": "10.0.0.53"}
    assert "resolver 10.0.0.53 valid=300s;" in officer.get("/tls/", query | internal).content.decode()
    assert " resolver " not in officer.get("/tls/", query | {"stapling": "on"}).content.decode()


@pytest.mark.parametrize(("asked", "hybrid"), [("", False), ("true", True), ("false", False)])
def test_the_page_asks_for_the_hybrid_exchange_of_haproxy(officer, asked, hybrid):
    query = {
        "server": "haproxy", "profile": "modern", "names": "example.com", "backend": "127.0.0.1:8080", "port": 443,
        "hsts_seconds": 60, "client_depth": 2, "post_quantum": asked,
    }  # fmt: skip
    page = officer.get("/tls/", query).content.decode()
    assert ("curves X25519MLKEM768:" in page) is hybrid


def test_what_is_wrong_stands_beside_its_field(officer):
    query = {
        "server": "nginx",
        "profile": "seed",
        "names": "a;b",
        "backend": "x",
        "port": 443,
        "hsts_seconds": 0,
        "client_depth": 2,
    }
    page = officer.get("/tls/", query).content.decode()
    assert "is not a host name" in page
    assert "Write host:port" in page
    assert "ssl_certificate" not in page


def test_rest_writes_the_same_file(officer):
    body = {
        "server": "haproxy",
        "profile": "modern",
        "client_authorities": "/ca.pem",
        "client_names": ["service-payments"],
    }
    answer = officer.post("/api/v1/tls/configurations", body, content_type="application/json").json()
    assert answer["name"] == "haproxy.cfg"
    assert "acl known_client ssl_c_s_dn(cn) -m str service-payments" in answer["text"]
    wrong = officer.post(
        "/api/v1/tls/configurations", body | {"key": "/elsewhere.key"}, content_type="application/json"
    )
    assert (wrong.status_code, list(wrong.json()["errors"])) == (422, ["key"])


def test_a_scan_is_graded_compared_and_recorded(officer, endpoint):
    body = {"host": "localhost", "port": endpoint.port, "configuration": {"server": "envoy", "profile": "intermediate"}}
    answer = officer.post("/api/v1/tls/scans", body, content_type="application/json").json()
    assert answer["versions"] == ["TLSv1.3"]
    assert "X25519MLKEM768" in answer["groups"]
    assert (answer["grade"], answer["reasons"]) == ("A+", [])
    assert {entry["setting"] for entry in answer["differences"]} == {"Protocol versions", "TLS 1.2 suites"}
    event = AuditEvent.objects.filter(action="tls.scan").order_by("-seq").first()
    assert event is not None
    assert event.target_id == f"localhost:{endpoint.port}"


def test_the_scan_page(officer, endpoint):
    values = {
        "host": "localhost",
        "port": endpoint.port,
        "profile": "modern",
        "server": "envoy",
        "stapling": "on",
        "http2": "on",
        "hsts_seconds": 63_072_000,
        "hsts_subdomains": "on",
        "hsts_preload": "on",
    }
    page = officer.post("/tls/scan/", values).content.decode()
    assert "Grade A+" in page
    assert "It runs what was generated." in page
    assert "CN=portal.example" in page
    other = values | {"post_quantum": "false", "client_certificates": "optional", "hsts_preload": ""}
    page = officer.post("/tls/scan/", {name: value for name, value in other.items() if value}).content.decode()
    for setting in ("Key exchange groups", "Client certificates", "Strict-Transport-Security"):
        assert setting in page
    assert "also X25519MLKEM768" in page


_PLAIN = {
    "host": "example.com", "port": "443", "server": "haproxy", "profile": "modern", "http2": "on", "stapling": "on",
    "hsts_seconds": "60", "hsts_subdomains": "on", "hsts_preload": "on",
}  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "asked"),
    [
        ({}, {}),
        ({"server": "envoy"}, {"server": "envoy"}),
        ({"profile": "seed"}, {"profile": "seed"}),
        ({"http2": ""}, {"http2": False}),
        ({"stapling": ""}, {"stapling": False}),
        ({"hsts_seconds": "0"}, {"hsts_seconds": 0}),
        ({"hsts_subdomains": ""}, {"hsts_subdomains": False}),
        ({"hsts_preload": ""}, {"hsts_preload": False}),
        ({"post_quantum": "true"}, {"post_quantum": True}),
        ({"post_quantum": "false"}, {"post_quantum": False}),
        ({"client_certificates": "needed"}, {"client_authorities": "/clients.pem"}),
        ({"client_certificates": "optional"}, {"client_authorities": "/clients.pem", "client_optional": True}),
    ],
)
def test_the_scan_page_compares_what_rest_and_command_compare(chosen, asked):
    form = ScanForm({name: value for name, value in (_PLAIN | chosen).items() if value})
    assert form.is_valid(), form.errors
    assert form.compared() == Configuration.of({"server": "haproxy", "profile": "modern", "hsts_seconds": 60} | asked)


def test_what_no_file_can_say_is_said_beside_the_field_and_not_scanned(officer):
    page = officer.post("/tls/scan/", _PLAIN | {"profile": "seed", "post_quantum": "true"}).content.decode()
    assert "take modern or intermediate" in page
    assert not AuditEvent.objects.filter(action="tls.scan").exists()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "192.0.2.1"]
)
def test_what_is_not_allowed_is_not_scanned(officer, host):
    """By default not even the portal's own machine."""
    answer = officer.post("/api/v1/tls/scans", {"host": host, "port": 443}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (422, "host_refused")
    event = AuditEvent.objects.filter(action="tls.scan").order_by("-seq").first()
    assert event is not None
    assert event.outcome == "failed"


@pytest.mark.parametrize(("host", "port"), [("a b", 443), ("x/..", 443), ("host\r\nX: y", 443), ("-a", 1), ("", 443)])
def test_no_host_no_scan(officer, host, port):
    answer = officer.post("/api/v1/tls/scans", {"host": host, "port": port}, content_type="application/json")
    assert answer.status_code == 422


def test_nobody_answers(officer, settings):
    settings.TLS_SCAN_ALLOWED_HOSTS = [HERE]
    answer = officer.post("/api/v1/tls/scans", {"host": "127.0.0.1", "port": 1}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (503, "endpoint_unavailable")
    page = officer.post(
        "/tls/scan/", {"host": "127.0.0.1", "port": 1, "server": "nginx", "hsts_seconds": 0}
    ).content.decode()
    assert "Nothing answers at 127.0.0.1" in page


def test_an_auditor_reads_and_does_not_scan():
    auditor = sign_in(make_person("fay", "auditor"))
    assert auditor.get("/tls/").status_code == 200
    assert auditor.get("/tls/scan/").status_code == 403
    assert auditor.post("/api/v1/tls/scans", {"host": "192.0.2.1"}, content_type="application/json").status_code == 403


def test_pins_by_page_and_by_rest(officer):
    page = officer.post(
        "/tls/pins/", {"domain": "api.example.com", "chain": CHAIN, "backup": SPARE_PEM, "days": 30}
    ).content.decode()
    assert "NSPinnedCAIdentities" in page
    refused = officer.post(
        "/tls/pins/", {"domain": "api.example.com", "chain": CHAIN, "backup": CHAIN, "days": 30}
    ).content.decode()
    assert "A backup is a key that is not in use" in refused
    body = {"domain": "api.example.com", "chain": CHAIN, "backups": [SPARE_PEM]}
    answer = officer.post("/api/v1/tls/pins", body, content_type="application/json").json()
    assert answer["intermediate"] in answer["android"]
    assert answer["leaf"] not in answer["android"]
    none = officer.post("/api/v1/tls/pins", body | {"backups": []}, content_type="application/json")
    assert none.status_code == 422


def test_records_and_manifests(officer):
    assert "letsencrypt.org" in officer.get("/tls/records/").content.decode()
    answer = officer.post("/api/v1/tls/records", {"domain": "example.com"}, content_type="application/json").json()
    assert answer["text"].startswith('example.com. IN CAA 0 issue ";"')
    assert "kind: ClusterIssuer" in officer.get("/tls/manifests/").content.decode()
    body = {"issuer": "ours", "name": "a", "names": ["*.example.com"]}
    wrong = officer.post("/api/v1/tls/manifests", body, content_type="application/json")
    assert list(wrong.json()["errors"]) == ["names"]


def test_the_command_writes_the_file():
    out = StringIO()
    call_command(
        "tls_config", "--server", "envoy", "--profile", "modern", "--names", "a.example", "b.example", stdout=out
    )
    assert "X25519MLKEM768" in out.getvalue()
    out = StringIO()
    call_command("tls_config", "--profile", "modern", "--no-hsts-subdomains", "--no-hsts-preload", stdout=out)
    assert 'Strict-Transport-Security "max-age=63072000" always' in out.getvalue()
    out = StringIO()
    call_command("tls_config", "--profile", "modern", "--resolvers", stdout=out)
    assert " resolver " not in out.getvalue()
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("tls_config", "--profile", "modern", "--names", "a;b")


def test_the_command_scans(endpoint, monkeypatch, hierarchy: Hierarchy):
    monkeypatch.setenv("KEYVAULT_TOKEN", token_of(make_person("otto", "operator")))
    out, where = StringIO(), f"127.0.0.1:{endpoint.port}"
    with pytest.raises(SystemExit):
        call_command("tls_scan", where, "--profile", "intermediate", "--server", "envoy", stdout=out)
    assert "Differs: Protocol versions: without TLSv1.2" in out.getvalue()
    with pytest.raises(CommandError, match="host:port"):
        call_command("tls_scan", "nowhere")
    monkeypatch.delenv("KEYVAULT_TOKEN")
    with pytest.raises(CommandError, match="KEYVAULT_TOKEN"):
        call_command("tls_scan", where)


def test_a_token_scans_with_its_scope_only(endpoint):
    holder = make_person("otto", "operator")
    body = {"host": "127.0.0.1", "port": endpoint.port}
    assert bearer(token_of(holder)).post("/api/v1/tls/scans", body, content_type="application/json").status_code == 200
