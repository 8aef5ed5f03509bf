"""The one table of rights, and the actor that carries them."""

import pytest

from keyvault_portal.accounts.actors import Actor, Grant, authorize
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import ROLE_PERMISSIONS, TOKEN_SCOPES, Permission, Role
from keyvault_portal.errors import NotAuthenticated, PermissionRefused

DATA_PLANE = {
    Permission.KEY_ENCRYPT, Permission.KEY_DECRYPT, Permission.KEY_REWRAP, Permission.KEY_GENERATE, Permission.KEY_SIGN,
    Permission.KEY_VERIFY, Permission.KEY_MAC,
}  # fmt: skip


@pytest.mark.parametrize("permission", Permission)
def test_every_permission_belongs_to_a_role(permission):
    assert any(permission in held for held in ROLE_PERMISSIONS.values())


def test_every_role_has_its_line_in_the_table():
    assert set(ROLE_PERMISSIONS) == set(Role)


def test_auditors_only_view_and_export():
    assert {p.value.split(".")[1] for p in ROLE_PERMISSIONS[Role.AUDITOR]} == {"view", "export"}


def test_auditors_see_everything_there_is_to_see():
    assert {p for p in Permission if p.value.endswith(".view")} <= ROLE_PERMISSIONS[Role.AUDITOR]


def test_officers_govern_keys_and_never_use_them():
    assert not ROLE_PERMISSIONS[Role.SECURITY_OFFICER] & DATA_PLANE
    assert ROLE_PERMISSIONS[Role.SECURITY_OFFICER] | DATA_PLANE == set(Permission)


def test_services_use_keys_say_what_they_trust_and_found_and_govern_nothing():
    says = {Permission.KEY_VIEW, Permission.TRUST_REPORT, Permission.CERTIFICATE_REPORT}
    assert ROLE_PERMISSIONS[Role.SERVICE] == DATA_PLANE | says


def test_no_token_agrees_or_makes_tokens():
    assert set(Permission) - TOKEN_SCOPES == {
        Permission.APPROVAL_DECIDE,
        Permission.APPROVAL_BREAK_GLASS,
        Permission.KEY_COMPONENT,
        Permission.TOKEN_MANAGE,
    }


def test_a_ring_grant_reaches_its_ring_only(ring, other_ring):
    actor = Actor(None, "person", "x", (Grant(frozenset({Permission.KEY_ROTATE}), ring.pk),))
    assert actor.can(Permission.KEY_ROTATE, ring.pk)
    for elsewhere in (other_ring.pk, None):
        with pytest.raises(PermissionRefused):
            authorize(actor, Permission.KEY_ROTATE, ring_id=elsewhere)


def test_rights_take_one_query_however_many_bindings(person, ring, other_ring, django_assert_num_queries):
    someone = person("ann", "operator", ring)
    for role, where in (("auditor", other_ring), ("custodian", None), ("service", ring)):
        RoleBinding.objects.create(person=someone, role=role, ring=where, created_by="test")
    with django_assert_num_queries(1):
        actor = actor_for_person(someone)
    assert actor.can(Permission.KEY_ENCRYPT, ring.pk)
    assert not actor.can(Permission.KEY_ENCRYPT, other_ring.pk)
    assert actor.can(Permission.AUDIT_EXPORT, other_ring.pk)
    assert actor.can(Permission.APPROVAL_DECIDE)


def test_an_inactive_person_is_no_actor(person):
    with pytest.raises(NotAuthenticated):
        actor_for_person(person("ann", "operator", is_active=False))


def test_flags_of_django_give_nothing(person):
    someone = person("root")
    someone.is_superuser = someone.is_staff = True
    assert not someone.has_perm("accounts.delete_person")
    assert not someone.has_module_perms("accounts")
    assert actor_for_person(someone).grants == ()
    assert not any(field.name in {"is_superuser", "is_staff"} for field in Person._meta.get_fields())
