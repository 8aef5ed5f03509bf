"""KeyVault Portal: key lifecycle governance. Wiring and the floor apps live here."""

import gc

# The modules of a start and a page of rows are thousands of new objects and none of them in a cycle: they are looked for
# after so many objects that are still there, instead of after PYTHONS_OWN.
CALM, PYTHONS_OWN = 50_000, gc.get_threshold()
gc.set_threshold(CALM)
