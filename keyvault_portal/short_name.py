"""The names by which programs know a thing: keys, rings, stores, providers, authorities."""

from typing import Any, ClassVar

from django import forms


class ShortNameField(forms.SlugField):
    """Letters, digits, hyphens and underscores; what is wrong is said without the word of the trade for that."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "Letters, digits, hyphens and underscores only, without spaces."
    }
