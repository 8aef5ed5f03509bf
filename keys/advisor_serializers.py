"""Shapes of what the advisor says."""

from typing import Any

from rest_framework import serializers

from keys.advisor.rules import TONES
from keys.advisor.scopes import Helps
from keys.crypto.algorithms import Kind, Operation, Standing
from keys.models.keys import KEY_KINDS


class AnswerSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    note = serializers.CharField(allow_blank=True)
    leads_to = serializers.CharField(help_text="The id of the question or of the advice that follows.")


class QuestionSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    text = serializers.CharField()
    answers = AnswerSerializer(many=True)


class AdviceSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    algorithms = serializers.ListField(child=serializers.CharField(), help_text="By name, the first one first.")
    kind = serializers.ChoiceField(choices=KEY_KINDS, help_text="Of the key to make.")
    why = serializers.CharField()
    watch = serializers.ListField(child=serializers.CharField(), help_text="What to mind.")


class TreeSerializer(serializers.Serializer[Any]):
    start = serializers.CharField(help_text="The id of the first question.")
    questions = QuestionSerializer(many=True)
    advice = AdviceSerializer(many=True)


class ScopeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    method = serializers.CharField()
    use_case = serializers.CharField()
    cost = serializers.ListField(child=serializers.IntegerField(), help_text="Per cent, from and to, of `cost_of`.")
    cost_of = serializers.CharField()
    keys = serializers.CharField(help_text="Who holds them.")
    helps = serializers.DictField(
        child=serializers.ChoiceField(choices=[helps.value for helps in Helps]), help_text="By the id of the threat."
    )


class ThreatSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    text = serializers.CharField()


class ScopesSerializer(serializers.Serializer[Any]):
    threats = ThreatSerializer(many=True)
    scopes = ScopeSerializer(many=True)


class AlgorithmSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    operations = serializers.ListField(child=serializers.ChoiceField(choices=[each.value for each in Operation]))
    key_size = serializers.IntegerField(help_text="Bits.")
    nonce_size = serializers.IntegerField(help_text="Bytes.")
    tag_size = serializers.IntegerField(help_text="Bytes.")
    use_limit = serializers.IntegerField(
        allow_null=True, help_text="Messages a key version; null where uses do not wear it out."
    )
    strength = serializers.IntegerField(help_text="Bits, against today's computers.")
    quantum_safe = serializers.BooleanField()
    standing = serializers.ChoiceField(choices=[standing.value for standing in Standing])
    acceptable_until = serializers.DateField(allow_null=True)
    jose = serializers.CharField(allow_null=True)
    clause = serializers.CharField(help_text="Where the standard says it.")


class RuleSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    tone = serializers.ChoiceField(choices=TONES)
    title = serializers.CharField()
    text = serializers.CharField()
    act = serializers.CharField()
    clause = serializers.CharField(help_text="Where the standard says it.")


class AdvisedKeySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    algorithm = serializers.CharField()


class AdviceFindingSerializer(serializers.Serializer[Any]):
    rule = RuleSerializer()
    number = serializers.IntegerField(help_text="Keys it applies to, of those that were looked at.")
    keys = AdvisedKeySerializer(many=True, help_text="The first of them, by title.")


class AdviceFindingsSerializer(serializers.Serializer[Any]):
    looked_at = serializers.IntegerField(help_text="Keys in use.")
    bounded = serializers.BooleanField(help_text="Whether there are more keys than were looked at.")
    found = AdviceFindingSerializer(many=True)
