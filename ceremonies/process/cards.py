"""What a page needs to show a share as a card: the words, and the QR code of them."""

import segno

from keys.crypto.secret import SecretBytes


def for_page(words: SecretBytes) -> SecretBytes:
    """Lines of text: the words, then each row of their QR code (ISO/IEC 18004, level M) in hexadecimal, from the left, 1 for dark."""
    rows = segno.make(words.reveal().decode(), error="m", micro=False).matrix
    digits = -(-len(rows) // 4)
    lines = (f"{int(''.join(map(str, row)).ljust(4 * digits, '0'), 2):0{digits}x}".encode() for row in rows)
    return SecretBytes(b"\n".join((words.reveal(), *lines)))
