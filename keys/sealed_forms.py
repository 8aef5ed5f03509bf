"""Forms of what a page's script sealed before it left the browser (`ceremony-seal.js`): ciphertext, never what was typed."""

import base64
import binascii
from typing import Any

from django import forms

from keys.forms import ServiceForm


class Base64Field(forms.CharField):
    """Text in base64, as bytes."""

    def clean(self, value: Any) -> bytes:
        text = "".join(str(super().clean(value) or "").split())
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise forms.ValidationError("This is not base64.") from None


class SealedForm(ServiceForm):
    """What was typed has no name and is never sent; this is what the script made of it, or what the offline tool wrote."""

    sealed = Base64Field(max_length=8192, widget=forms.HiddenInput(attrs={"data-sealed": ""}))


class RecipientForm(forms.Form):
    """The public half of a key that the page made for this one answer."""

    key = Base64Field(max_length=64, widget=forms.HiddenInput)
