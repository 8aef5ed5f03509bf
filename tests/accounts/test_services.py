"""People, roles, rings, links and sessions: who may change them, and what always stays true."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from allauth.usersessions.models import UserSession
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from keyvault_portal.accounts import services
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import OneTimeLink, Person, RoleBinding
from keyvault_portal.accounts.services import agreement
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import (
    ApprovalRequired,
    Conflict,
    NotFound,
    PermissionRefused,
    ValidationFailed,
    WrongState,
)

PASSWORD = "long horse battery 9"
APPROVAL = "3f0a8c52-0000-4000-8000-000000000000"


def link_of(address):
    return address.rstrip("/").rsplit("/", 1)[1]


def redeem(link, **changes):
    return services.redeem_setup_link(
        **{"link": link, "email": "ada@example.org", "name": "Ada", "password": PASSWORD} | changes
    )


def test_the_set_up_link_makes_one_officer_and_never_another(db, settings):
    address = services.create_setup_link()
    assert address.startswith(settings.PORTAL_ORIGIN + "/set-up/")
    ada = redeem(link_of(address))
    assert actor_for_person(ada).holds_role("security_officer")
    assert ada.check_password(PASSWORD)
    with pytest.raises(NotFound):
        redeem(link_of(address), email="eve@example.org")
    with pytest.raises(WrongState):
        services.create_setup_link()
    assert AuditEvent.objects.filter(action="setup.redeem", outcome="success").count() == 1


def test_a_second_set_up_link_ends_the_first(db):
    first, second = services.create_setup_link(), services.create_setup_link()
    with pytest.raises(NotFound):
        redeem(link_of(first))
    assert redeem(link_of(second)).pk


def test_a_set_up_link_is_worth_nothing_once_there_is_an_officer(db, person):
    link = link_of(services.create_setup_link())
    person("olga", "security_officer")
    with pytest.raises(WrongState):
        redeem(link)


def test_a_weak_password_leaves_the_set_up_link_unused(db):
    link = link_of(services.create_setup_link())
    with pytest.raises(ValidationFailed) as failure:
        redeem(link, password="password")
    assert "password" in failure.value.errors
    assert redeem(link).pk


def test_links_expire_and_must_match(db):
    link = link_of(services.create_setup_link())
    for wrong in ("", "x", link[:-1] + ("A" if link[-1] != "A" else "B"), link + "A"):
        with pytest.raises(NotFound):
            redeem(wrong)
    OneTimeLink.objects.update(expires_at=timezone.now())
    with pytest.raises(NotFound):
        redeem(link)


def test_only_a_digest_of_a_link_is_kept(db):
    secret = link_of(services.create_setup_link()).split("-", 1)[1]
    kept = OneTimeLink.objects.get()
    assert secret.encode() not in bytes(kept.digest)
    assert all(secret.encode() not in bytes(event.leaf) for event in AuditEvent.objects.all())


def test_an_invitation_mails_a_link_that_works_once(officer_actor):
    ann = services.invite(actor=officer_actor, email="Ann@Example.org", name="Ann")
    assert ann.email == "ann@example.org"
    address = next(line for line in mail.outbox[0].body.splitlines() if line.startswith("http"))
    assert mail.outbox[0].to == ["ann@example.org"]
    assert services.redeem_sign_in_link(link=link_of(address)) == ann
    with pytest.raises(NotFound):
        services.redeem_sign_in_link(link=link_of(address))


def test_a_sign_in_link_of_somebody_deactivated_is_refused(officer_actor, person):
    ann = person("ann")
    address = services.create_sign_in_link(actor=officer_actor, person=ann)
    services.deactivate_person(actor=officer_actor, person=ann)
    with pytest.raises(NotFound):
        services.redeem_sign_in_link(link=link_of(address))


def test_a_setup_link_is_no_sign_in_link(db):
    with pytest.raises(NotFound):
        services.redeem_sign_in_link(link=link_of(services.create_setup_link()))


def test_an_address_is_taken_whatever_its_case(officer_actor, officer):
    with pytest.raises(ValidationFailed) as failure:
        services.create_person(actor=officer_actor, email=officer.email.upper(), name="Twin")
    assert "email" in failure.value.errors


@pytest.mark.parametrize("role", ["operator", "custodian", "auditor", "service"])
def test_only_officers_govern_people(person, ring, role):
    actor, ann = actor_for_person(person("x", role)), person("ann")
    binding = RoleBinding.objects.create(person=ann, role="auditor", created_by="test")
    attempts = [
        lambda: services.create_person(actor=actor, email="n@example.org", name="N"),
        lambda: services.update_person(actor=actor, person=ann, name="N", site="", reporting_line=""),
        lambda: services.create_sign_in_link(actor=actor, person=ann),
        lambda: services.deactivate_person(actor=actor, person=ann),
        lambda: services.reactivate_person(actor=actor, person=ann),
        lambda: services.bind_role(actor=actor, person=ann, role="operator"),
        lambda: services.unbind_role(actor=actor, binding=binding),
        lambda: services.create_ring(actor=actor, name="n", title="N"),
        lambda: services.update_ring(actor=actor, ring=ring, title="N", description=""),
        lambda: services.revoke_sessions(actor=actor, person=ann),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionRefused):
            attempt()
    assert AuditEvent.objects.filter(outcome="refused").count() == len(attempts)
    assert not AuditEvent.objects.exclude(outcome="refused").exists()


def test_roles_are_given_once_and_taken_away(officer_actor, person, ring):
    ann = person("ann")
    binding = services.bind_role(actor=officer_actor, person=ann, role="operator", ring=ring)
    with pytest.raises(Conflict):
        services.bind_role(actor=officer_actor, person=ann, role="operator", ring=ring)
    services.bind_role(actor=officer_actor, person=ann, role="operator")
    services.unbind_role(actor=officer_actor, binding=binding)
    assert actor_for_person(ann).roles == {("operator", None)}


@pytest.fixture
def asked(monkeypatch):
    """What was asked of a gate that lets pass only what names the approval."""
    wishes = []

    def gate(wish):
        wishes.append(wish)
        if wish.approval_id != APPROVAL:
            raise ApprovalRequired(APPROVAL)

    monkeypatch.setattr(agreement, "_gate", [gate])
    return wishes


@pytest.mark.parametrize("role", ["security_officer", "custodian"])
def test_who_decides_is_changed_by_agreement_only(officer_actor, person, role, asked):
    ann = person("ann")
    acts = [
        ("person.bind_role", lambda **by: services.bind_role(actor=officer_actor, person=ann, role=role, **by)),
        ("person.deactivate", lambda **by: services.deactivate_person(actor=officer_actor, person=ann, **by)),
        ("person.reactivate", lambda **by: services.reactivate_person(actor=officer_actor, person=ann, **by)),
        (
            "person.unbind_role",
            lambda **by: services.unbind_role(actor=officer_actor, binding=ann.bindings.get(), **by),
        ),
    ]

    def state():
        return Person.objects.get(pk=ann.pk).is_active, list(ann.bindings.values_list("role", flat=True))

    for operation, act in acts:
        before = state()
        with pytest.raises(ApprovalRequired) as raised:
            act()
        assert raised.value.request_id == APPROVAL
        assert (asked[-1].operation, asked[-1].about.pk, state()) == (operation, ann.pk, before)
        act(approval_id=APPROVAL)
        assert state() != before
        assert APPROVAL.encode() in bytes(AuditEvent.objects.latest("seq").leaf)
    assert state() == (True, [])


def test_nobody_decides_where_agreement_is_not_available(officer_actor, person, monkeypatch):
    monkeypatch.setattr(agreement, "_gate", [])
    with pytest.raises(WrongState):
        services.bind_role(actor=officer_actor, person=person("ann"), role="security_officer")


def test_one_steps_down_without_asking(officer, officer_actor, person, asked):
    person("oscar", "security_officer")
    services.unbind_role(actor=officer_actor, binding=officer.bindings.get())
    person("otto", "security_officer")
    RoleBinding.objects.create(person=officer, role="security_officer", created_by="test")
    services.deactivate_person(actor=officer_actor, person=officer)
    assert not asked


def test_nobody_gives_themselves_a_role(officer_actor, officer):
    with pytest.raises(PermissionRefused):
        services.bind_role(actor=officer_actor, person=officer, role="service")


@pytest.mark.parametrize("role", ["security_officer", "custodian"])
def test_service_accounts_hold_no_human_role(officer_actor, person, role):
    with pytest.raises(ValidationFailed):
        services.bind_role(actor=officer_actor, person=person("shop", kind="service"), role=role)


def test_a_ring_officer_gives_roles_on_that_ring_only(person, ring, other_ring):
    actor, ann = actor_for_person(person("rita", "security_officer", ring)), person("ann")
    services.bind_role(actor=actor, person=ann, role="operator", ring=ring)
    for elsewhere in (other_ring, None):
        with pytest.raises(PermissionRefused):
            services.bind_role(actor=actor, person=ann, role="operator", ring=elsewhere)


def test_the_last_active_officer_stays(officer_actor, officer, person, ring):
    person("rita", "security_officer", ring)
    person("ines", "security_officer", is_active=False)
    with pytest.raises(WrongState):
        services.deactivate_person(actor=officer_actor, person=officer)
    with pytest.raises(WrongState):
        services.unbind_role(actor=officer_actor, binding=officer.bindings.get())
    person("oscar", "security_officer")
    services.unbind_role(actor=officer_actor, binding=officer.bindings.get())
    assert services.officer_exists()


def test_deactivation_ends_sessions_and_reactivation_gives_the_roles_back(officer_actor, person, session):
    ann = person("ann", "operator")
    opened = session(ann)
    services.deactivate_person(actor=officer_actor, person=ann)
    assert not opened.exists()
    assert not UserSession.objects.filter(user=ann).exists()
    with pytest.raises(WrongState):
        services.deactivate_person(actor=officer_actor, person=ann)
    ann = services.reactivate_person(actor=officer_actor, person=ann)
    assert actor_for_person(ann).holds_role("operator")


def test_somebody_inactive_gets_no_role_and_no_token(officer_actor, person):
    shop = person("shop", "service", kind="service")
    shop = services.deactivate_person(actor=officer_actor, person=shop)
    with pytest.raises(WrongState):
        services.bind_role(actor=officer_actor, person=shop, role="operator")
    with pytest.raises(WrongState):
        services.create_token(actor=officer_actor, owner=shop, name="late", scopes=["key.encrypt"])


def test_sessions_are_ended_by_their_owner_and_by_officers(officer_actor, person, session):
    ann, eve = person("ann", "operator"), person("eve", "operator")
    first, second, third = session(ann), session(ann), session(ann)
    with pytest.raises(PermissionRefused):
        services.revoke_session(actor=actor_for_person(eve), session=first)
    assert first.exists()
    services.revoke_session(actor=actor_for_person(ann), session=first)
    assert not first.exists()
    services.revoke_session(actor=officer_actor, session=second)
    by_token = replace(actor_for_person(ann), kind="token", token_id=uuid4())
    for end in (
        lambda: services.revoke_session(actor=by_token, session=third),
        lambda: services.revoke_sessions(actor=by_token, person=ann),
    ):
        with pytest.raises(PermissionRefused):
            end()
    assert third.exists(), "a token is not the person: it needs the right to manage people"
    fourth = session(ann)
    assert services.revoke_sessions(actor=actor_for_person(ann), person=ann, besides=fourth.session_key) == 1
    assert not third.exists()
    assert fourth.exists()


def test_rings_have_slugs_and_unique_names(officer_actor):
    services.create_ring(actor=officer_actor, name="payments", title="Payments")
    for name in ("payments", "Not a slug", ""):
        with pytest.raises(ValidationFailed) as failure:
            services.create_ring(actor=officer_actor, name=name, title="X")
        assert "name" in failure.value.errors


def test_links_live_a_day(officer_actor, person):
    services.create_sign_in_link(actor=officer_actor, person=person("ann"))
    left = OneTimeLink.objects.get().expires_at - timezone.now()
    assert timedelta(hours=23) < left <= timedelta(hours=24)


def test_a_second_sign_in_link_ends_the_first(officer_actor, person):
    ann, eve = person("ann"), person("eve")
    first, second, others = (
        link_of(services.create_sign_in_link(actor=officer_actor, person=someone)) for someone in (ann, ann, eve)
    )
    with pytest.raises(NotFound):
        services.redeem_sign_in_link(link=first)
    assert services.redeem_sign_in_link(link=second) == ann
    assert services.redeem_sign_in_link(link=others) == eve, "another person's link is another matter"


def test_a_service_account_gets_no_sign_in_link(officer_actor, person):
    with pytest.raises(WrongState):
        services.create_sign_in_link(actor=officer_actor, person=person("shop", "service", kind="service"))


def test_the_first_officer_takes_nobodys_address(person):
    person("ada")
    link = link_of(services.create_setup_link())
    with pytest.raises(ValidationFailed) as failure:
        redeem(link, email="ADA@example.org")
    assert "email" in failure.value.errors
    assert redeem(link, email="ada.berg@example.org").bindings.get().role == "security_officer"


def test_the_last_officer_may_lose_what_is_held_on_one_ring(officer_actor, officer, ring):
    binding = RoleBinding.objects.create(person=officer, role="security_officer", ring=ring, created_by="test")
    services.unbind_role(actor=officer_actor, binding=binding)
    assert officer.bindings.get().ring_id is None


@pytest.mark.parametrize("command", ["createsuperuser", "changepassword"])
def test_no_command_makes_or_changes_people_past_the_record(command: str) -> None:
    with pytest.raises(CommandError, match=r"page (People|Account)"):
        call_command(command)
