"""Forms of the account pages; the services check again."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.db.models import QuerySet
from django.db.models.fields import BLANK_CHOICE_LABEL

from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import TOKEN_SCOPES, Role
from keyvault_portal.short_name import ShortNameField


class SetupForm(forms.Form):
    """Who the first security officer is."""

    name = forms.CharField(max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        strip=False,
        help_text=password_validators_help_text_html,
    )
    password_again = forms.CharField(
        label="The same password again", widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), strip=False
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("password") and values.get("password") != values.get("password_again"):
            self.add_error("password_again", "The two passwords differ.")
        return values


class ProfileForm(forms.Form):
    """What is known about a person."""

    name = forms.CharField(max_length=150)
    email = forms.EmailField(label="E-mail address", max_length=254)
    site = forms.CharField(
        max_length=100, required=False, help_text="Where this person works; ceremonies keep shares apart by site."
    )
    reporting_line = forms.CharField(
        max_length=100, required=False, help_text="Department or manager; ceremonies keep shares apart by it."
    )


class InviteForm(ProfileForm):
    """A new person, or a service account, which is not mailed to and works by token only."""

    kind = forms.ChoiceField(
        choices=Person.Kind.choices,
        initial=Person.Kind.PERSON,
        help_text="A person is mailed a sign-in link; a service account works by token only.",
    )
    field_order = ["kind", "email", "name", "site", "reporting_line"]


class BindingForm(forms.Form):
    """A role, and where it holds."""

    role = forms.ChoiceField(
        choices=[("", BLANK_CHOICE_LABEL), *Role.choices],
        help_text="Making a security officer or a custodian needs the agreement of other officers.",
    )
    ring = forms.ModelChoiceField(KeyRing.objects.none(), required=False, empty_label="Everything")

    def __init__(self, *args: Any, rings: QuerySet[KeyRing], everything: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ring: Any = self.fields["ring"]
        ring.queryset = rings
        if not everything:
            ring.required, ring.empty_label = True, None


class RingForm(forms.Form):
    """A ring's title and description."""

    title = forms.CharField(max_length=150)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))


class NewRingForm(RingForm):
    """A new ring; its name cannot change later, because key references contain it."""

    name = ShortNameField(
        max_length=63, help_text="Part of key references such as payments/cards; letters, digits and hyphens."
    )
    field_order = ["name", "title", "description"]


class TokenForm(forms.Form):
    """A token: whose, for what, where from, until when."""

    owner = forms.ModelChoiceField(Person.objects.none(), empty_label=None)
    name = forms.CharField(max_length=100, help_text="What uses it, so that others know what a revocation stops.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in sorted(TOKEN_SCOPES)],
        widget=forms.CheckboxSelectMultiple,
        help_text="The token never has more rights than its owner.",
    )
    rings = forms.ModelMultipleChoiceField(
        KeyRing.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: wherever its owner may act.",
    )
    cidrs = forms.CharField(
        label="Allowed networks",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line, such as 10.1.0.0/16 or 2001:db8::/32. None: from anywhere.",
    )
    expires_at = forms.DateTimeField(
        label="Expires (UTC)", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    def __init__(self, *args: Any, owners: QuerySet[Person], rings: QuerySet[KeyRing], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner: Any = self.fields["owner"]
        ring: Any = self.fields["rings"]
        owner.queryset, ring.queryset = owners, rings

    def clean_cidrs(self) -> list[str]:
        return str(self.cleaned_data["cidrs"]).split()
