"""What a person may type as the address of a cloud's service: https, and a host under a name that is known to be the vendor's.

`keys.hosts` is the rule for servers of one's own, by network, resolved and pinned at every connection. The two stay two: a
vendor's addresses change by the minute and are proved by TLS under the vendor's name, while an own server has a name that
anybody inside may have made, and networks that an administrator knows. One rule for both would have to allow the internet.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from keyvault_portal.errors import ValidationFailed

_LABELS = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*|[0-9a-f:.]+")


def service_address(text: str, allowed: tuple[str, ...], *, field: str) -> str:
    """The address as scheme://host[:port], nothing else; raises ValidationFailed under the name of the setting.

    `allowed` holds host names, and suffixes written `*.name`. A suffix never matches an address in figures, so neither
    a cloud's metadata service nor a machine of the inner network can be named. Plain http goes to loopback only, and
    only where the program, never a form, has allowed it.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _refused(field, "This is not an address.") from None
    if (
        not _LABELS.fullmatch(host)
        or parts.username is not None
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise _refused(field, "Write https:// and the host, nothing more.")
    if not any(_matches(host, rule.lower()) for rule in allowed):
        raise _refused(field, f"The host must be one of: {', '.join(allowed)}.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise _refused(field, "The address must start with https://.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def _matches(host: str, rule: str) -> bool:
    return host.endswith(rule[1:]) if rule.startswith("*.") else host == rule


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(field: str, message: str) -> ValidationFailed:
    return ValidationFailed(message, errors={field: [message]})


def checked_timeout(value: float | str) -> float:
    """Seconds, from a form or from the program; raises ValidationFailed."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 60:
        raise _refused("timeout", "The time-out is between 0.1 and 60 seconds.")
    return seconds
