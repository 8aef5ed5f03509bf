"""One ceremony: the plan, the people in the room, what each signed off, and what went otherwise than written."""

import uuid
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.db import models, transaction
from django.utils import timezone

from ceremonies.models.scripts import KINDS
from ceremonies.planning import RoomRole
from ceremonies.quiet import note_version
from ceremonies.quorums import MAX_EXPONENT, MAX_SHARES, Quorum
from ceremonies.script import Kind, Script, from_canonical
from ceremonies.states import CeremonyState
from keys.models import Key, KeyVersion
from keyvault_portal.accounts.models import Person

CEREMONY_STATES = [(state.value, state.value.replace("_", " ").capitalize()) for state in CeremonyState]
ROOM_ROLES = [(role.value, role.value.replace("_", " ").capitalize()) for role in RoomRole]
_SHARES = models.Q(threshold=0, share_count=0) | models.Q(
    threshold__gte=2, threshold__lte=models.F("share_count"), share_count__lte=MAX_SHARES
)


def _told_end(version: dict[str, Any]) -> str:
    awaiting = {"awaiting_approval": "waits for the agreement that the key's own policy asks for"}
    due = f", due {datetime.fromisoformat(version['due_at']):%-d %B %Y}" if version.get("due_at") else ""
    return f"version {version['version']}: {awaiting.get(version['state'], version['state'].replace('_', ' '))}{due}"


class Ceremony(models.Model):
    """A ceremony from its plan to its minutes; `script` is the canonical form whose SHA-256 everybody confirms."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=150)
    kind = models.CharField(max_length=20, choices=KINDS)
    purpose = models.TextField()
    practice = models.BooleanField(default=False, help_text="A rehearsal with throw-away keys.")
    key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, blank=True, related_name="ceremonies")
    ring_id = models.UUIDField(null=True, blank=True)
    script = models.BinaryField(editable=False)
    script_hash = models.CharField(max_length=64, editable=False)
    script_label = models.CharField(max_length=200)
    state = models.CharField(max_length=20, choices=CEREMONY_STATES, default=CeremonyState.PLANNED.value)
    step = models.PositiveSmallIntegerField(default=0, help_text="The number of the current step, from 0.")
    acted = models.BooleanField(default=False, help_text="Whether the portal's own part of the current step is done.")
    version = models.PositiveIntegerField(
        default=1, help_text="Rises with every change anybody in the room should see."
    )
    threshold = models.PositiveSmallIntegerField(default=0)
    share_count = models.PositiveSmallIntegerField(default=0)
    groups = models.JSONField(
        default=list, blank=True, help_text="Groups of share holders: name, threshold, count; empty where there is one without a name."
    )  # fmt: skip
    groups_needed = models.PositiveSmallIntegerField(default=1)
    with_passphrase = models.BooleanField(
        default=False, help_text="The escrow key is encrypted under a passphrase before it is split (SLIP-39)."
    )
    iteration_exponent = models.PositiveSmallIntegerField(
        default=1, help_text="SLIP-39: 10,000 times 2 to this power rounds of PBKDF2 for the passphrase."
    )
    subject = models.JSONField(
        default=dict, blank=True, help_text="What a ceremony without a key is about, as the act's own form gave it."
    )
    policy = models.JSONField(
        default=dict, help_text="allow_all, distinct_sites, distinct_lines, rehearsed_within_days, signed_agreement."
    )
    source = models.ForeignKey(
        "ShareGeneration", on_delete=models.PROTECT, null=True, blank=True, related_name="used_by",
        help_text="The set of shares that a recovery, roll-call or refresh is about.",
    )  # fmt: skip
    provider = models.SlugField(max_length=63, blank=True, help_text="Where a recovered key goes.")
    place = models.CharField(max_length=200)
    time_zone = models.CharField(max_length=63, default="UTC")
    starts_at = models.DateTimeField()
    reserve_at = models.DateTimeField(null=True, blank=True)
    minutes_key = models.ForeignKey(
        Key, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Which key of the hierarchy signs the minutes."
    )  # fmt: skip
    minutes_problem = models.CharField(max_length=300, blank=True, help_text="Why the minutes are not signed yet.")
    next_due_at = models.DateTimeField(null=True, blank=True)
    planned_by_id = models.UUIDField()
    planned_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    approval_id = models.UUIDField(null=True, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    last_act_at = models.DateTimeField(null=True, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    aborted_by = models.CharField(max_length=200, blank=True)
    abort_reason = models.TextField(blank=True)
    process = models.JSONField(
        default=dict, help_text="Nonces and the public key of the ceremony process; nothing secret."
    )
    before = models.JSONField(
        default=dict, help_text="How things stood when the room was opened: what an abort must leave."
    )
    busy_at = models.DateTimeField(null=True, blank=True, help_text="Since when the portal works on the current step.")
    result = models.JSONField(default=dict, help_text="What it came to, in words and check values; never a secret.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in CeremonyState]), name="ceremonies_ceremony_state"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in Kind]), name="ceremonies_ceremony_kind"
            ),
            models.CheckConstraint(condition=_SHARES, name="ceremonies_threshold"),
            models.CheckConstraint(
                condition=models.Q(iteration_exponent__lte=MAX_EXPONENT), name="ceremonies_iteration_exponent"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="aborted") | (~models.Q(abort_reason="") & models.Q(committed_at=None)),
                name="ceremonies_abort_before_commit",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["committed", "closed"]) | models.Q(committed_at__isnull=False),
                name="ceremonies_committed_at",
            ),
            # One production ceremony at a time moves a key's escrow.
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(state__in=["gathering", "running", "paused"], practice=False, key__isnull=False),
                name="ceremonies_one_open_for_a_key",
            ),
        ]
        indexes = [
            models.Index(fields=["-starts_at", "id"], name="ceremonies_recent"),
            models.Index(fields=["script_hash", "practice"], name="ceremonies_script_hash"),
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As usual; a new version is noted for the pages that poll, once it is durable."""
        super().save(*args, **kwargs)
        if "version" in (kwargs.get("update_fields") or ["version"]):
            transaction.on_commit(partial(note_version, self.pk, self.version), robust=True)

    def __str__(self) -> str:
        return f"PRACTICE: {self.title}" if self.practice else self.title

    @property
    def told_result(self) -> dict[str, Any]:
        """The result as people read it: a recovered key by its name and version, what becomes of versions in words."""
        told = {name: value for name, value in self.result.items() if name != "intent" and value is not None}
        if "intent" in self.result:
            told.pop("version")
            found = KeyVersion.objects.filter(pk=self.result["version"]).select_related("key").first()
            told["key"] = f"{found.key}, version {found.key_version}" if found else told["key"]
        if "destroyed" in told:
            told["destroyed"] = [_told_end(version) for version in told["destroyed"]]
        return told

    @property
    def status(self) -> CeremonyState:
        return CeremonyState(self.state)

    @property
    def quorum(self) -> Quorum:
        """Which shares open it together."""
        if self.groups:
            return Quorum.from_json(self.groups, self.groups_needed)
        return Quorum.single(self.threshold, self.share_count)

    def there(self, moment: datetime) -> str:
        """A moment at the ceremony's place, with its zone."""
        return f"{moment.astimezone(ZoneInfo(self.time_zone)):%Y-%m-%d %H:%M %Z}"

    @property
    def starts_there(self) -> str:
        return self.there(self.starts_at)

    def read_script(self) -> Script:
        """The script as it was when it was planned, whatever the template says today."""
        return from_canonical(bytes(self.script))


