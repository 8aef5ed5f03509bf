"""Shapes of people, rings, role bindings, tokens and sessions in the REST API; digests and passwords are in none."""

from allauth.usersessions.models import UserSession
from rest_framework import serializers

from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import TOKEN_SCOPES, Role


class PersonSerializer(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ["id", "email", "name", "kind", "is_active", "site", "reporting_line", "created_at", "last_login"]


class PersonEditSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=150)
    email = serializers.EmailField(max_length=254)
    site = serializers.CharField(max_length=100, allow_blank=True, default="")
    reporting_line = serializers.CharField(max_length=100, allow_blank=True, default="")


class PersonCreateSerializer(PersonEditSerializer):
    kind = serializers.ChoiceField(choices=Person.Kind.choices, default=Person.Kind.PERSON)


class RingSerializer(serializers.ModelSerializer):
    class Meta:
        model = KeyRing
        fields = ["id", "name", "title", "description", "created_at"]


class RingEditSerializer(serializers.Serializer):
    title = serializers.CharField(max_length=150)
    description = serializers.CharField(allow_blank=True, default="")


class RingCreateSerializer(RingEditSerializer):
    name = serializers.SlugField(max_length=63)


class BindingSerializer(serializers.ModelSerializer):
    class Meta:
        model = RoleBinding
        fields = ["id", "person", "role", "ring", "created_at", "created_by"]


class BindingCreateSerializer(serializers.Serializer):
    person = serializers.UUIDField()
    role = serializers.ChoiceField(choices=Role.choices)
    ring = serializers.UUIDField(allow_null=True, default=None, help_text="Empty: on everything.")


class TokenSerializer(serializers.ModelSerializer):
    class Meta:
        model = ApiToken
        fields = [
            "id", "owner", "name", "scopes", "rings", "cidrs", "expires_at", "last_used_at", "last_used_ip",
            "revoked_at", "created_at",
        ]  # fmt: skip


class TokenCreatedSerializer(TokenSerializer):
    text = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "text"]


class TokenCreateSerializer(serializers.Serializer):
    owner = serializers.UUIDField(required=False, help_text="A service account; without it the token is your own.")
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=sorted(TOKEN_SCOPES)), allow_empty=False)
    rings = serializers.ListField(child=serializers.UUIDField(), default=list)
    cidrs = serializers.ListField(child=serializers.CharField(max_length=64), default=list)
    expires_at = serializers.DateTimeField(allow_null=True, default=None)


class SessionSerializer(serializers.ModelSerializer):
    class Meta:
        model = UserSession
        fields = ["id", "user", "ip", "user_agent", "created_at", "last_seen_at"]


class SessionsEndedSerializer(serializers.Serializer):
    ended = serializers.IntegerField()


class RightsSerializer(serializers.Serializer):
    ring = serializers.UUIDField(allow_null=True, help_text="Empty: on everything.")
    permissions = serializers.ListField(child=serializers.CharField())


class MeSerializer(serializers.Serializer):
    id = serializers.UUIDField(allow_null=True)
    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    second_factor = serializers.BooleanField()
    rights = RightsSerializer(many=True)
