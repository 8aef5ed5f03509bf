"""How long a TLS server certificate may live: the CA/Browser Forum's calendar (ballot SC-081v3)."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Step:
    """From `since` on, a new server certificate lives `days` days at most and a proof of a domain counts `reuse` days."""

    since: date
    days: int
    reuse: int


# Baseline Requirements 6.3.2 and 4.2.1 as changed by ballot SC-081v3.
CALENDAR = (
    Step(date(2020, 9, 1), 398, 398),
    Step(date(2026, 3, 15), 200, 200),
    Step(date(2027, 3, 15), 100, 100),
    Step(date(2029, 3, 15), 47, 10),
)


def step_on(day: date) -> Step:
    """What holds for certificates issued on `day`."""
    return next((step for step in reversed(CALENDAR) if step.since <= day), CALENDAR[0])


def upcoming(day: date) -> list[Step]:
    """The steps after `day`, the next one first."""
    return [step for step in CALENDAR if step.since > day]


def warnings(day: date, *, lifetime_days: int) -> list[str]:
    """What will break for whoever asks for `lifetime_days` again and again, each step in one sentence."""
    return [
        f"From {step.since:%-d %B %Y} a server certificate of {lifetime_days} days is refused: at most {step.days} days."
        for step in upcoming(day)
        if lifetime_days > step.days
    ]
