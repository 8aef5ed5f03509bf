"""The ACME client (RFC 8555) over certbot's `acme` library: what it may reach, how often it tries, and what its errors mean."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar

import josepy
import requests
from acme import errors, messages
from acme.client import ClientNetwork, ClientV2
from acme.messages import STATUS_INVALID, STATUS_PENDING, STATUS_READY, STATUS_VALID
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from certificates.names import Name
from certificates.renewal.web import SECONDS, acme_rule, open_session
from keys.crypto.jwk import b64url, jose_signature, public_jwk
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import PortalError

NONCE_TRIES = 6  # a CA may refuse good nonces; each refusal brings a new one (RFC 8555, 6.5)
_PASSING = {"badNonce", "rateLimited", "serverInternal", "orderNotReady"}

__all__ = [
    "STATUS_INVALID",
    "STATUS_PENDING",
    "STATUS_READY",
    "STATUS_VALID",
    "AcmeCa",
    "AcmeFailed",
    "Window",
    "opened",
]


class AcmeFailed(PortalError):
    """The CA refused, or could not be asked. `passing`: the same may work later, not before `wait` if that is known."""

    status: ClassVar[int] = 502
    code, title = "acme_failed", "The ACME CA did not do what was asked"

    def __init__(self, detail: str, *, passing: bool, wait: timedelta | None = None, kind: str = "") -> None:
        super().__init__(detail, kind=kind)
        self.passing, self.wait, self.kind = passing, wait, kind


@dataclass(frozen=True, slots=True)
class Window:
    """When the CA wants a certificate renewed (RFC 9773, 4.2), and when to ask again."""

    start: datetime
    end: datetime
    explanation: str
    ask_again: datetime


class _Network(ClientNetwork):
    """The library's network with our connections, more patience with nonces, and Retry-After kept."""

    def __init__(self, key: josepy.JWK | None, ca_bundle: str) -> None:
        super().__init__(key, alg=josepy.ES256, user_agent="keyvault-portal", timeout=int(SECONDS))
        self.session.close()
        self.session = open_session(acme_rule(), ca_bundle)
        self.retry_after = ""

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send_request(method, url, *args, **kwargs)
        self.retry_after = response.headers.get("Retry-After", "")
        return response

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        return _patiently(lambda: self._post_once(*args, **kwargs))

    def nonce(self, url: str, new_nonce: str) -> str:
        """One that was not used yet, in base64url."""
        found: Any = self._get_nonce(url, new_nonce)  # bytes, whatever the library says of it
        return b64url(found)

    def post_signed(self, url: str, jws: dict[str, str]) -> None:
        """Send a request that another key than the account's has signed."""
        headers = {"Content-Type": self.JOSE_CONTENT_TYPE}
        answer = self._send_request("POST", url, data=json.dumps(jws), headers=headers)
        self._add_nonce(self._check_response(answer, content_type=None))


def _patiently[T](post: Callable[[], T]) -> T:
    for left in reversed(range(NONCE_TRIES)):
        try:
            return post()
        except messages.Error as error:
            if error.code != "badNonce" or not left:
                raise
    raise AssertionError


def _encoded(content: dict[str, Any]) -> str:
    return b64url(json.dumps(content).encode())


class _Order(messages.NewOrder):
    """A new order that names the certificate it replaces (RFC 9773, 5)."""

    replaces: str | None = josepy.field("replaces", omitempty=True)


