"""Forms of the keys pages; each hands clean values to one service."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS, Standing
from keys.hierarchy import DEFAULT_CRYPTOPERIOD_DAYS, KeyKind
from keys.models import DataStore, Key, KeyPolicy, KeyProvider, KeyVersion, Rotation
from keys.models.keys import KEY_KINDS
from keys.providers.base import Setting
from keys.services import budget
from keys.services.providers.registration import providers
from keys.services.rotation.frame import MOST_ITEMS_A_SECOND
from keys.states import RotationState, VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.errors import ApprovalRequired, PortalError, ValidationFailed
from keyvault_portal.short_name import ShortNameField
from keyvault_portal.templatetags.portal import state_choices

T = TypeVar("T")
ANY = [("", "Any")]
DUE = [("overdue", "Overdue"), ("month", "Within 30 days"), ("uses", "Use budget due")]


def rings_of(actor: Actor, permission: Permission) -> QuerySet[KeyRing]:
    """The rings on which `actor` holds `permission`."""
    ids = actor.ring_ids(permission)
    return KeyRing.objects.all() if ids is None else KeyRing.objects.filter(pk__in=ids)


class ServiceForm(forms.Form):
    """A form whose valid values go to one service; what the service finds wrong is shown beside the fields."""

    def run(self, service: Callable[[dict[str, Any]], T]) -> T | None:
        """The service's result, or None after putting its complaint into the form. ApprovalRequired passes through."""
        try:
            return service(self.service_values())
        except ApprovalRequired:
            raise
        except ValidationFailed as error:
            for field, messages in error.errors.items():
                self.add_error(field if field in self.fields else None, messages)
            if not error.errors:
                self.add_error(None, f"{error.detail} {error.hint}".strip())
        except PortalError as error:
            if error.status == 403:
                raise
            self.add_error(None, f"{error.detail} {error.hint}".strip())
        return None

    def service_values(self) -> dict[str, Any]:
        return dict(self.cleaned_data)


class KeyFilterForm(forms.Form):
    q = forms.CharField(label="Search", required=False, max_length=100)
    kind = forms.ChoiceField(choices=[*ANY, *KEY_KINDS], required=False)
    status = forms.ChoiceField(choices=[*ANY, *state_choices(VersionState)], required=False, label="State of a version")
    ring = forms.ModelChoiceField(KeyRing.objects.none(), required=False, empty_label="Any")
    due = forms.ChoiceField(choices=[*ANY, *DUE], required=False, label="Rotation")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ring"].queryset = rings_of(actor, Permission.KEY_VIEW)  # type: ignore[attr-defined]

    def apply(self, keys: QuerySet[Key]) -> QuerySet[Key]:
        """The keys that match."""
        values = self.cleaned_data
        if values["q"]:
            keys = keys.filter(Q(name__icontains=values["q"]) | Q(title__icontains=values["q"]))
        if values["kind"]:
            keys = keys.filter(kind=values["kind"])
        if values["status"]:
            keys = keys.filter(Exists(KeyVersion.objects.filter(key=OuterRef("pk"), status=values["status"])))
        if values["ring"]:
            keys = keys.filter(ring=values["ring"])
        if values["due"] == "overdue":
            keys = keys.filter(next_rotation_at__lt=timezone.now())
        elif values["due"] == "month":
            keys = keys.filter(next_rotation_at__lt=timezone.now() + timedelta(days=30))
        elif values["due"] == "uses":
            keys = keys.filter(pk__in=budget.due_versions().values("key_id"))
        return keys


