"""Signed calls to other programs: one POST of JSON whose HMAC proves the sender and, with its time, that it is not replayed.

`Portal-Signature: t=<unix seconds>,v1=<hex>` where v1 is HMAC-SHA256 of `<t>.<body>` under the shared secret; the receiver
compares in constant time and refuses what is older than five minutes.
"""

import hmac
import time
from hashlib import sha256
from typing import Any

import orjson
import requests

from certificates.csr import refused
from certificates.renewal.web import SECONDS, FarEndUnavailable, open_session, webhook_rule
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import PortalError

MIN_SECRET = 16


class WebhookRefused(PortalError):
    status, code, title = 502, "webhook_refused", "The webhook did not take it"


def check(url: str, secret: SecretBytes) -> None:
    """Raise ValidationFailed or HostRefused unless the webhook could be called."""
    if len(secret.reveal()) < MIN_SECRET:
        raise refused("secret", f"At least {MIN_SECRET} characters that only the receiver knows.")
    try:
        webhook_rule().check_url(url)
    except FarEndUnavailable:
        raise refused("address", "The host of this address cannot be found.") from None


def sign(secret: SecretBytes, moment: int, body: bytes) -> str:
    """The value of the header Portal-Signature."""
    digest = hmac.new(secret.reveal(), f"{moment}.".encode() + body, sha256).hexdigest()
    return f"t={moment},v1={digest}"


def deliver(url: str, secret: SecretBytes, event: dict[str, Any]) -> None:
    """POST once; raises FarEndUnavailable (also for 429 and 5xx), WebhookRefused, HostRefused. No answer is ever quoted."""
    body = orjson.dumps(event)
    headers = {"Content-Type": "application/json", "Portal-Signature": sign(secret, int(time.time()), body)}
    session = open_session(webhook_rule())
    try:
        answer = session.post(url, data=body, headers=headers, timeout=SECONDS)
    except requests.exceptions.TooManyRedirects:
        raise WebhookRefused("It redirects elsewhere, which is not followed.") from None
    except requests.exceptions.SSLError:
        raise WebhookRefused("Its TLS certificate is not trusted.") from None
    except requests.exceptions.RequestException:
        raise FarEndUnavailable("The webhook does not answer.") from None
    finally:
        session.close()
    if answer.status_code == 429 or answer.status_code >= 500:
        raise FarEndUnavailable(f"The webhook answers {answer.status_code}.")
    if not 200 <= answer.status_code < 300:
        raise WebhookRefused(f"The webhook answers {answer.status_code}.")
