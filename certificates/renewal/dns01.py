"""TXT records for dns-01: written and removed by dynamic update (RFC 2136 with TSIG, RFC 8945) or told to a webhook.

The webhook is `POST {"action": "present" | "cleanup", "name": ..., "value": ...}`, signed as every webhook of the portal is.
"""

import binascii

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update

from certificates.csr import refused
from certificates.models import DnsHook
from certificates.renewal import webhooks
from certificates.renewal.web import FarEndUnavailable, webhook_rule
from certificates.tls.configuration import is_host_name
from keys.crypto.secret import SecretBytes
from keys.services import sealing
from keyvault_portal.errors import PortalError

ALGORITHMS = {"hmac-sha256": dns.tsig.HMAC_SHA256, "hmac-sha512": dns.tsig.HMAC_SHA512}
SECONDS = 10.0
_LIFE = 60


class DnsRefused(PortalError):
    status, code, title = 502, "dns_refused", "The DNS server did not take the record"


def check(hook: DnsHook, secret: SecretBytes) -> None:
    """Raise ValidationFailed or HostRefused unless the hook could work."""
    if hook.kind == DnsHook.Kind.WEBHOOK:
        webhooks.check(hook.address, secret)
        return
    if hook.kind != DnsHook.Kind.RFC2136:
        raise refused("kind", "rfc2136 or webhook.")
    if not is_host_name(hook.zone):
        raise refused("zone", "The zone that holds the names, such as example.org.")
    if hook.key_algorithm not in ALGORITHMS:
        raise refused("key_algorithm", f"One of: {', '.join(ALGORITHMS)}.")
    try:
        _keyring(hook, secret)
    except (ValueError, dns.exception.DNSException):
        raise refused("secret", "The TSIG key in base64, and its name.") from None
    _server(hook)


def present(hook: DnsHook, name: str, value: str) -> None:
    """Add the TXT record `value` at `name`; adding it twice changes nothing. Raises DnsRefused, FarEndUnavailable, HostRefused."""
    _do(hook, "present", name, value)


def clean_up(hook: DnsHook, name: str, value: str) -> None:
    """Remove exactly this record, others of the same name stay; raises as `present`."""
    _do(hook, "cleanup", name, value)


def _do(hook: DnsHook, action: str, name: str, value: str) -> None:
    with sealing.open_value(hook.secret) as secret:
        if hook.kind == DnsHook.Kind.WEBHOOK:
            webhooks.deliver(hook.address, secret, {"action": action, "name": name, "value": value})
            return
        update = dns.update.UpdateMessage(
            hook.zone, keyring=_keyring(hook, secret), keyalgorithm=ALGORITHMS[hook.key_algorithm]
        )
    record = dns.name.from_text(name + ".")
    if action == "present":
        update.add(record, _LIFE, "TXT", f'"{value}"')
    else:
        update.delete(record, "TXT", f'"{value}"')
    host, port = _server(hook)
    address = webhook_rule().resolve(host, port)
    try:
        answer = dns.query.tcp(update, address, timeout=SECONDS, port=port)
    except (OSError, dns.exception.Timeout, EOFError):
        raise FarEndUnavailable(f"The DNS server {host} does not answer.") from None
    except dns.exception.DNSException:
        raise DnsRefused(f"The DNS server {host} answers something that is not signed with the shared key.") from None
    if answer.rcode() != dns.rcode.NOERROR:
        raise DnsRefused(f"The DNS server {host} refuses the record for {name}: {dns.rcode.to_text(answer.rcode())}.")


def _keyring(hook: DnsHook, secret: SecretBytes) -> dict[dns.name.Name, dns.tsig.Key]:
    try:
        return dns.tsigkeyring.from_text({hook.key_name: (hook.key_algorithm, secret.reveal().decode())})
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64") from error


def _server(hook: DnsHook) -> tuple[str, int]:
    host, colon, port = hook.address.rpartition(":")
    if not colon or host.endswith(":"):  # no port, or an IPv6 address without one
        host, port = hook.address, "53"
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise refused("address", "The server that takes updates, as host:port.")
    webhook_rule().resolve(host, int(port))
    return host, int(port)