class AcmeCa:
    """One CA for one account. Every method raises AcmeFailed, or HostRefused for an address the portal does not connect to."""

    def __init__(self, client: ClientV2, network: _Network, key: josepy.JWK | None) -> None:
        self._client, self._network, self._key = client, network, key

    @property
    def terms(self) -> str:
        """Address of the terms of service; empty where there are none."""
        return str(self._client.directory.meta.terms_of_service or "")

    @property
    def wants_binding(self) -> bool:
        return bool(self._client.external_account_required())

    @property
    def offers_renewal_info(self) -> bool:
        return "renewalInfo" in self._client.directory.to_partial_json()

    def register(self, contacts: list[str], binding: tuple[str, SecretBytes] | None) -> str:
        """Make the account, or find it if its key has one; returns its URL. `binding` is key id and HMAC key (RFC 8555, 7.3.4)."""
        assert self._key is not None
        bound = None
        if binding is not None:
            bound = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), binding[0], binding[1].reveal().decode(), self._client.directory
            )
        contact = tuple(f"mailto:{address}" for address in contacts)
        wanted = messages.NewRegistration.from_data(
            contact=contact, terms_of_service_agreed=True, external_account_binding=bound
        )

        def make() -> str:
            try:
                return str(self._client.new_account(wanted).uri)
            except errors.ConflictError as known:
                return str(known.location)

        return self._call(make)

    def new_order(self, names: list[Name], replaces: str) -> tuple[str, messages.Order]:
        """Order a certificate for these names; `replaces` is the RFC 9773 identifier of the one it replaces, or empty."""
        identifiers = tuple(
            messages.Identifier(typ=messages.IDENTIFIER_IP if kind == "ip" else messages.IDENTIFIER_FQDN, value=value)
            for kind, value in names
        )
        wanted = _Order(identifiers=identifiers, profile="", replaces=replaces or None)

        def order() -> tuple[str, messages.Order]:
            response = self._client._post(self._client.directory["newOrder"], wanted)
            return str(response.headers["Location"]), messages.Order.from_json(response.json())

        try:
            return self._call(order)
        except AcmeFailed as error:
            # RFC 9773, 5: a CA that does not take the replacement says so; the order itself is as good without it.
            if not replaces or error.passing or error.kind not in {"alreadyReplaced", "malformed"}:
                raise
            return self.new_order(names, "")

    def order(self, url: str) -> messages.Order:
        return self._call(lambda: messages.Order.from_json(self._client._post_as_get(url).json()))

    def authorization(self, url: str) -> messages.Authorization:
        return self._call(lambda: messages.Authorization.from_json(self._client._post_as_get(url).json()))

    def answer(self, challenge: messages.ChallengeBody) -> None:
        """Tell the CA to look."""
        assert self._key is not None
        response = challenge.chall.response(self._key)
        self._call(lambda: self._client._post(challenge.uri, response))

    def finalize(self, order: messages.Order, csr: bytes) -> messages.Order:
        wanted = messages.CertificateRequest(csr=x509.load_der_x509_csr(csr))
        return self._call(lambda: messages.Order.from_json(self._client._post(order.finalize, wanted).json()))

    def download(self, order: messages.Order) -> str:
        """The certificate and its chain in PEM."""
        return self._call(lambda: str(self._client._post_as_get(order.certificate).text))

    def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """Have it revoked in the name of the account (RFC 8555, 7.6); returns also when it is revoked already."""
        self._revoked(lambda: self._client.revoke(certificate, reason))

    def revoke_by_key(
        self, certificate: x509.Certificate, reason: int, algorithm: str, sign: Callable[[bytes], bytes]
    ) -> None:
        """As `revoke`, signed with the certificate's own key: this proves that its compromise is told by who holds it."""
        url, new_nonce = str(self._client.directory["revokeCert"]), str(self._client.directory["newNonce"])
        jwk = public_jwk(
            algorithm, certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), ""
        )
        name, key = jwk["alg"], {name: value for name, value in jwk.items() if name not in {"kid", "alg", "use"}}
        payload = _encoded({"certificate": b64url(certificate.public_bytes(Encoding.DER)), "reason": reason})

        def post() -> None:
            header = {"alg": name, "jwk": key, "nonce": self._network.nonce(url, new_nonce), "url": url}
            protected = _encoded(header)
            signature = jose_signature(algorithm, sign(f"{protected}.{payload}".encode()))
            self._network.post_signed(url, {"protected": protected, "payload": payload, "signature": b64url(signature)})

        self._revoked(lambda: _patiently(post))

    def _revoked(self, work: Callable[[], None]) -> None:
        try:
            self._call(work)
        except AcmeFailed as error:
            if error.kind != "alreadyRevoked":
                raise

    def renewal_window(self, certificate: x509.Certificate) -> Window:
        """What the CA suggests for this certificate."""
        base = self._client.directory["renewalInfo"]

        def ask() -> Window:
            response = self._network.get(f"{base}/{renewal_identifier(certificate)}")
            body = response.json()
            found = messages.RenewalInfo.from_json(dict(body)).suggested_window
            wait = _seconds(self._network.retry_after) or timedelta(hours=6)
            wait = min(max(wait, timedelta(minutes=1)), timedelta(days=1))  # RFC 9773, 4.3.2
            if found.end <= found.start:
                raise errors.ClientError("the suggested window ends before it starts")
            return Window(found.start, found.end, str(body.get("explanationURL", ""))[:500], datetime.now(UTC) + wait)

        return self._call(ask)

    def _call[T](self, work: Callable[[], T]) -> T:
        return _translated(self._network, work)


