"""A share as it is printed: numbered words, a QR code drawn here, and what tells the card from others."""

import io
from dataclasses import dataclass

import segno
from django.utils.safestring import SafeString, mark_safe

from ceremonies.models import Ceremony, Share


@dataclass(frozen=True, slots=True)
class Card:
    """Lives for one answer only."""

    words: list[tuple[int, str]]
    qr: SafeString

    def __repr__(self) -> str:
        return "Card(...)"


def card_of(share: Share, ceremony: Ceremony, words: str) -> Card:
    """The card of one share; `words` are separated by single spaces."""
    return Card(list(enumerate(words.split(), 1)), _qr(words))


def _qr(text: str) -> SafeString:
    """A QR code (ISO/IEC 18004, level M) of the text as inline SVG, without styles."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=True,
        omitsize=True,
        scale=4,
        border=4,
        svgclass="qr-code",
        lineclass=None,
        title="The words as a QR code",
        dark="#000",
        light="#fff",
    )
    return mark_safe(out.getvalue().decode())  # noqa: S308  drawn here, of modules only
