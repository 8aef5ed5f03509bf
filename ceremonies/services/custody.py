"""The custody register: where shares and packages are, who had access, how healthy each quorum is, and what is due."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from ceremonies.models import Ceremony, CustodyEntry, Share, ShareGeneration
from ceremonies.script import Kind
from ceremonies.services import seal_shares
from ceremonies.states import GenerationState, ShareState
from keys.models import Key
from keys.services import exports
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.approvals.eligibility import eligible_people
from keyvault_portal.approvals.models import Notice
from keyvault_portal.approvals.notices import notify
from keyvault_portal.approvals.quorum import Group
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PermissionRefused, ValidationFailed, WrongState
from keyvault_portal.visible import on_rings

ROLL_CALL_EVERY = timedelta(days=90)
DUTY_EVERY = timedelta(days=365)
REMIND_EVERY = timedelta(days=7)
What = CustodyEntry.What


@dataclass(frozen=True, slots=True)
class Health:
    """How a set of shares stands: `held` are neither lost nor missed in a roll-call; so many as `spare` may still be lost."""

    held: int
    count: int
    threshold: int
    spare: int
    proved: int  # within the last ROLL_CALL_EVERY
    oldest_proof: datetime | None
    quorum: str = ""  # in words, where the set has groups

    @property
    def alarm(self) -> bool:
        """Whether one more loss would lose the key, or it is lost."""
        return self.spare < 1

    @property
    def roll_call_due(self) -> bool:
        return self.proved < self.held

    @property
    def words(self) -> str:
        """Such as "5 of 5 proved 12 days ago, threshold 3, spare 2"."""
        proved = f"{self.proved} of {self.count} proved"
        when = f" {_ago(self.oldest_proof)}" if self.proved else ""
        return f"{proved}{when}, {self.quorum or f'threshold {self.threshold}'}, spare {self.spare}"

    @property
    def tone(self) -> str:
        return "danger" if self.alarm else "warn" if self.roll_call_due else "ok"


def health_of(generation: ShareGeneration, shares: Iterable[Share] | None = None) -> Health:
    """Count one set; give `shares` where they are read already."""
    since = timezone.now() - ROLL_CALL_EVERY
    rows = list(generation.shares.all() if shares is None else shares)
    held = [share for share in rows if share.state == ShareState.HELD and share.missed_at is None]
    proved = [share.proved_at for share in held if share.proved_at and share.proved_at >= since]
    quorum = generation.quorum
    return Health(
        len(held), generation.share_count, generation.threshold, quorum.spare({share.index for share in held}), len(proved),
        min(proved) if proved else None, quorum.words if quorum.named else "",
    )  # fmt: skip


def visible_generations(actor: Actor) -> QuerySet[ShareGeneration]:
    """Sets of keys on rings where the actor may see ceremonies, and those of which they hold a share."""
    rings = actor.ring_ids(Permission.CEREMONY_VIEW)
    sets = ShareGeneration.objects.select_related("key__ring", "ceremony").prefetch_related("shares")
    if rings is None:
        return sets
    seen = Q(ceremony__ring_id__in=rings)
    if actor.kind == "person" and actor.id:
        seen |= Q(Exists(Share.objects.filter(generation=OuterRef("pk"), person_id=actor.id)))
    return sets.filter(seen)


def visible_shares(actor: Actor) -> QuerySet[Share]:
    """The shares of these sets."""
    shares = Share.objects.select_related("generation__key__ring", "generation__ceremony")
    return shares.filter(generation__in=visible_generations(actor).values("pk"))


_UNNAMED = (
    "the shares of {} were made without a ceremony, and of {} of {} nobody knows who has them. Name their custodians in the register, "
    "or hold a ceremony for new shares."
)


def download_package(*, actor: Actor, generation_id: UUID) -> ShareGeneration:
    """A set with its offline package, for who governs ceremonies or operated that one; on the record. Raises NotFound, PermissionRefused."""
    found = visible_generations(actor).filter(pk=generation_id).first()
    if found is None or not found.package_sha256:
        raise NotFound("There is no such package.")
    target, ring_id = ("share_set", found.pk, str(found)), found.ceremony.ring_id
    with audit.atomic(actor=actor, action="custody.download_package", target=target, ring_id=ring_id) as record:
        if not found.ceremony.participants.filter(person_id=str(actor.id), role="operator").exists():
            authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ring_id, target=str(found))
        record.record({"sha256": found.package_sha256})
    return found


def visible_share(actor: Actor, share_id: int) -> Share:
    """One share of them; raises NotFound."""
    found = visible_shares(actor).filter(pk=share_id).first()
    if found is None:
        raise NotFound("There is no such share.")
    return found


def note_custody(*, actor: Actor, share_id: int, what: str, bag: str = "", place: str = "", reason: str = "") -> Share:
    """Write one line of the custody log, and change what it changes.

    The custodian may write about their own share, whoever governs ceremonies about any: of a custodian without an account also that
    the duty was acknowledged on paper, and where that paper is. Reporting a share lost, or a custodian
    leaving, makes a ceremony due. Raises NotFound, PermissionRefused, ValidationFailed, WrongState.
    """
    with audit.atomic(actor=actor, action="custody.note", target=("share", share_id, "")) as record:
        visible_share(actor, share_id)
        share = Share.objects.select_for_update(of=("self",)).select_related("generation__ceremony").get(pk=share_id)
        generation, ring_id = share.generation, share.generation.ceremony.ring_id
        record.about(target=("share", share.pk, f"{generation}: share {share.index}"), ring_id=ring_id)
        own = actor.kind == "person" and share.person_id == actor.id
        if not own:
            authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ring_id, target=str(share))
        if what not in {
            What.SEALED,
            What.ACCESSED,
            What.MOVED,
            What.ACKNOWLEDGED,
            What.LOST,
            What.LEAVING,
            What.DESTROYED,
        }:
            raise ValidationFailed(errors={"what": ["Not something the register knows."]})
        if what == What.ACKNOWLEDGED and not own and (share.person_id is not None or not reason.strip()):
            raise PermissionRefused(
                "Only the custodian acknowledges the duty.",
                hint="Where a custodian without an account signed on paper, say where that paper is.",
            )
        if share.state == ShareState.DEAD and what != What.DESTROYED:
            raise WrongState("This share is dead.", hint="Have the card destroyed, and note that.")
        if what in {What.LOST, What.LEAVING, What.ACCESSED} and not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        if what in {What.MOVED, What.SEALED} and not (bag.strip() and place.strip()):
            raise ValidationFailed(errors={"bag": ["Give the bag and the place."]})
        now = timezone.now()
        if what == What.LOST:
            if share.state != ShareState.HELD:
                raise WrongState(f"A share that is {share.state} cannot be lost.")
            share.state = ShareState.LOST.value
        elif what in {What.MOVED, What.SEALED}:
            share.bag, share.place = bag.strip()[:50], place.strip()[:200]
        elif what == What.ACKNOWLEDGED:
            share.acknowledged_at = now
        share.save()
        CustodyEntry.objects.create(
            generation=generation, share=share, what=what, bag=bag.strip()[:50] or share.bag, place=place.strip()[:200] or share.place,
            reason=reason.strip()[:500], by=actor.label[:200],
        )  # fmt: skip
        record.record({"what": what, "bag": bag, "place": place, "reason": reason})
        if what in {What.LOST, What.LEAVING}:
            _alarm(generation, f"{share.custodian}: {What(what).label.lower()}. {health_of(generation).words}.")
    return share


class Due(NamedTuple):
    """What somebody has to do now; `script` names the one of the portal by which a ceremony does it, about `key`, if it takes one."""

    tone: str
    text: str
    script: str = ""
    key: UUID | None = None

    @property
    def plan_url(self) -> str:
        """The planning form with both chosen; empty where no ceremony is due."""
        chosen = {"script": self.script} | ({"key": str(self.key)} if self.key else {})
        return f"{reverse('ceremonies:create')}?{urlencode(chosen)}" if self.script else ""


def due(actor: Actor | None = None) -> list[Due]:
    """All that is due now; with `actor`, as far as they may see."""
    sets = (
        visible_generations(actor)
        if actor
        else ShareGeneration.objects.select_related("key__ring", "ceremony").prefetch_related("shares")
    )
    found: list[Due] = []
    active = list(sets.filter(state=GenerationState.ACTIVE.value, practice=False))
    for generation in active:
        health, name, key_id = health_of(generation, generation.shares.all()), generation.about, generation.key_id
        anew = "rekey" if generation.seal_id else "refresh"
        if health.alarm:
            found.append(Due("danger", f"{name}: one more lost share loses it. {health.words}.", anew, key_id))
        elif health.roll_call_due:
            found.append(Due("warn", f"{name}: a roll-call is due. {health.words}.", "roll-call", key_id))
        found += [Due("warn", f"{name}: {sentence}", anew, key_id) for sentence in _risks(generation)]
        since = timezone.now() - DUTY_EVERY
        silent = [
            s.custodian
            for s in generation.shares.all()
            if s.state == ShareState.HELD and (s.acknowledged_at or s.confirmed_at or since) < since
        ]
        if silent:
            found.append(Due("warn", f"{name}: {', '.join(silent)} have to acknowledge their duty."))
    if (seal := seal_shares.unregistered_seal(actor)) is not None and (lacking := seal_shares.unnamed(seal)):
        found.append(Due("warn", f"Seal of the portal: {_UNNAMED.format(seal, lacking, seal.shares)}", "rekey"))
    covered = {generation.key_id for generation in active if generation.key_id}
    recovered = Ceremony.objects.filter(kind=Kind.RECOVERY.value, practice=False, committed_at__isnull=False)
    if actor is not None:
        rings = actor.ring_ids(Permission.CEREMONY_VIEW)
        recovered = on_rings(recovered, rings)
    made = {result["key"] for result in recovered.values_list("result", flat=True) if result.get("key")}
    for key in Key.objects.filter(pk__in=made).exclude(pk__in=covered).select_related("current"):
        found.append(
            Due(
                "danger",
                f"{key}: without escrow since its recovery. A new escrow with new shares is needed: "
                "where its provider gives it to nobody, a refresh out of the shares that brought it back.",
                "refresh-from-shares" if exports.why_no_escrow(key) else "escrow",
                key.pk,
            )
        )
    return found


def _risks(generation: ShareGeneration) -> list[str]:
    """Lost shares and leaving custodians that nobody has accepted: only a new escrow key ends what their words can do."""
    from ceremonies.services.risks import open_risks

    risks = open_risks(generation)
    said = {What.LOST: "the share of {} is lost", What.LEAVING: "{} leaves"}
    return [
        f"{said[What(risks[share.pk])].format(share.custodian)}, so new shares are due, or the remaining risk is to be accepted."
        for share in generation.shares.all()
        if share.pk in risks
    ]


def remind() -> int:
    """Tell the officers, once a week for each, what is due; returns how many sentences were new."""
    officers = eligible_people([Group(Role.SECURITY_OFFICER.value, 1)])
    new = 0
    for tone, text, *_ in due():
        line = f"Ceremony due: {text}"[:300]
        if Notice.objects.filter(text=" ".join(line.split()), created_at__gte=timezone.now() - REMIND_EVERY).exists():
            continue
        notify(officers, line, detail=text, path=reverse("ceremonies:register"), alarm=tone == "danger")
        new += 1
    return new


def _alarm(generation: ShareGeneration, text: str) -> None:
    officers: Iterable[UUID] = eligible_people([Group(Role.SECURITY_OFFICER.value, 1, generation.ceremony.ring_id)])
    notify(
        officers,
        f"{generation.about}: {text}"[:300],
        path=reverse("ceremonies:register"),
        alarm=health_of(generation).alarm,
    )


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return ""
    days = (timezone.now() - moment).days
    return "today" if days == 0 else "yesterday" if days == 1 else f"{days} days ago"