class Participant(models.Model):
    """One seat in one ceremony; a person of the portal, or a guest who has only this invitation."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    position = models.PositiveSmallIntegerField(default=0)
    ceremony = models.ForeignKey(Ceremony, on_delete=models.CASCADE, related_name="participants")
    role = models.CharField(max_length=20, choices=ROOM_ROLES)
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, blank=True, related_name="ceremony_seats")
    name = models.CharField(max_length=150)
    email = models.EmailField(max_length=254)
    site = models.CharField(max_length=100, blank=True)
    reporting_line = models.CharField(max_length=100, blank=True)
    deputy_for = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="deputies")
    share_index = models.PositiveSmallIntegerField(null=True, blank=True, help_text="From 1; for share holders.")
    # The invitation of a guest: a link, and a code that takes another way.
    link_digest = models.BinaryField(max_length=32, null=True, editable=False)
    code_digest = models.BinaryField(max_length=32, null=True, editable=False)
    link_expires_at = models.DateTimeField(null=True, blank=True)
    code_tries = models.PositiveSmallIntegerField(default=0)
    passkey = models.JSONField(
        null=True,
        editable=False,
        help_text="With which the guest comes back: the credential, and its signature counter.",
    )
    joined_at = models.DateTimeField(null=True, blank=True)
    session_digest = models.BinaryField(max_length=32, null=True, editable=False)
    # In the room.
    seen_at = models.DateTimeField(null=True, blank=True)
    identified_at = models.DateTimeField(null=True, blank=True)
    identified_by = models.CharField(max_length=200, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True, help_text="When the script's hash was read back.")
    left_at = models.DateTimeField(null=True, blank=True)
    attested_at = models.DateTimeField(null=True, blank=True)
    attests = models.BooleanField(
        null=True, blank=True, help_text="Present throughout, script followed except as noted."
    )
    attest_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=[role.value for role in RoomRole]), name="ceremonies_room_role"),
            models.UniqueConstraint(fields=["ceremony", "email"], name="ceremonies_one_seat_each"),
            models.UniqueConstraint(fields=["ceremony", "share_index"], name="ceremonies_one_holder_a_share"),
            models.UniqueConstraint(
                fields=["ceremony", "role"], condition=models.Q(role__in=["leader", "operator"], left_at=None),
                name="ceremonies_one_leader_one_operator",
            ),
            models.CheckConstraint(
                condition=models.Q(share_index=None) | models.Q(role="holder"), name="ceremonies_only_holders_have_shares"
            ),
            models.CheckConstraint(
                condition=models.Q(deputy_for=None) | models.Q(role="deputy") | models.Q(seen_at__isnull=False),
                name="ceremonies_deputy_of_whom",
            ),
            models.CheckConstraint(
                condition=~models.Q(attests=False) | ~models.Q(attest_reason=""), name="ceremonies_decline_says_why"
            ),
        ]  # fmt: skip
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def room_role(self) -> RoomRole:
        return RoomRole(self.role)


class SignOff(models.Model):
    """One person's word that one step went as written."""

    ceremony = models.ForeignKey(Ceremony, on_delete=models.CASCADE, related_name="sign_offs")
    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="sign_offs")
    step = models.PositiveSmallIntegerField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["participant", "step"], name="ceremonies_sign_off_once")]

    def __str__(self) -> str:
        return f"step {self.step} by {self.participant_id}"


class DeviationNote(models.Model):
    """A line of the exception sheet: what was expected, what happened, what was decided."""

    ceremony = models.ForeignKey(Ceremony, on_delete=models.CASCADE, related_name="deviations")
    step = models.PositiveSmallIntegerField()
    at = models.DateTimeField(default=timezone.now)
    expected = models.CharField(max_length=500)
    happened = models.TextField()
    decision = models.TextField(blank=True)
    noted_by = models.CharField(max_length=200)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.happened[:80]
