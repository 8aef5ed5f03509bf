"""The only writers of people, roles, rings, tokens, links and sessions."""

from keyvault_portal.accounts.services.agreement import (
    BIND_ROLE,
    CHANGE_ADDRESS,
    DEACTIVATE,
    REACTIVATE,
    TAKE_AWAY,
    UNBIND_ROLE,
    Wish,
    decides,
    register_gate,
)
from keyvault_portal.accounts.services.links import (
    create_setup_link,
    create_sign_in_link,
    link_works,
    redeem_setup_link,
    redeem_sign_in_link,
)
from keyvault_portal.accounts.services.officers import officer_exists
from keyvault_portal.accounts.services.people import (
    MailUnavailable,
    create_person,
    deactivate_person,
    invite,
    locked,
    on_address_changed,
    reactivate_person,
    send_invitation,
    update_person,
)
from keyvault_portal.accounts.services.roles import (
    bind_role,
    create_ring,
    unbind_role,
    update_ring,
    where,
)
from keyvault_portal.accounts.services.sessions import revoke_session, revoke_sessions
from keyvault_portal.accounts.services.tokens import create_token, revoke_token

__all__ = [
    "BIND_ROLE",
    "CHANGE_ADDRESS",
    "DEACTIVATE",
    "REACTIVATE",
    "TAKE_AWAY",
    "UNBIND_ROLE",
    "MailUnavailable",
    "Wish",
    "bind_role",
    "create_person",
    "create_ring",
    "create_setup_link",
    "create_sign_in_link",
    "create_token",
    "deactivate_person",
    "decides",
    "invite",
    "link_works",
    "locked",
    "officer_exists",
    "on_address_changed",
    "reactivate_person",
    "redeem_setup_link",
    "redeem_sign_in_link",
    "register_gate",
    "revoke_session",
    "revoke_sessions",
    "revoke_token",
    "send_invitation",
    "unbind_role",
    "update_person",
    "update_ring",
    "where",
]