class KeyForm(ServiceForm):
    ring = forms.ModelChoiceField(
        KeyRing.objects.none(), help_text="Who may see and govern the key follows from its ring."
    )
    name = ShortNameField(
        max_length=100, help_text="Short and stable: programs use it. Letters, digits, hyphens, underscores."
    )
    title = forms.CharField(max_length=150, help_text="What people call it.")
    kind = forms.ChoiceField(choices=KEY_KINDS, initial=KeyKind.DEK.value)
    algorithm = forms.ChoiceField(
        choices=[
            (name, f"{name} ({algorithm.standing.value})")
            for name, algorithm in ALGORITHMS.items()
            if algorithm.standing in {Standing.RECOMMENDED, Standing.ACCEPTABLE}
        ],
        initial="AES-256-GCM",
    )
    parent = forms.ModelChoiceField(
        Key.objects.none(),
        required=False,
        label="Wrapped by",
        help_text="A master key has none; every other key needs one.",
    )
    provider = forms.ChoiceField(
        choices=[("local", "This portal")],
        initial="local",
        help_text="Where the key lives. It can be moved later.",
    )
    purpose = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)
    cryptoperiod_days = forms.IntegerField(
        min_value=1, max_value=3650, required=False, label="Cryptoperiod in days",
        help_text="Empty: "
        + ", ".join(f"{DEFAULT_CRYPTOPERIOD_DAYS[KeyKind(kind)]} for a {name.lower()}" for kind, name in KEY_KINDS)
        + ".",
    )  # fmt: skip

    exportable = forms.BooleanField(
        required=False, label="It may be exported, wrapped and by agreement",
        help_text="Decided now and never again: it can be taken away later, not given. Needs a provider that gives keys out.",
    )  # fmt: skip

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.KEY_CREATE)
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]
        wrapping = Key.objects.filter(kind__in=["master", "kek"], ring__in=rings).order_by("kind", "name")
        self.fields["parent"].queryset = wrapping  # type: ignore[attr-defined]
        places = [(row.alias, f"{row} ({row.alias})") for row in providers().filter(state=KeyProvider.State.ENABLED)]
        self.fields["provider"].choices = [("local", "This portal"), *places]  # type: ignore[attr-defined]


ROLE_CHOICES = [(role.value, role.label) for role in Role if role is not Role.SERVICE]


class PolicyForm(ServiceForm):
    cryptoperiod_days = forms.IntegerField(min_value=1, max_value=3650, required=False, label="Cryptoperiod in days")
    auto_rotate = forms.BooleanField(required=False, label="Rotate by itself when the cryptoperiod ends")
    rotate_roles = forms.MultipleChoiceField(
        choices=ROLE_CHOICES, widget=forms.CheckboxSelectMultiple, label="May ask for a rotation"
    )
    rotate_threshold = forms.IntegerField(min_value=0, max_value=10, label="Officers who must agree to a rotation")
    destroy_roles = forms.MultipleChoiceField(
        choices=ROLE_CHOICES, widget=forms.CheckboxSelectMultiple, label="May ask for destruction"
    )
    destroy_threshold = forms.IntegerField(min_value=1, max_value=10, label="Officers who must agree to a destruction")
    custodian_agrees = forms.BooleanField(required=False, label="A custodian must agree to a destruction too")
    signed_agreement = forms.BooleanField(
        required=False, label="Whoever agrees signs the act",
        help_text="With a passkey, or offline with a key of their own: the signature is evidence by itself.",
    )  # fmt: skip
    grace_days = forms.IntegerField(min_value=7, max_value=365, label="Grace period before destruction, in days")
    minimum_grace_days = forms.IntegerField(min_value=7, max_value=365, label="Shortest grace period allowed, in days")
    use_share_due = forms.IntegerField(
        min_value=1, max_value=95, label="Rotate at this share of the safe number of uses, in per cent"
    )
    initiator_may_enter = forms.BooleanField(
        required=False, label="Whoever opens an import by components may enter one of them"
    )
    provider_rotates_days = forms.IntegerField(
        min_value=1, max_value=3650, required=False, label="Its provider rotates it by itself, every so many days",
        help_text="Beside the portal's own rotation. Empty: never, and a provider that does is shown as a difference.",
    )  # fmt: skip
    allowed_algorithms = forms.MultipleChoiceField(
        choices=[(name, name) for name in ALGORITHMS], required=False, widget=forms.SelectMultiple(attrs={"size": 6}),
        help_text="Nothing chosen: whatever the kind of key allows.",
    )  # fmt: skip
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), required=False, max_length=2000,
        help_text="Needed when the change guards the key less: those who must agree read it.",
    )  # fmt: skip

    def __init__(self, data: Any = None, *, instance: KeyPolicy) -> None:
        initial = {name: getattr(instance, name) for name in self.base_fields if hasattr(instance, name)}
        initial["rotate_threshold"] = threshold_of(instance.rotate_groups, Role.SECURITY_OFFICER)
        initial["destroy_threshold"] = threshold_of(instance.destroy_groups, Role.SECURITY_OFFICER)
        initial["custodian_agrees"] = threshold_of(instance.destroy_groups, Role.CUSTODIAN) > 0
        groups = [*instance.rotate_groups, *instance.destroy_groups]
        initial["signed_agreement"] = any(group.get("signed") for group in groups)
        super().__init__(data, initial=initial)

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        signed = {"signed": True} if values.pop("signed_agreement") else {}
        rotate, destroy = values.pop("rotate_threshold"), values.pop("destroy_threshold")
        custodian = values.pop("custodian_agrees")
        values.pop("reason")
        officer = Role.SECURITY_OFFICER.value
        values["rotate_groups"] = [{"role": officer, "threshold": rotate} | signed] if rotate else []
        values["destroy_groups"] = [{"role": officer, "threshold": destroy} | signed]
        if custodian:
            values["destroy_groups"].append({"role": Role.CUSTODIAN.value, "threshold": 1} | signed)
        return values


