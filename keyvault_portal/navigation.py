"""The navigation: which pages it names, and which of its links is the current one."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("", (("dashboard", "Dashboard", "dashboard"),)),
    (
        "Keys",
        (
            ("keys:key-list", "Keys", "key"),
            ("keys:hierarchy", "Hierarchy", "tree"),
            ("keys:rotation-list", "Rotations", "rotate"),
            ("keys:move-list", "Moves", "session"),
            ("keys:provider-list", "Providers", "lock"),
            ("keys:advisor", "Advisor", "info"),
            ("approvals:inbox", "Approvals", "approve"),
        ),
    ),
    ("Data", (("keys:store-list", "Data stores", "database"), ("keys:census", "Census", "census"))),
    (
        "Certificates",
        (
            ("certificates:certificate-list", "Certificates", "session"),
            ("certificates:authority-list", "Authorities", "tree"),
            ("acme:order-list", "ACME", "rotate"),
            ("certificates:expiry", "Expiry", "calendar"),
            ("certificates:target-list", "Endpoints", "system"),
            ("certificates:transparency", "Transparency", "search"),
            ("certificates:renewal-list", "Renewals", "rotate"),
            ("certificates:source-list", "Sources", "database"),
            ("certificates:rollover-list", "Rollovers", "session"),
            ("tls:configuration", "TLS", "shield-alert"),
        ),
    ),
    (
        "Ceremonies",
        (
            ("ceremonies:list", "Ceremonies", "people"),
            ("ceremonies:register", "Custody register", "lock"),
            ("ceremonies:script-list", "Scripts", "edit"),
        ),
    ),
    ("Record", (("audit:event-list", "Audit", "audit"),)),
    (
        "Administration",
        (
            ("accounts:person-list", "People", "people"),
            ("accounts:ring-list", "Key rings", "ring"),
            ("accounts:token-list", "Tokens", "token"),
            ("settings", "Settings", "settings"),
        ),
    ),
)

# Pages whose address lies elsewhere than the entry they belong to; a name without a colon is a whole area.
BELONGS = {
    "acme": "acme:order-list",
    "certificates:dns-hook-create": "certificates:source-list",
    "certificates:hook-remove": "certificates:renewal-list",
    "certificates:party-list": "certificates:rollover-list",
    "keys:places": "keys:provider-list",
    "keys:seal-list": "settings",
}


class NavLink(NamedTuple):
    """One link of the navigation; ``waiting`` is shown as a badge when it is not zero."""

    url: str
    label: str
    icon: str
    waiting: int
    current: bool


def links_for(request: HttpRequest | None, waiting: Mapping[str, int]) -> list[tuple[str, list[NavLink]]]:
    """Return the navigation as (title, links) groups; pages that are not installed are left out.

    The current link is the one whose address, or that of a page belonging to it, is the longest prefix of the page's own.
    """
    path, match = getattr(request, "path", ""), getattr(request, "resolver_match", None)
    owner = (BELONGS.get(match.view_name) or BELONGS.get(match.namespace)) if match else None
    urls = {name: _reverse_or_none(name) for _, entries in NAVIGATION for name, _, _ in entries}
    places = {url: url for url in urls.values() if url}
    places |= {url: urls[name] or "" for page, name in BELONGS.items() if (url := _reverse_or_none(page))}
    current = (urls.get(owner) if owner else None) or places.get(_longest_prefix(path, places), "")
    groups = []
    for title, entries in NAVIGATION:
        links = [
            NavLink(url, label, icon, waiting.get(name, 0), url == current)
            for name, label, icon in entries
            if (url := urls[name])
        ]
        if links:
            groups.append((title, links))
    return groups


def _reverse_or_none(name: str) -> str | None:
    try:
        return reverse(name)
    except NoReverseMatch:
        return None


def _longest_prefix(path: str, urls: Iterable[str]) -> str:
    matching = [url for url in urls if path == url or (url != "/" and path.startswith(url))]
    return max(matching, key=len, default="")
