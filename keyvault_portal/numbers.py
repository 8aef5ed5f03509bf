"""Numbers of things in sentences."""


def counted(number: int, one: str, many: str) -> str:
    """The number with the words for one thing or for several, such as "1 item waits" and "2,000 items wait"."""
    return f"{number:,} {one if number == 1 else many}"
