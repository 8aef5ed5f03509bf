"""Template vocabulary of the portal: states, durations, short hashes, navigation and links that keep the query.

State words follow NIST SP 800-57 Part 1, section 7; every state is shown as tone, icon and word together.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from django import template
from django.http import QueryDict
from django.template import Context
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

from keyvault_portal.navigation import NavLink, links_for

register = template.Library()


class Look(NamedTuple):
    """How one state is shown: a tone class, an icon of the sprite and a word."""

    tone: str
    icon: str
    word: str


STATES: Mapping[str, Look] = {
    # Key versions
    "pre_active": Look("info", "circle", "Pre-active"),
    "active": Look("ok", "check-circle", "Active"),
    "decrypt_only": Look("pending", "unlock", "Decrypt-only"),
    "suspended": Look("warn", "pause-circle", "Suspended"),
    "compromised": Look("danger", "shield-alert", "Compromised"),
    "pending_deletion": Look("warn", "hourglass", "Pending deletion"),
    "destroyed": Look("neutral", "slash", "Destroyed"),
    # Rotations, jobs and their phases
    "planned": Look("info", "calendar", "Planned"),
    "queued": Look("neutral", "clock", "Queued"),
    "awaiting_approval": Look("pending", "approve", "Awaiting approval"),
    "introducing": Look("info", "key", "Introducing"),
    "re_encrypting": Look("info", "rotate", "Re-encrypting"),
    "running": Look("info", "rotate", "Running"),
    "paused": Look("warn", "pause-circle", "Paused"),
    "re_encrypted": Look("info", "check-circle", "Re-encrypted"),
    "decommissioned": Look("pending", "hourglass", "Decommissioned"),
    "overdue": Look("danger", "warning", "Overdue"),
    "due": Look("warn", "clock", "Due"),
    "exhausted": Look("danger", "cross-circle", "Uses exhausted"),
    "done": Look("ok", "check-circle", "Done"),
    "completed": Look("ok", "check-circle", "Completed"),
    "executing": Look("info", "rotate", "Executing"),
    "failed": Look("danger", "cross-circle", "Failed"),
    "cancelled": Look("neutral", "slash", "Cancelled"),
    # Moves of keys
    "making": Look("info", "key", "Making"),
    "dual_wrapping": Look("info", "lock", "Dual wrapping"),
    "comparing": Look("info", "rotate", "Comparing"),
    "re_wrapping": Look("info", "rotate", "Re-wrapping"),
    "re_wrapped": Look("info", "check-circle", "Re-wrapped"),
    "dropping": Look("pending", "hourglass", "Dropping the old"),
    "undoing": Look("warn", "undo", "Undoing"),
    "undone": Look("neutral", "undo", "Undone"),
    # Approvals
    "pending": Look("pending", "clock", "Pending"),
    "approved": Look("ok", "check-circle", "Approved"),
    "executed": Look("ok", "check-circle", "Executed"),
    "rejected": Look("danger", "cross-circle", "Rejected"),
    "expired": Look("neutral", "hourglass", "Expired"),
    "withdrawn": Look("neutral", "undo", "Withdrawn"),
    "stale": Look("warn", "warning", "Target changed"),
    # People, tokens, stores
    "inactive": Look("neutral", "slash", "Inactive"),
    "revoked": Look("danger", "slash", "Revoked"),
    "reachable": Look("ok", "check-circle", "Reachable"),
    "unreachable": Look("danger", "cross-circle", "Unreachable"),
    "sound": Look("ok", "check-circle", "Sound"),
    "broken": Look("danger", "cross-circle", "Chain broken"),
    "reading": Look("ok", "check-circle", "Being read"),
    "unknown_issuance": Look("danger", "shield-alert", "Unknown"),
    "on_replica": Look("warn", "warning", "On a replica"),
    "missing": Look("danger", "cross-circle", "Missing"),
    # Key providers, their work, their circuit and what differs
    "calling": Look("info", "rotate", "Calling"),
    "enabled": Look("ok", "check-circle", "Enabled"),
    "disabled": Look("neutral", "pause-circle", "Disabled"),
    "not_tested": Look("info", "circle", "Not tested"),
    "waiting": Look("warn", "hourglass", "Waiting for provider"),
    "circuit_closed": Look("ok", "check-circle", "Calls go through"),
    "circuit_half_open": Look("warn", "hourglass", "One call tries"),
    "circuit_open": Look("danger", "cross-circle", "No calls for now"),
    "open": Look("warn", "warning", "Open"),
    "ignored": Look("neutral", "slash", "Ignored"),
    "resolved": Look("ok", "check-circle", "Resolved"),
    # Certificates and authorities
    "valid": Look("ok", "check-circle", "Valid"),
    "on_hold": Look("warn", "pause-circle", "On hold"),
    "weak": Look("warn", "warning", "Weak"),
    "processing": Look("info", "rotate", "Processing"),
    "invalid": Look("danger", "cross-circle", "Failed"),
    "deactivated": Look("neutral", "slash", "Closed by its holder"),
    "used": Look("neutral", "check-circle", "Used"),
    "awaiting_signature": Look("pending", "hourglass", "Waits for its certificate"),
    # Sources, orders, deliveries and rollovers of certificates
    "registering": Look("info", "rotate", "Registering"),
    "proving": Look("info", "hourglass", "Proving the names"),
    "finalizing": Look("info", "rotate", "Being signed"),
    "issued": Look("ok", "check-circle", "Issued"),
    "delivered": Look("ok", "check-circle", "Delivered"),
    "superseded": Look("neutral", "undo", "Superseded"),
    "trust_a": Look("info", "circle", "Planned: trust A"),
    "trust_both": Look("info", "people", "Trust A and B"),
    "issue_b": Look("info", "edit", "Issue from B"),
    "trust_b": Look("ok", "check-circle", "Trust B"),
    "trusts_both": Look("ok", "check-circle", "Trusts A and B"),
    "trusts_new": Look("ok", "check-circle", "Trusts B only"),
    "trusts_old": Look("warn", "hourglass", "Trusts A only"),
    "trusts_neither": Look("danger", "cross-circle", "Trusts neither"),
    # Ceremonies, sets of shares and shares
    "gathering": Look("pending", "people", "Gathering"),
    "committed": Look("ok", "check-circle", "Committed"),
    "closed": Look("ok", "check-circle", "Closed"),
    "dealing": Look("info", "hourglass", "Being dealt"),
    "dead": Look("neutral", "slash", "Dead"),
    "dealt": Look("info", "circle", "Not shown yet"),
    "shown": Look("warn", "hourglass", "Shown, not confirmed"),
    "held": Look("ok", "check-circle", "Held"),
    "here": Look("ok", "check-circle", "Here"),
    "away": Look("warn", "clock", "Not here"),
    "gone": Look("neutral", "slash", "Gone"),
    # Keys on their way in and out
    "expecting": Look("pending", "hourglass", "Waiting for material"),
    "received": Look("info", "rotate", "Being checked"),
    "handed": Look("info", "rotate", "With its provider"),
    "aborted": Look("neutral", "slash", "Aborted"),
    "ready": Look("ok", "check-circle", "Ready"),
    "erased": Look("neutral", "slash", "Erased here"),
    # Seals of the root, and the keyholders of the machines
    "preparing": Look("info", "rotate", "Being made"),
    "waits_for_shares": Look("pending", "hourglass", "Its shares are to be made"),
    "in_use": Look("ok", "check-circle", "Opens the portal"),
    "lost": Look("danger", "cross-circle", "Does not open"),
    "retired": Look("neutral", "slash", "Retired"),
    "sealed": Look("warn", "lock", "Sealed"),
    "unsealed": Look("ok", "unlock", "Open"),
    "silent": Look("neutral", "circle", "Silent"),
    # What the advisor says: standing of algorithms, help of a scope, weight of a finding
    "recommended": Look("ok", "check-circle", "Recommended"),
    "acceptable": Look("warn", "clock", "Acceptable"),
    "legacy": Look("danger", "warning", "Legacy"),
    "forbidden": Look("danger", "slash", "Forbidden"),
    "helps_yes": Look("ok", "check-circle", "Helps"),
    "helps_partly": Look("warn", "circle", "In part"),
    "helps_no": Look("neutral", "slash", "No help"),
    "advice_danger": Look("danger", "danger", "Act now"),
    "advice_warn": Look("warn", "warning", "Change it"),
    "advice_info": Look("info", "info", "Consider"),
    # Audit outcomes
    "success": Look("ok", "check-circle", "Success"),
    "refused": Look("danger", "slash", "Refused"),
    "failure": Look("danger", "cross-circle", "Failure"),
}


def look_of(state: object) -> Look:
    """Return the look of a state name; an unknown name reads as neutral with its own words."""
    name = str(getattr(state, "value", state))
    fallback = Look("neutral", "circle", name.replace("_", " ").capitalize())
    return STATES.get(name.lower(), fallback)


def state_choices(states: Iterable[object]) -> list[tuple[str, str]]:
    """Choices of a filter by state, in the words of the badges."""
    return [(str(getattr(state, "value", state)), look_of(state).word) for state in states]


@register.simple_tag
@cache  # a page shows hundreds of icons, and the address is the same as long as the process lives
def icon_sprite() -> str:
    """The address of the file that holds every icon."""
    return static("img/icons.svg")


@register.filter
def state_look(state: object) -> Look:
    """Return the tone, icon and word of a state."""
    return look_of(state)


@register.inclusion_tag("components/state_badge.html")
def state_badge(state: object, label: str = "") -> dict[str, object]:
    """Draw a state as colour, icon and word; ``label`` replaces the word."""
    return {"state": state, "label": label}


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Say a length of time in its two largest units, such as ``3 h 12 min``; ``None`` reads as an em dash."""
    if value is None:
        return "—"
    seconds = int(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds < 0:
        return "-" + duration(-seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append((count, unit))
    said = [f"{count} {unit}" for count, unit in parts[:2] if count]
    return " ".join(said) or "0 s"


@register.filter
def power_of_two(value: int) -> str:
    """Say a power of two, such as ``2^32``."""
    return f"2^{value.bit_length() - 1}"


@register.filter
def time_left(moment: datetime | None) -> str:
    """Say how much time is left until a moment, such as ``6 d 23 h left``, or that it is over."""
    if moment is None:
        return "no limit"
    left = moment - timezone.now()
    return f"{duration(left)} left" if left > timedelta(0) else "time is over"


@register.filter
def is_soon(moment: datetime | None) -> bool:
    """Whether a moment is less than a day away."""
    return moment is not None and moment - timezone.now() < timedelta(days=1)


@register.filter
def quorum(groups: Iterable[Mapping[str, Any]]) -> str:
    """Say who must agree, such as ``2 security officers and 1 custodian``; nobody reads as ``no agreement``."""
    said = []
    for group in groups:
        role, threshold = str(group["role"]).replace("_", " "), int(group["threshold"])
        said.append(f"{threshold} {role}{'' if threshold == 1 else 's'}{', signing' if group.get('signed') else ''}")
    return " and ".join(said) or "no agreement"


@register.filter
def room_word(role: object) -> str:
    """Say a role in a ceremony, such as ``internal witness``."""
    return str(role).replace("_", " ")


@register.filter
def room_words(roles: Iterable[object]) -> str:
    """Say several roles, such as ``leader and internal witness``."""
    words = [room_word(role) for role in roles]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@register.filter
def short_hash(value: bytes | memoryview | str | None, length: int = 8) -> str:
    """Return the first ``length`` and last four characters of a hash or identifier, bytes being read as hexadecimal."""
    if not value:
        return "—"
    text = value if isinstance(value, str) else bytes(value).hex()
    return text if len(text) <= length + 5 else f"{text[:length]}…{text[-4:]}"


@register.filter
def soft_breaks(text: str) -> SafeString:
    """Let a long name be broken behind its dots and slashes, and not in the middle of a word."""
    return mark_safe(re.sub(r"([./]+)", r"\1<wbr>", conditional_escape(text)))  # noqa: S308  escaped here


@register.filter
def initials(person: object) -> str:
    """Return at most two initials of a person's name or address."""
    words = str(person).split("@")[0].replace(".", " ").replace("_", " ").replace("-", " ").split()
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"


@register.filter
def share_of(part: float | None, whole: float | None) -> int:
    """Return ``part`` of ``whole`` as a whole per cent, rounded down so that 100 means all."""
    if not part or not whole:
        return 0
    return min(100, int(part * 100 // whole))


@register.simple_tag(takes_context=True)
def url_replace(context: Context, **changes: object) -> str:
    """Return the query string of this page with some parameters replaced, or dropped where the value is empty.

    A change of filter or order also drops the keyset cursors, which only fit the order they were made for.
    """
    request = context.get("request")
    query = request.GET.copy() if request is not None else QueryDict(mutable=True)
    if not changes.keys() & {"before", "after", "cursor"}:
        for cursor in ("before", "after", "cursor"):
            query.pop(cursor, None)
    for name, value in changes.items():
        if value in (None, ""):
            query.pop(name, None)
        else:
            query[name] = str(value)
    return "?" + query.urlencode()


class SortLink(NamedTuple):
    """A sortable column's head: where a click leads, the current order in ARIA's words and its icon."""

    url: str = ""
    order: str = ""
    icon: str = "sort"


@register.simple_tag(takes_context=True)
def sort_link(context: Context, column: Mapping[str, object]) -> SortLink:
    """Return the head of a column; without a ``sort`` value it has no link. A second click turns the order around."""
    field = column.get("sort")
    if not field:
        return SortLink()
    request = context.get("request")
    now = request.GET.get("sort", "") if request is not None else ""
    if now == field:
        return SortLink(url_replace(context, sort=f"-{field}"), "ascending", "sort-up")
    order, icon = ("descending", "sort-down") if now == f"-{field}" else ("", "sort")
    return SortLink(url_replace(context, sort=field), order, icon)


@register.simple_tag(takes_context=True)
def waiting_about(context: Context, target_type: str, target_id: object) -> list[Any]:
    """Return the requests about one thing that wait for agreement and that the reader may see, newest first, five at most."""
    # Agreement stands on the apps that show what waits, and draws its own pages with these tags.
    from keyvault_portal.accounts.web import actor_of
    from keyvault_portal.approvals.services import visible_requests

    rows = visible_requests(actor_of(context["request"])).filter(target_type=target_type, target_id=str(target_id))
    return list(rows.filter(state="pending").order_by("-created_at", "-id")[:5])


@register.simple_tag(takes_context=True)
def navigation(context: Context) -> list[tuple[str, list[NavLink]]]:
    """Return the navigation of this page as (title, links) groups."""
    approvals = int((context.get("nav_counts") or {}).get("approvals") or 0)
    return links_for(context.get("request"), {"approvals:inbox": approvals})
