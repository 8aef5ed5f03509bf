"""Invitations: a link and a code for a guest, by two different ways; a passkey for coming back; a calendar file for everybody."""

import secrets
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from fido2.webauthn import AttestedCredentialData

from ceremonies.models import Ceremony, Participant
from ceremonies.room_errors import CodeRefused, NotInTheRoom
from ceremonies.services.frame import guest_actor, locked, target_of
from ceremonies.states import ENDED
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.credentials import credential_digest, credential_matches, new_secret
from keyvault_portal.accounts.passkeys import Passkey, check_assertion
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.services.links import LINK_TEXT
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import WrongState

CODE_DIGITS, TRIES = 8, 5
LIFETIME_AFTER_START = timedelta(days=2)
DURATION = timedelta(hours=2)


class Invitation(NamedTuple):
    """Shown once to whoever invites; the portal keeps digests only."""

    seat: Participant
    link: str
    code: str


def invite_guest(*, actor: Actor, ceremony_id: UUID, participant_id: UUID) -> Invitation:
    """A new link and a new code for a guest; earlier ones, and a session opened with them, stop working.

    The code has to take another way than the link. Raises WrongState for somebody who has an account.
    """
    with audit.atomic(actor=actor, action="ceremony.invite", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        seat = ceremony.participants.select_for_update().filter(pk=participant_id).first()
        if seat is None:
            raise NotInTheRoom("There is nobody of this name in the plan.")
        if seat.person_id is not None:
            raise WrongState(f"{seat.name} signs in with their account.")
        if ceremony.status in ENDED:
            raise WrongState("The ceremony is over.")
        secret, code = new_secret(), f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
        seat.link_digest, seat.code_digest = credential_digest(seat.pk, secret), credential_digest(seat.pk, code)
        seat.link_expires_at = max(ceremony.reserve_at or ceremony.starts_at, timezone.now()) + LIFETIME_AFTER_START
        seat.code_tries, seat.session_digest, seat.passkey = 0, None, None
        seat.save(
            update_fields=["link_digest", "code_digest", "link_expires_at", "code_tries", "session_digest", "passkey"]
        )
        record.record({"seat": str(seat.pk), "name": seat.name, "expires_at": seat.link_expires_at.isoformat()})
    path = reverse("ceremonies:join", args=[f"{seat.pk.hex}-{secret}"])
    return Invitation(seat, settings.PORTAL_ORIGIN.rstrip("/") + path, code)


def invite_people(*, actor: Actor, ceremony_id: UUID) -> int:
    """Tell everybody in the plan who has an account what, when and where, with links to room and calendar; returns how many.

    Raises PermissionRefused, WrongState. Guests are invited one by one.
    """
    with audit.atomic(actor=actor, action="ceremony.invite_people", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        if ceremony.status in ENDED:
            raise WrongState("The ceremony is over.")
        told = tell_people(ceremony, "You are invited as {role}")
        record.record({"told": told})
    return len(told)


def tell_people(ceremony: Ceremony, line: str) -> list[str]:
    """A notice to everybody in the plan who has an account, `{role}` in the line being theirs; the names of those told."""
    reserve = f"\nReserve date: {ceremony.there(ceremony.reserve_at)}" if ceremony.reserve_at else ""
    calendar = settings.PORTAL_ORIGIN.rstrip("/") + reverse("ceremonies:calendar", args=[ceremony.pk])
    seats = [(seat, seat.person_id) for seat in ceremony.participants.all() if seat.person_id is not None]
    for seat, person_id in seats:
        role = seat.get_role_display().lower()
        notices.notify(
            [person_id], f"{line.format(role=role)}: {ceremony}",
            detail="\n".join([
                ceremony.purpose, f"Your part: {role}", f"When: {ceremony.starts_there}{reserve}", f"Where: {ceremony.place}",
                f"Calendar file: {calendar}",
            ]),
            path=reverse("ceremonies:room", args=[ceremony.pk]),
        )  # fmt: skip
    return [seat.name for seat, _ in seats]


def find_invitation(link: str) -> Participant:
    """The seat `link` was made for, nothing used up; raises NotInTheRoom for a link that does not work."""
    match = LINK_TEXT.fullmatch(link)
    seat = (
        Participant.objects.select_related("ceremony").filter(pk=UUID(hex=match[1]), person=None).first()
        if match
        else None
    )
    if (
        match is None
        or seat is None
        or seat.link_digest is None
        or not credential_matches(bytes(seat.link_digest), seat.pk, match[2])
    ):
        raise _not_working()
    if (
        seat.link_expires_at is None
        or seat.link_expires_at <= timezone.now()
        or seat.ceremony.status in ENDED
        or (seat.code_tries >= TRIES and seat.passkey is None)
    ):
        raise _not_working()
    return seat


def redeem_invitation(
    *, link: str, code: str, passkey: Passkey | None = None, address: str | None = None
) -> tuple[Participant, str]:
    """The seat, and the secret of the one session that may now use it. Raises NotInTheRoom, CodeRefused.

    The code is used up, and with it the link, unless the guest's browser made a `passkey`: then the link opens again, with that
    passkey only and for this one seat. After five wrong codes the link is dead and a new invitation is needed.
    """
    seat = find_invitation(link)
    if seat.passkey is not None:
        raise _not_working()
    # Counted before the code is looked at, by the database: tries at the same moment count one each.
    if not Participant.objects.filter(pk=seat.pk, code_tries__lt=TRIES).update(code_tries=F("code_tries") + 1):
        raise _not_working()
    with audit.atomic(
        actor=guest_actor(seat, address),
        action="ceremony.join",
        target=target_of(seat.ceremony),
        ring_id=seat.ceremony.ring_id,
    ) as record:
        seat = Participant.objects.select_for_update(of=("self",)).select_related("ceremony").get(pk=seat.pk)
        if seat.link_digest is None or seat.code_digest is None or seat.code_tries > TRIES:
            raise _not_working()
        if not credential_matches(bytes(seat.code_digest), seat.pk, "".join(code.split())):
            raise CodeRefused(
                f"{max(TRIES - seat.code_tries, 0)} tries are left.", hint="The code came by another way than the link."
            )
        seat.code_digest = None
        if passkey is None:
            seat.link_digest = None
        secret = _take_seat(seat, passkey)
        record.record(
            {"seat": str(seat.pk), "name": seat.name, "second_factor": "code", "passkey_added": passkey is not None}
        )
    return seat, secret


def return_with_passkey(
    *, link: str, challenge: bytes, answer: str, address: str | None = None
) -> tuple[Participant, str]:
    """As `redeem_invitation`, for a guest who comes back: the passkey made then signs `challenge`. Raises NotInTheRoom, PasskeyRefused.

    A session opened before ends: one seat, one browser.
    """
    seat = find_invitation(link)
    with audit.atomic(
        actor=guest_actor(seat, address),
        action="ceremony.join",
        target=target_of(seat.ceremony),
        ring_id=seat.ceremony.ring_id,
    ) as record:
        seat = Participant.objects.select_for_update(of=("self",)).select_related("ceremony").get(pk=seat.pk)
        known = passkey_of(seat)
        if known is None:
            raise _not_working()
        used = check_assertion(challenge, [known], answer, verified=False)
        secret = _take_seat(seat, Passkey(known.credential, used.count))
        record.record({"seat": str(seat.pk), "name": seat.name, "second_factor": "passkey", "key_id": used.key_id})
    return seat, secret


def passkey_of(seat: Participant) -> Passkey | None:
    """The passkey with which this guest comes back."""
    if seat.passkey is None:
        return None
    return Passkey(AttestedCredentialData(bytes.fromhex(seat.passkey["credential"])), seat.passkey["count"])


def _take_seat(seat: Participant, passkey: Passkey | None) -> str:
    secret = new_secret()
    seat.session_digest, seat.joined_at = credential_digest(seat.pk, secret), timezone.now()
    seat.passkey = {"credential": bytes(passkey.credential).hex(), "count": passkey.count} if passkey else None
    seat.save(update_fields=["session_digest", "joined_at", "link_digest", "code_digest", "passkey"])
    return secret


def guest_of(ceremony_id: UUID, participant_id: str, secret: str) -> Participant | None:
    """The seat a guest's session may use now, or None."""
    seat = (
        Participant.objects.select_related("ceremony")
        .filter(pk=participant_id, ceremony_id=ceremony_id, person=None)
        .first()
    )
    if (
        seat is None
        or seat.session_digest is None
        or not credential_matches(bytes(seat.session_digest), seat.pk, secret)
    ):
        return None
    return seat


def calendar_file(ceremony: Ceremony) -> bytes:
    """The date, and the reserve date, as an iCalendar object (RFC 5545)."""
    url = settings.PORTAL_ORIGIN.rstrip("/") + reverse("ceremonies:room", args=[ceremony.pk])
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//KeyVault Portal//Ceremonies//EN", "METHOD:PUBLISH"]
    dates = [("", ceremony.starts_at), *([(" (reserve date)", ceremony.reserve_at)] if ceremony.reserve_at else [])]
    for number, (suffix, start) in enumerate(dates):
        lines += [
            "BEGIN:VEVENT", f"UID:{ceremony.pk}-{number}@keyvault-portal", f"DTSTAMP:{timezone.now():%Y%m%dT%H%M%SZ}",
            f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DTEND:{start + DURATION:%Y%m%dT%H%M%SZ}", f"SUMMARY:{_escaped(str(ceremony) + suffix)}",
            f"LOCATION:{_escaped(ceremony.place)}", f"DESCRIPTION:{_escaped(ceremony.purpose)}", f"URL:{url}",
            "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-P1D", f"DESCRIPTION:{_escaped(str(ceremony))}", "END:VALARM", "END:VEVENT",
        ]  # fmt: skip
    return b"".join(_folded(line) for line in [*lines, "END:VCALENDAR"])


def _escaped(text: str) -> str:
    """TEXT of RFC 5545, section 3.3.11."""
    plain = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return "\\n".join(plain.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _folded(line: str) -> bytes:
    """One content line in pieces of at most 75 octets (section 3.1), cut between characters."""
    pieces: list[bytes] = []
    piece = b""
    for character in line:
        encoded = character.encode()
        if len(piece) + len(encoded) > (75 if not pieces else 74):
            pieces.append(piece)
            piece = b""
        piece += encoded
    return b"\r\n ".join([*pieces, piece]) + b"\r\n"


def _not_working() -> NotInTheRoom:
    return NotInTheRoom("This invitation does not work any more.", hint="Ask whoever invited you for a new one.")
