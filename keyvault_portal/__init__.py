"""KeyVault Portal: key lifecycle governance. Wiring and the floor apps live here."""

import gc

# The modules of a start and a page of rows are thousands of new objects and none of them in a cycle.
gc.set_threshold(50_000)