def threshold_of(groups: list[dict[str, Any]], role: Role) -> int:
    """How many of `role` these groups ask for."""
    return next((int(group["threshold"]) for group in groups if group["role"] == role.value), 0)


class ReasonForm(ServiceForm):
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2000,
        help_text="Kept in the record, and read by whoever has to agree.",
    )


class GiveUpForm(ReasonForm):
    items = forms.IntegerField(min_value=1, label="How many items are given up", help_text="It must be all that wait.")
    field_order = ("items", "reason")


class DeletionForm(ReasonForm):
    grace_days = forms.IntegerField(
        min_value=7, max_value=3650, required=False, label="Grace period in days",
        help_text="Empty: as long as the key's policy says.",
    )  # fmt: skip
    accept_loss = forms.BooleanField(
        required=False, label="Delete it even if what is named above can never be opened again"
    )


def _rate(label: str, help_text: str = "") -> forms.IntegerField:
    most = MOST_ITEMS_A_SECOND
    return forms.IntegerField(min_value=1, max_value=most, required=False, label=label, help_text=help_text)


class RotationForm(ReasonForm):
    rate_limit = _rate("At most so many items a second", "Empty: as fast as it goes.")


class CompromiseForm(ServiceForm):
    reason_code = forms.ChoiceField(
        choices=[
            ("key_compromise", "Key compromise"), ("ca_compromise", "CA compromise"), ("affiliation_changed", "Affiliation changed"),
            ("superseded", "Superseded"), ("cessation_of_operation", "Cessation of operation"), ("privilege_withdrawn", "Privilege withdrawn"),
        ],
        initial="key_compromise", label="Reason",
    )  # fmt: skip
    occurred_at = forms.DateTimeField(
        label="When it happened (UTC)",
        initial=timezone.now,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    note = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, label="What is known")


class ThrottleForm(ServiceForm):
    rate_limit = _rate("Items a second", "Empty: unlimited.")


class RotationFilterForm(forms.Form):
    state = forms.ChoiceField(choices=[*ANY, *state_choices(RotationState)], required=False)
    trigger = forms.ChoiceField(choices=[*ANY, *Rotation.Trigger.choices], required=False)
    failed = forms.BooleanField(required=False, label="With items set aside")


class SealForm(ServiceForm):
    key = forms.ModelChoiceField(
        Key.objects.none(),
        label="Data key",
        help_text="It gets a census and rotations like every other store. Choose one that serves nothing else.",
    )

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.STORE_MANAGE)
        self.fields["key"].queryset = Key.objects.filter(ring__in=rings, kind="dek").order_by("name")  # type: ignore[attr-defined]