def _translated[T](network: _Network, work: Callable[[], T]) -> T:
    try:
        return work()
    except messages.Error as error:
        kind = str(error.typ or "").rsplit(":", 1)[-1]
        wait = _seconds(network.retry_after)
        raise AcmeFailed(_words(error), passing=kind in _PASSING, wait=wait, kind=kind) from None
    except requests.exceptions.SSLError:
        raise AcmeFailed(
            "Its TLS certificate is not trusted: check the address and the CA bundle.", passing=False, kind="tls"
        ) from None
    except requests.exceptions.TooManyRedirects:
        raise AcmeFailed("It redirects elsewhere, which is not followed.", passing=False) from None
    except requests.exceptions.RequestException:
        raise AcmeFailed("The CA does not answer.", passing=True) from None
    except errors.ClientError as error:
        response = next((item for item in error.args if isinstance(item, requests.Response)), None)
        if response is not None and (response.status_code >= 500 or response.status_code == 429):
            raise AcmeFailed(
                f"The CA answers {response.status_code}.", passing=True, wait=_seconds(network.retry_after)
            ) from None
        raise AcmeFailed("The CA's answer is not ACME.", passing=False) from None
    except (errors.Error, josepy.errors.Error, KeyError, ValueError, TypeError, AttributeError):
        raise AcmeFailed("The CA's answer is not ACME.", passing=False) from None


def _words(error: messages.Error) -> str:
    """The problem document in words, with its sub-problems (RFC 8555, 6.7.1); a CA may quote names, never secrets of ours."""
    said = [error.detail or error.title or error.typ or "The CA refused."]
    said += [
        f"{item.identifier.value if item.identifier else ''}: {item.detail or item.typ}"
        for item in error.subproblems or ()
    ]
    return "; ".join(part[:300] for part in said)[:1000]


def _seconds(text: str) -> timedelta | None:
    """Retry-After (RFC 9110, 10.2.3); None when there is none that can be read."""
    if not text:
        return None
    response = requests.Response()
    response.headers["Retry-After"] = text
    moment = ClientV2.retry_after(response, 0)
    left = moment - datetime.now()  # noqa: DTZ005  the library's moments have no zone
    return max(left, timedelta(0)) or None


def renewal_identifier(certificate: x509.Certificate) -> str:
    """base64url(keyIdentifier) "." base64url(serial) (RFC 9773, 4.1); empty for a certificate without key identifier."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    if found is None:
        return ""
    serial = certificate.serial_number.to_bytes(certificate.serial_number.bit_length() // 8 + 1, "big")
    return f"{b64url(found)}.{b64url(serial)}"


def new_account_key() -> SecretBytes:
    """A fresh ECDSA P-256 key in PKCS#8: what every ACME CA takes (RFC 8555, 6.2)."""
    private = ec.generate_private_key(ec.SECP256R1())
    return SecretBytes(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def thumbprint(account_key: SecretBytes) -> str:
    """base64url of the RFC 7638 thumbprint, as key authorizations hold it."""
    return b64url(_jwk(account_key).thumbprint())


def dns_content(key_authorization: str) -> str:
    """What the TXT record holds (RFC 8555, 8.4)."""
    return b64url(sha256(key_authorization.encode()).digest())


def _jwk(account_key: SecretBytes) -> josepy.JWKEC:
    private = load_der_private_key(account_key.reveal(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return josepy.JWKEC(key=private)


@contextmanager
def opened(
    directory: str, ca_bundle: str = "", account_key: SecretBytes | None = None, account_url: str = ""
) -> Iterator[AcmeCa]:
    """The CA behind a directory address, for an account if one is given; raises AcmeFailed, HostRefused."""
    if not directory.startswith("https://"):
        raise AcmeFailed("An ACME directory is reached over https (RFC 8555, 6.1).", passing=False)
    key = _jwk(account_key) if account_key is not None else None
    network = _Network(key, ca_bundle)
    try:
        found = _translated(network, lambda: ClientV2.get_directory(directory, network))
        if not {"newNonce", "newAccount", "newOrder"} <= set(found.to_partial_json()):
            raise AcmeFailed("There is no ACME directory at this address.", passing=False)
        if account_url:
            network.account = messages.RegistrationResource(body=messages.Registration(), uri=account_url)
        yield AcmeCa(ClientV2(found, network), network, key)
    finally:
        network.session.close()
