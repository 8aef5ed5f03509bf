"""The handshake matrix: what a running server does, against what its profile says. An empty list is a pass."""

import time
from collections.abc import Iterator

from certificates.tls.configuration import Configuration
from certificates.tls.profiles import ServerKind
from certificates.tls.suites import HYBRID, VERSIONS
from tests.tls import clients
from tests.tls.authority import Hierarchy

# Suites that no profile lets in, known to the OpenSSL of the tests.
STAPLE_SECONDS = 60  # how long nginx is given to fetch its first one
BAD_CIPHERS = (
    "ECDHE-{auth}-AES128-SHA", "ECDHE-{auth}-AES256-SHA384", "AES128-GCM-SHA256", "AES256-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL-SHA256",
)  # fmt: skip
CURVES = ("X25519", "P-256", "P-384", "P-521")
# In which way each server refuses a client: 0 is the end of the handshake, else the status of an answer inside TLS.
REFUSALS = {ServerKind.NGINX: {400, 403}, ServerKind.ENVOY: {0}, ServerKind.HAPROXY: {0, 403}}
SPOOFED = {
    "X-Client-CN": "evil", "x-client-verify": "evil", "X-CLIENT-DN": "evil", "X_Client_CN": "evil", "X-Client_Serial": "evil",
    "X-Client-URI": "evil", "X-Client-DNS": "evil", "X-Client-Fingerprint": "evil",
}  # fmt: skip


def tls_faults(asked: Configuration, hierarchy: Hierarchy, kind: str) -> Iterator[str]:
    """Versions, suites, groups, protocol, staple and HSTS of a server without client certificates."""
    rules = asked.rules
    for version in VERSIONS:
        wanted = version in rules.versions
        if clients.accepts_version(asked.port, version) != wanted:
            yield f"{version} is {'refused' if wanted else 'accepted'}"
    auth = "ECDSA" if kind == "ec" else "RSA"
    mine = {cipher for cipher in rules.ciphers if f"-{auth}-" in cipher}
    for cipher in mine | {cipher.format(auth=auth) for cipher in BAD_CIPHERS}:
        if clients.accepts_cipher(asked.port, cipher) != (cipher in mine):
            yield f"{cipher} is {'refused' if cipher in mine else 'accepted'}"
    for suite in rules.suites13:
        if not clients.accepts(asked.port, "-tls1_3", "-ciphersuites", suite):
            yield f"{suite} is refused"
    for suite in ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"):
        if clients.accepts(asked.port, "-tls1_3", "-ciphersuites", suite):
            yield f"{suite} is accepted"
    for curve in CURVES:
        wanted = curve in rules.groups
        if clients.accepts(asked.port, "-tls1_3", "-groups", curve) != wanted:
            yield f"{curve} is {'refused' if wanted else 'accepted'}"
    found = clients.shake(asked.port)
    if asked.server is ServerKind.ENVOY and (found.group == HYBRID) != asked.hybrid:
        yield f"the group is {found.group}"
    if found.protocol != "h2":
        yield f"ALPN says {found.protocol}"
    yield from _staple_faults(asked, hierarchy, kind)
    if clients.is_given_a_ticket(asked.port, rules.minimum):
        yield "a session ticket is given"
    answer = clients.get(asked.port, hierarchy.path("root.pem"), headers=SPOOFED)
    yield from _header_faults(asked, answer)


def _staple_faults(asked: Configuration, hierarchy: Hierarchy, kind: str) -> Iterator[str]:
    """nginx fetches its first staple while it answers the first client: ask until it has one."""
    deadline = time.monotonic() + STAPLE_SECONDS
    staple = clients.shake(asked.port).staple
    while not staple and asked.server is ServerKind.NGINX and time.monotonic() < deadline and asked.stapling:
        time.sleep(0.02)
        staple = clients.shake(asked.port).staple
    if not staple:
        yield "nothing is stapled"
    elif said := clients.is_valid_staple(staple, hierarchy.folder, kind):
        yield f"the staple is not valid: {said}"


def _header_faults(asked: Configuration, answer: clients.Answer) -> Iterator[str]:
    if answer.status != 200:
        yield f"a request is answered with {answer.status}"
    if answer.headers.get("strict-transport-security") != asked.hsts:
        yield f"HSTS is {answer.headers.get('strict-transport-security')}"
    if spoofed := [name for name, value in answer.seen if value == "evil"]:
        yield f"the back end is sent the client's own {', '.join(spoofed)}"


def client_faults(asked: Configuration, hierarchy: Hierarchy) -> Iterator[str]:
    """Who comes in with which certificate, and what the back end learns of the one who does."""
    root = hierarchy.path("root.pem")
    serial = hierarchy.people["right"].certificate.serial_number
    answer = clients.get(asked.port, root, client=hierarchy.path("right.client.pem"), headers=SPOOFED)
    yield from _header_faults(asked, answer)
    told = {name.lower(): value for name, value in answer.seen}
    if told.get("x-client-verify") != "SUCCESS" or int(told.get("x-client-serial", "0"), 16) != serial:
        yield f"the back end is told {told}"
    if (
        "CN=service-payments" not in told.get("x-client-dn", "")
        or told.get("x-client-cn", "service-payments") != "service-payments"
    ):
        yield f"the back end is told {told}"
    for name in (None, *(name for name in hierarchy.people if name != "right")):
        got = clients.get(asked.port, root, client=hierarchy.path(f"{name}.client.pem") if name else "").status
        if got not in REFUSALS[asked.server]:
            yield f"a client with {'no' if name is None else f'a {name}'} certificate is answered with {got}"
