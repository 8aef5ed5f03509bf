"""Browser sessions: ended by their owner, or by an officer for somebody else."""

from allauth.usersessions.models import UserSession

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit


def revoke_session(*, actor: Actor, session: UserSession) -> None:
    """End one session at once; for its owner, and for holders of person.manage on everything."""
    with audit.atomic(actor=actor, action="session.revoke", target=_target(session.user)) as act:
        _authorize(actor, session.user)
        act.record({"address": str(session.ip), "session": session.pk})
        session.end()


def revoke_sessions(*, actor: Actor, person: Person, besides: str = "") -> int:
    """End all sessions of `person` but the one with the key `besides`; returns how many."""
    with audit.atomic(actor=actor, action="session.revoke_all", target=_target(person)) as act:
        _authorize(actor, person)
        sessions = list(UserSession.objects.filter(user=person).exclude(session_key=besides))
        for session in sessions:
            session.end()
        act.record({"sessions_ended": len(sessions)})
    return len(sessions)


def _authorize(actor: Actor, person: Person) -> None:
    if actor.token_id is not None or actor.id != person.pk:
        authorize(actor, Permission.PERSON_MANAGE, target=str(person))


def _target(person: Person) -> tuple[str, object, str]:
    return ("person", person.pk, str(person))
