"""CAA records (RFC 8659): which authorities may issue for a domain, and whom to tell when another is asked."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from certificates.tls.configuration import is_host_name
from keyvault_portal.errors import ValidationFailed

_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")
_ACCOUNT = re.compile(r"https://[A-Za-z0-9.:/_-]{1,200}")

TRANSPARENCY = (
    "Every public authority writes what it issues into Certificate Transparency logs (RFC 9162); browsers refuse what is in none.",
    "Watch the logs for your domains, so that a certificate nobody here asked for is seen within hours.",
    "The Expect-CT header is obsolete and does nothing any more: do not send it. No DNS record enforces Certificate Transparency.",
)  # fmt: skip


def caa_records(
    domain: str, issuers: Sequence[str], *, wildcard_issuers: Sequence[str] = (), contact: str = "", account: str = ""
) -> str:
    """Lines of a zone file; no `wildcard_issuers` forbids wildcards, no `issuers` forbids everything.

    `contact` is an e-mail or https address for reports (iodef); `account` binds the first issuer to one ACME account
    (RFC 8657). Raises ValidationFailed by field.
    """
    errors: dict[str, list[str]] = {}
    if not is_host_name(domain) or "." not in domain:
        errors["domain"] = ["Write a domain in lower case, such as example.com."]
    for field, names in (("issuers", issuers), ("wildcard_issuers", wildcard_issuers)):
        if wrong := [name for name in names if not is_host_name(name) or "." not in name]:
            errors[field] = [f"{wrong[0]!r} is not the name of an authority, such as letsencrypt.org."]
    if contact and not (_MAIL.fullmatch(contact) or _is_https(contact)):
        errors["contact"] = ["Write an e-mail address or an https address."]
    if account and (not _ACCOUNT.fullmatch(account) or not issuers):
        errors["account"] = ["Write the https address of the ACME account, and name its authority."]
    if errors:
        raise ValidationFailed("The records cannot be written.", errors=errors)
    lines = [
        _record(domain, "issue", name + (f"; accounturi={account}" if account and not number else ""))
        for number, name in enumerate(issuers)
    ]
    lines += [_record(domain, "issue", ";")] if not issuers else []
    lines += [_record(domain, "issuewild", name) for name in wildcard_issuers or [";"]]
    if contact:
        lines.append(_record(domain, "iodef", contact if contact.startswith("https:") else f"mailto:{contact}"))
    return "\n".join(lines) + "\n"


def _record(domain: str, tag: str, value: str) -> str:
    return f'{domain}. IN CAA 0 {tag} "{value}"'


def _is_https(text: str) -> bool:
    return _ACCOUNT.fullmatch(text) is not None and is_host_name(urlsplit(text).hostname or "")
