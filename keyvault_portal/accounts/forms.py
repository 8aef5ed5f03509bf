"""Forms of the account pages; the services check again."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html


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
