"""A card with one wrong word, whatever was drawn for it."""


def mistyped(card: str, place: int = 7) -> str:
    """The words with another one of the list at `place`; a fixed word would be the right one on one card of 1,024."""
    words = card.split()
    words[place] = "academic" if words[place] != "academic" else "acid"
    return " ".join(words)
