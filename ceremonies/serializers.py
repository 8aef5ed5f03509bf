"""Shapes of the ceremonies API; what may be written is checked again by the services."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ceremonies.models import Ceremony, CustodyEntry, DeviationNote, Participant, SealCustodian, Share, ShareGeneration
from ceremonies.quorums import MAX_EXPONENT, MAX_SHARES
from ceremonies.script import LARGEST
from ceremonies.services import custody, verdicts


class ParticipantSerializer(serializers.ModelSerializer[Participant]):
    class Meta:
        model = Participant
        fields = [
            "id", "role", "person", "name", "email", "site", "reporting_line", "deputy_for", "share_index", "identified_at", "identified_by",
            "confirmed_at", "left_at", "attested_at", "attests", "attest_reason",
        ]  # fmt: skip
        read_only_fields = fields


class DeviationSerializer(serializers.ModelSerializer[DeviationNote]):
    class Meta:
        model = DeviationNote
        fields = ["step", "at", "expected", "happened", "decision", "noted_by"]
        read_only_fields = fields


class CeremonySerializer(serializers.ModelSerializer[Ceremony]):
    class Meta:
        model = Ceremony
        fields = [
            "id", "title", "kind", "purpose", "practice", "key", "ring_id", "script_label", "script_hash", "state", "step", "threshold",
            "share_count", "groups", "groups_needed", "with_passphrase", "iteration_exponent", "subject", "policy", "provider", "place", "time_zone",
            "starts_at", "reserve_at", "next_due_at", "planned_by", "created_at", "approval_id",
            "started_at", "committed_at", "ended_at", "minutes_key", "minutes_problem", "aborted_by", "abort_reason", "result",
        ]  # fmt: skip
        read_only_fields = fields


class CeremonyDetailSerializer(CeremonySerializer):
    participants = ParticipantSerializer(many=True, read_only=True)
    deviations = DeviationSerializer(many=True, read_only=True)
    problems = serializers.SerializerMethodField(
        help_text="What the solver says against the plan; empty when it can be held."
    )

    class Meta(CeremonySerializer.Meta):
        fields = [*CeremonySerializer.Meta.fields, "participants", "deviations", "problems"]
        read_only_fields = fields

    def get_problems(self, ceremony: Ceremony) -> list[str]:
        return list(verdicts.verdict(ceremony).problems)


class PolicyOfCeremonySerializer(serializers.Serializer[Any]):
    allow_all = serializers.BooleanField(default=False)
    distinct_sites = serializers.BooleanField(default=False)
    distinct_lines = serializers.BooleanField(default=False)
    signed_agreement = serializers.BooleanField(default=False)
    rehearsed_within_days = serializers.IntegerField(default=0, min_value=0, max_value=3650)


class GroupSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=60)
    threshold = serializers.IntegerField(min_value=1, max_value=MAX_SHARES)
    count = serializers.IntegerField(min_value=1, max_value=MAX_SHARES)


class CeremonyPlanSerializer(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=150)
    script = serializers.CharField(max_length=80, help_text="name:version")
    purpose = serializers.CharField(max_length=2000)
    key = serializers.UUIDField(allow_null=True, default=None)
    place = serializers.CharField(max_length=200)
    time_zone = serializers.CharField(max_length=63, default="UTC")
    starts_at = serializers.DateTimeField()
    reserve_at = serializers.DateTimeField(allow_null=True, default=None)
    threshold = serializers.IntegerField(min_value=0, max_value=MAX_SHARES, default=0)
    share_count = serializers.IntegerField(min_value=0, max_value=MAX_SHARES, default=0)
    groups = GroupSerializer(many=True, default=list, help_text="Instead of threshold and share_count.")
    groups_needed = serializers.IntegerField(
        min_value=1, max_value=MAX_SHARES, allow_null=True, default=None, help_text="Empty: all of them."
    )
    with_passphrase = serializers.BooleanField(default=False)
    iteration_exponent = serializers.IntegerField(min_value=0, max_value=MAX_EXPONENT, default=1)
    practice = serializers.BooleanField(default=False)
    provider = serializers.CharField(max_length=63, allow_blank=True, default="")
    policy = PolicyOfCeremonySerializer(required=False)
    minutes_key = serializers.UUIDField(allow_null=True, default=None, help_text="The key that signs the minutes.")


class PersonSeatSerializer(serializers.Serializer[Any]):
    role = serializers.CharField(max_length=20)
    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=150, allow_blank=True, default="")
    site = serializers.CharField(max_length=100, allow_blank=True, default="")
    reporting_line = serializers.CharField(max_length=100, allow_blank=True, default="")
    deputy_for = serializers.UUIDField(allow_null=True, default=None)
    group = serializers.CharField(max_length=60, allow_blank=True, default="")


class WhySerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class ShareSerializer(serializers.ModelSerializer[Share]):
    class Meta:
        model = Share
        fields = [
            "index",
            "custodian",
            "site",
            "state",
            "sealed_to",
            "check_value",
            "bag",
            "place",
            "confirmed_at",
            "proved_at",
            "missed_at",
            "acknowledged_at",
        ]
        read_only_fields = fields


class CustodyEntrySerializer(serializers.ModelSerializer[CustodyEntry]):
    class Meta:
        model = CustodyEntry
        fields = ["what", "at", "bag", "place", "reason", "by"]
        read_only_fields = fields


class ShareDetailSerializer(ShareSerializer):
    log = CustodyEntrySerializer(many=True, read_only=True)

    class Meta(ShareSerializer.Meta):
        fields = ["id", "generation", *ShareSerializer.Meta.fields, "log"]
        read_only_fields = fields


class CustodyNoteSerializer(serializers.Serializer[Any]):
    what = serializers.ChoiceField(choices=CustodyEntry.What.choices)
    bag = serializers.CharField(max_length=50, allow_blank=True, default="")
    place = serializers.CharField(max_length=200, allow_blank=True, default="")
    reason = serializers.CharField(max_length=500, allow_blank=True, default="")


class SealCustodianSerializer(serializers.ModelSerializer[SealCustodian]):
    class Meta:
        model = SealCustodian
        fields = ["number", "custodian", "person", "bag", "place", "noted_at", "noted_by"]
        read_only_fields = fields


class NameCustodianSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(min_value=1, max_value=MAX_SHARES)
    custodian = serializers.CharField(
        max_length=150, help_text="A name, or the e-mail address of somebody with an account."
    )
    bag = serializers.CharField(max_length=50, allow_blank=True, default="")
    place = serializers.CharField(max_length=200, allow_blank=True, default="")


class DueSerializer(serializers.Serializer[Any]):
    tone = serializers.ChoiceField(choices=["warn", "danger"])
    text = serializers.CharField()
    needs_ceremony = serializers.BooleanField()


class QuorumHealthSerializer(serializers.Serializer[Any]):
    held = serializers.IntegerField()
    count = serializers.IntegerField()
    threshold = serializers.IntegerField()
    proved = serializers.IntegerField()
    oldest_proof = serializers.DateTimeField(allow_null=True)
    spare = serializers.IntegerField()
    alarm = serializers.BooleanField()
    words = serializers.CharField()


class ShareSetSerializer(serializers.ModelSerializer[ShareGeneration]):
    shares = ShareSerializer(many=True, read_only=True)
    health = serializers.SerializerMethodField()

    class Meta:
        model = ShareGeneration
        fields = [
            "id", "ceremony", "key", "seal_id", "practice", "number", "set_id", "threshold", "share_count", "with_passphrase", "key_version",
            "check_value", "package_sha256", "package_bag", "package_place", "created_at",
            "activated_at", "ended_at", "end_reason", "health", "shares",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(QuorumHealthSerializer)
    def get_health(self, generation: ShareGeneration) -> dict[str, Any]:
        return dict(QuorumHealthSerializer(custody.health_of(generation, generation.shares.all())).data)


class InvitationSerializer(serializers.Serializer[Any]):
    seat = serializers.UUIDField(source="seat.pk")
    link = serializers.CharField()
    code = serializers.CharField(help_text="For the guest by another way than the link.")


class ToldSerializer(serializers.Serializer[Any]):
    told = serializers.IntegerField()


class SubjectSerializer(serializers.Serializer[Any]):
    values = serializers.DictField(
        child=serializers.CharField(max_length=2000, allow_blank=True),
        help_text="The names and values that the page asks for.",
    )


class CeremonyStepSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    text = serializers.CharField()
    who = serializers.CharField()
    expected = serializers.CharField()
    sign_off = serializers.ListField(child=serializers.CharField())
    action = serializers.CharField()
    commits = serializers.BooleanField()


class ScriptSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.IntegerField()
    kind = serializers.CharField()
    title = serializers.CharField()
    sha256 = serializers.CharField()
    steps = CeremonyStepSerializer(many=True)


class ScriptUploadSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=LARGEST)
    reason = serializers.CharField(max_length=2000)


class RoomRowSerializer(serializers.Serializer[Any]):
    seat = serializers.UUIDField(source="seat.pk")
    name = serializers.CharField(source="seat.name")
    role = serializers.CharField(source="seat.role")
    standing = serializers.ChoiceField(choices=["here", "away", "gone"])
    signed = serializers.BooleanField(help_text="Of the current step.")
    awaited = serializers.BooleanField(help_text="Whose signature the current step waits for.")


class PartSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="The act that is expected, such as `sign`; `wait` for none.")
    text = serializers.CharField()
    command = serializers.SerializerMethodField(
        help_text="How the offline tool seals or proves what is to be typed; else empty."
    )

    def get_command(self, part: Any) -> str:
        return part.command if part.facts and {"key", "challenge"} & set(part.facts) else ""


class RoomSerializer(serializers.Serializer[Any]):
    state = serializers.CharField()
    tag = serializers.CharField(help_text="Changes with everything that is shown here.")
    number = serializers.IntegerField(help_text="Of the current step, from 0: acts name it.")
    step = CeremonyStepSerializer()
    seat = serializers.UUIDField(source="seat.pk", default=None, allow_null=True)
    part = PartSerializer()
    rows = RoomRowSerializer(many=True)
    quorum_lost = serializers.BooleanField()
    deviations = DeviationSerializer(many=True)


ROOM_ACTS = [
    "confirm", "identify", "start", "sign", "perform", "begin", "passphrase", "confirm-share", "submit", "prove", "enter", "give", "exception",
    "attest", "pause", "resume", "leave", "send-away", "stand-in", "abort", "deal-again", "cancel-verification",
]  # fmt: skip


class RoomActSerializer(serializers.Serializer[Any]):
    act = serializers.ChoiceField(choices=ROOM_ACTS)
    step = serializers.IntegerField(min_value=0, max_value=999, default=0, help_text="The step that the caller saw.")
    participant_id = serializers.UUIDField(default=UUID(int=0), help_text="For `identify` and `send-away`.")
    read_back = serializers.CharField(
        max_length=20, allow_blank=True, default="", help_text="For `confirm`: the beginning of the script's hash."
    )
    how = serializers.CharField(max_length=200, allow_blank=True, default="", help_text="For `identify`.")
    sealed = serializers.CharField(
        max_length=8192, allow_blank=True, default="", help_text="For acts with something typed in secret: what `part.command` wrote."
    )  # fmt: skip
    reason = serializers.CharField(max_length=2000, allow_blank=True, default="")
    expected = serializers.CharField(max_length=500, allow_blank=True, default="", help_text="For `exception`.")
    happened = serializers.CharField(max_length=2000, allow_blank=True, default="", help_text="For `exception`.")
    decision = serializers.CharField(max_length=2000, allow_blank=True, default="", help_text="For `exception`.")
    agrees = serializers.BooleanField(default=False, help_text="For `attest`.")
    bag = serializers.CharField(
        max_length=50,
        allow_blank=True,
        default="",
        help_text="For a step that stores the package, for `confirm-share` and `prove`.",
    )
    place = serializers.CharField(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="For a step that stores the package, and for `confirm-share`.",
    )
    outcome = serializers.CharField(
        max_length=2000, allow_blank=True, default="", help_text="For a step that is done on another page."
    )
    component_values = serializers.ListField(
        child=serializers.CharField(max_length=20), max_length=16, default=list, help_text="For a step that announces components."
    )  # fmt: skip
    check_value = serializers.CharField(
        max_length=20, allow_blank=True, default="", help_text="For a step that announces components."
    )