class StoreForm(ServiceForm):
    ring = forms.ModelChoiceField(KeyRing.objects.none())
    key = forms.ModelChoiceField(
        Key.objects.none(), help_text="The key that governs the items: a data key, or a KEK for envelope JSON."
    )
    name = ShortNameField(max_length=100)
    title = forms.CharField(max_length=150)
    dsn = forms.CharField(
        label="Connection", max_length=500, help_text="postgresql://user:password@host:port/database. It is sealed at once and never shown again.",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
    )  # fmt: skip
    schema_name = forms.CharField(max_length=63, initial="public", label="Schema")
    table_name = forms.CharField(max_length=63, label="Table")
    primary_key = forms.CharField(max_length=63, initial="id", label="Primary key column")
    columns = forms.CharField(max_length=1000, label="Encrypted columns", help_text="Separated by commas.")
    format = forms.ChoiceField(choices=DataStore.Format.choices, initial=DataStore.Format.COMPACT)
    context_template = forms.JSONField(
        label="Encryption context", required=False, initial=dict, widget=forms.Textarea(attrs={"rows": 3}),
        help_text='What each cell is bound to, as JSON; {column} and {pk} stand for the cell\'s own, for example {"table": "customers", '
        '"column": "{column}", "id": "{pk}"}.',
    )  # fmt: skip
    rate_limit = _rate("At most so many items a second")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.STORE_MANAGE)
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]
        self.fields["key"].queryset = Key.objects.filter(ring__in=rings, kind__in=["dek", "kek"]).order_by("name")  # type: ignore[attr-defined]
        if self.is_bound:  # a secret is never sent back
            self.fields["dsn"].help_text = f"Type it again, it was not kept: {self.fields['dsn'].help_text}"

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        values["columns"] = [name.strip() for name in values["columns"].split(",") if name.strip()]
        values["context_template"] = values["context_template"] or {}
        return values


class ProviderForm(ServiceForm):
    """The settings that a kind of provider declares; an alias is given once, a kept secret may stay empty."""

    alias = ShortNameField(max_length=63, help_text="Short and stable: keys name their provider by it.")
    title = forms.CharField(max_length=150, help_text="What people call it.")
    calls_per_second = forms.IntegerField(
        min_value=1, max_value=1_000_000, required=False, label="Calls a second",
        help_text="What background work may make, over all workers. Empty: the default of its kind.",
    )  # fmt: skip

    def __init__(
        self, *args: Any, declared: Iterable[Setting], instance: KeyProvider | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.declared, self.instance = tuple(declared), instance
        for setting in self.declared:
            self.fields[setting.name] = _setting_field(setting, kept=instance is not None)
        self.order_fields(["alias", "title", *(setting.name for setting in self.declared), "calls_per_second"])
        if instance is not None:
            del self.fields["alias"]
            self.initial = {**instance.settings, "title": instance.title, "calls_per_second": instance.calls_per_second}

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        settings = {setting.name: values.pop(setting.name) for setting in self.declared}
        return {**values, "values": settings}


def _setting_field(setting: Setting, *, kept: bool) -> forms.Field:
    """The field of one declared setting; a secret is typed blind, sealed at once and never shown again."""
    required, help_text = setting.required, setting.help
    if setting.secret:
        required = required and not kept
        sealed = "Sealed at once and never shown again." + (" Empty: it stays what it is." if kept else "")
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"})
        return forms.CharField(
            label=setting.label, required=required, max_length=10_000, help_text=f"{help_text} {sealed}".strip(),
            widget=widget,
        )  # fmt: skip
    if setting.choices:
        choices = [(choice, choice) for choice in setting.choices]
        return forms.ChoiceField(
            label=setting.label, required=required, choices=choices, initial=setting.default, help_text=help_text
        )
    return forms.CharField(
        label=setting.label, required=required, max_length=10_000, initial=setting.default, help_text=help_text
    )


class AdoptionForm(ServiceForm):
    """Where a key that a provider has already stands in the inventory from now on."""

    ring = forms.ModelChoiceField(KeyRing.objects.none())
    name = ShortNameField(max_length=100, help_text="Short and stable: programs use it.")
    title = forms.CharField(max_length=150, help_text="What people call it.")
    kind = forms.ChoiceField(choices=KEY_KINDS, initial=KeyKind.KEK.value)
    parent = forms.ModelChoiceField(
        Key.objects.none(), required=False, label="Under", help_text="A master key has none."
    )
    purpose = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.KEY_CREATE)
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]
        above = Key.objects.filter(kind__in=["master", "kek"], ring__in=rings).order_by("kind", "name")
        self.fields["parent"].queryset = above  # type: ignore[attr-defined]
