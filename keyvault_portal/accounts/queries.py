"""What an actor may see of people, rings, bindings, tokens and sessions; every page and endpoint starts from these."""

from allauth.usersessions.models import UserSession
from django.db.models import Exists, OuterRef, Q, QuerySet

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission


def visible_people(actor: Actor) -> QuerySet[Person]:
    """Everybody for those who may see people everywhere; otherwise oneself and those who act on one's rings."""
    rings = actor.ring_ids(Permission.PERSON_VIEW)
    if rings is None:
        return Person.objects.all()
    people = Q(pk=actor.id)
    if rings:
        acting = RoleBinding.objects.filter(Q(ring=None) | Q(ring__in=rings), person=OuterRef("pk"))
        people |= Q(Exists(acting))
    return Person.objects.filter(people)


def visible_bindings(actor: Actor) -> QuerySet[RoleBinding]:
    """Bindings on the rings where the actor may see people, those on everything among them, and the actor's own."""
    rings = actor.ring_ids(Permission.PERSON_VIEW)
    bindings = RoleBinding.objects.select_related("person", "ring")
    if rings is None:
        return bindings
    seen = Q(person_id=actor.id)
    if rings:
        seen |= Q(ring__in=rings) | Q(ring=None)
    return bindings.filter(seen)


def visible_rings(actor: Actor) -> QuerySet[KeyRing]:
    """The rings on which the actor may see keys or governs."""
    wanted = [actor.ring_ids(permission) for permission in (Permission.KEY_VIEW, Permission.RING_MANAGE)]
    if None in wanted:
        return KeyRing.objects.all()
    return KeyRing.objects.filter(pk__in=frozenset().union(*(rings for rings in wanted if rings)))


def visible_tokens(actor: Actor) -> QuerySet[ApiToken]:
    """One's own tokens, and those limited to rings on which the actor may see tokens (everywhere: all).

    A token is not its owner: of them it sees itself, and more within its scopes only.
    """
    rings = actor.ring_ids(Permission.TOKEN_VIEW)
    tokens = ApiToken.objects.select_related("owner").prefetch_related("rings")
    if rings is None:
        return tokens
    seen = Q(owner_id=actor.id) if actor.token_id is None else Q(pk=actor.token_id)
    if rings:
        limits = ApiToken.rings.through.objects.filter(apitoken=OuterRef("pk"))
        seen |= Q(Exists(limits.filter(keyring__in=rings))) & ~Q(Exists(limits.exclude(keyring__in=rings)))
    return tokens.filter(seen)


def visible_sessions(actor: Actor) -> QuerySet[UserSession]:
    """One's own sessions, in a session; everybody's for those who manage people everywhere."""
    sessions = UserSession.objects.select_related("user")
    if actor.can(Permission.PERSON_MANAGE):
        return sessions
    if actor.token_id is not None:
        return sessions.none()
    return sessions.filter(user_id=actor.id)
