"""A pebble for the whole file run, a ring that seals its values, and a webhook receiver that writes into pebble's DNS."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from certificates.models import AcmeSource, DnsHook, ManagedCertificate, RenewalOrder
from certificates.renewal import managing, ordering, sources
from keys.crypto.secret import SecretBytes
from keys.services import stores
from tests.keys.conftest import auditor, fresh_caches, officer, service, tree
from tests.remembered import remembered
from tests.renewal.pebble import Pebble, running

__all__ = ["auditor", "fresh_caches", "officer", "service", "tree"]
SECRET = SecretBytes(b"a secret of both ends")


@pytest.fixture(scope="session")
def pebble_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble")) as found:
        yield found


@pytest.fixture
def pebble(pebble_process: Pebble) -> Pebble:
    pebble_process.door.reset()
    return pebble_process


@dataclass
class Receiver:
    """A webhook's receiver: what it was sent, and what it answers (the first of `answers`, then 204)."""

    port: int = 0
    calls: list[tuple[dict[str, Any], str, bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    act: Callable[[dict[str, Any]], None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event = json.loads(body)
            status = found.answers.pop(0) if found.answers else 204
            found.calls.append((event, self.headers["Portal-Signature"], body))
            if found.act is not None and status < 300:
                found.act(event)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.fixture
def dns(receiver: Receiver, pebble: Pebble) -> Receiver:
    """The receiver puts TXT records where pebble looks for them."""

    def write(event: dict[str, Any]) -> None:
        if event.get("action") == "present":
            pebble.txt(event["name"], event["value"])
        elif event.get("action") == "cleanup":
            pebble.clear_txt(event["name"])

    receiver.act = write
    return receiver


@pytest.fixture
def home(tree: Any, settings: Any, tmp_path: Path) -> Any:
    """The hierarchy with a data key for the portal's own values, loopback allowed and a folder to deploy into."""
    remembered("sealed values", lambda: stores.register_sealed_values(actor=tree.officer, key=tree.dek))
    settings.ACME_ALLOWED_HOSTS = settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.0/8"]
    folder = tmp_path / "deployed"
    folder.mkdir()
    settings.CERTIFICATE_DEPLOY_DIRS = [str(folder)]
    tree.folder = folder
    return tree


def make_source(home: Any, pebble: Pebble, **more: Any) -> AcmeSource:
    values: dict[str, Any] = {
        "name": "pebble", "directory": pebble.door.directory, "contacts": ["pki@example.org"], "agree_to_terms": True, "ca_bundle": pebble.bundle,
    } | more  # fmt: skip
    row = sources.register_source(actor=home.officer, ring=home.ring, **values)
    sources.complete_registration(row.pk)
    row.refresh_from_db()
    return row


def make_hook(home: Any, receiver: Receiver) -> DnsHook:
    return sources.register_dns_hook(
        actor=home.officer,
        ring=home.ring,
        name="hook",
        kind="webhook",
        address=receiver.url,
        secret=SECRET,
        wait_seconds=0,
    )


def ask(home: Any, source: AcmeSource, hook: DnsHook | None, *names: str, **more: Any) -> ManagedCertificate:
    """A managed certificate for a fresh exportable key, its first order not carried on yet."""
    key = more.pop("key", None) or home.make("www", "transport", "ECDSA-P256-SHA256", home.kek, exportable=True)
    wanted = [(kind, value) for kind, _, value in (name.partition(":") for name in names or ("dns:www.example.org",))]
    return managing.obtain_certificate(
        actor=home.officer, source_id=source.pk, key_id=key.pk, names=wanted, challenge="dns-01" if hook else "http-01",
        dns_hook_id=hook.pk if hook else None, **more,
    )  # fmt: skip


def carry(row: ManagedCertificate) -> RenewalOrder:
    """Carry its open order to the end, as workers would."""
    for _ in range(20):
        RenewalOrder.objects.filter(managed=row, finished_at=None).update(next_try_at=timezone.now())
        order = RenewalOrder.objects.filter(managed=row).order_by("-created_at").first()
        assert order is not None
        found = ordering.carry_on(order.pk)
        if found is not None and found.finished_at:
            return found
    raise AssertionError(f"{order.state}: {order.error}")
