"""What the advisor's rules say of the keys in view, in one query."""

from collections import defaultdict
from dataclasses import dataclass, field

from django.utils import timezone

from keys.advisor.rules import RULES, Known, Rule
from keys.crypto.algorithms import ALGORITHMS
from keys.hierarchy import KeyKind
from keys.models import Key
from keys.services.overview import BOUND, visible_keys
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor

SHOWN = 20  # keys named under one rule


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule, how many of the keys looked at it applies to, and the first SHOWN of them."""

    rule: Rule
    number: int
    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found on `looked_at` keys in use; `bounded` says that there are more than were looked at."""

    looked_at: int
    bounded: bool
    found: list[Finding] = field(default_factory=list)


def findings(actor: Actor) -> Findings:
    """What the rules say of at most BOUND keys in use that `actor` sees, in the order of the rules."""
    in_use = visible_keys(actor).exclude(current=None).exclude(current__status=VersionState.DESTROYED.value)
    rows = list(in_use.select_related("policy").order_by("title", "id")[: BOUND + 1])
    today = timezone.localdate()
    said: dict[str, list[Key]] = defaultdict(list)
    for key in rows[:BOUND]:
        known = _known(key)
        for rule in RULES:
            if rule.applies(known, today):
                said[rule.id].append(key)
    found = [Finding(rule, len(keys), keys[:SHOWN]) for rule in RULES if (keys := said[rule.id])]
    return Findings(min(len(rows), BOUND), len(rows) > BOUND, found)


def _known(key: Key) -> Known:
    policy = key.policy
    return Known(
        kind=KeyKind(key.kind), algorithm=ALGORITHMS[key.algorithm], provider=key.provider,
        cryptoperiod_days=policy.cryptoperiod_days, others_agree_to_destruction=bool(policy.destroy_groups),
    )  # fmt: skip
