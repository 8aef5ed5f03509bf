"""The only writers of people, roles, rings, tokens, links and sessions."""

from keyvault_portal.accounts.services.links import (
    create_setup_link,
    create_sign_in_link,
    link_works,
    redeem_setup_link,
    redeem_sign_in_link,
)
from keyvault_portal.accounts.services.officers import officer_exists

__all__ = [
    "create_setup_link",
    "create_sign_in_link",
    "link_works",
    "officer_exists",
    "redeem_setup_link",
    "redeem_sign_in_link",
]
