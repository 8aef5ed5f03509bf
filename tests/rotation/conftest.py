"""The organisation and its shop."""

from tests.shop import active, customers, fresh_caches, organisation, shop

__all__ = ["active", "customers", "fresh_caches", "organisation", "shop"]
