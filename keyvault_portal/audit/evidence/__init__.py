"""Evidence packs: the record and what other layers add to it, checkable offline by whoever trusts nobody here."""
