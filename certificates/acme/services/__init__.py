"""The acts of ACME: of officers who let an authority serve it, and of the accounts that order certificates."""
