"""Rows as one caller may see them: those on some key rings, and one of them by its number."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Model, QuerySet

from keyvault_portal.errors import NotFound


def on_rings[M: Model](rows: QuerySet[M], rings: Iterable[UUID] | None, ring: str = "ring_id") -> QuerySet[M]:
    """Those of `rows` whose `ring` is among `rings`, as `Actor.ring_ids` says them: None for all."""
    return rows if rings is None else rows.filter(**{f"{ring}__in": rings})


def found[M: Model](rows: QuerySet[M], pk: object, what: str) -> M:
    """The row, or NotFound when it does not exist or lies outside what the caller may see: the two look alike."""
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound(f"There is no such {what}, or you may not see it.")
    return row
