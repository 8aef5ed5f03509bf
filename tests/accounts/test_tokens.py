"""API tokens: what opens, what does not, and that refusals look alike."""

import hmac
from datetime import timedelta

import pytest
from django.utils import timezone

from keyvault_portal.accounts import credentials, services
from keyvault_portal.accounts.identity import TokenRefused, actor_for_person, actor_for_token, token_policy
from keyvault_portal.accounts.models import ApiToken, RoleBinding
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.edges import problem
from keyvault_portal.errors import PermissionRefused, ValidationFailed, WrongState

E, D, V = Permission.KEY_ENCRYPT, Permission.KEY_DECRYPT, Permission.KEY_VIEW


@pytest.fixture
def shop(person):
    return person("shop", "service", kind="service")


@pytest.fixture
def make(officer_actor, shop):
    def make(**options):
        options = {"owner": shop, "name": "shop", "scopes": ["key.encrypt", "key.view"]} | options
        return services.create_token(actor=officer_actor, **options)

    return make


def test_a_token_acts_with_its_scopes_and_no_more(make, shop):
    token, text = make()
    actor = actor_for_token(text, "192.0.2.1")
    assert (actor.id, actor.kind, actor.token_id, actor.address) == (shop.pk, "token", token.pk, "192.0.2.1")
    assert actor.can(E)
    assert not actor.can(D)
    assert actor.roles == {("service", None)}


def test_a_scope_gives_nothing_its_owner_lacks(make):
    _, text = make(scopes=["key.encrypt", "person.manage"])
    assert not actor_for_token(text, None).can(Permission.PERSON_MANAGE)


def test_a_token_loses_what_its_owner_loses(make, shop):
    _, text = make()
    RoleBinding.objects.filter(person=shop).delete()
    assert actor_for_token(text, None).grants == ()


def test_ring_limits_narrow_an_owner_on_everything(make, ring, other_ring):
    _, text = make(rings=[ring])
    actor = actor_for_token(text, None)
    assert actor.can(E, ring.pk)
    assert not actor.can(E, other_ring.pk)
    assert not actor.can(E)


def test_ring_limits_never_widen_an_owner_on_one_ring(make, person, ring, other_ring):
    narrow = person("narrow", "service", ring, kind="service")
    _, text = make(owner=narrow, rings=[ring, other_ring])
    actor = actor_for_token(text, None)
    assert actor.can(E, ring.pk)
    assert not actor.can(E, other_ring.pk)
    assert actor.roles == {("service", ring.pk)}, "policies name roles: these are not widened either"
    _, elsewhere = make(owner=narrow, rings=[other_ring])
    actor = actor_for_token(elsewhere, None)
    assert (actor.grants, actor.roles) == ((), frozenset()), "a ring on which the owner holds nothing gives nothing"


def test_a_token_ends_at_its_very_time(make):
    token, text = make(expires_at=timezone.now() + timedelta(hours=1))
    policy, secret = token_policy(token.pk), text[37:]
    assert policy.admit(secret, None, token.expires_at - timedelta(microseconds=1)).can(E)
    with pytest.raises(TokenRefused, check=lambda refusal: refusal.reason == "token_expired"):
        policy.admit(secret, None, token.expires_at)


@pytest.mark.parametrize(
    ("cidrs", "address", "admitted"),
    [
        (["10.1.0.0/16"], "10.1.2.3", True),
        (["10.1.0.0/16"], "10.2.0.1", False),
        (["10.1.0.0/16"], "::ffff:10.1.2.3", True),
        (["2001:db8::/32"], "2001:db8::7", True),
        (["2001:db8::/32"], "2001:db9::7", False),
        (["2001:db8::/32"], "10.1.2.3", False),
        (["10.1.0.0/16", "2001:db8::/32"], "2001:db8::7", True),
        (["10.1.0.0/16"], None, False),
        (["10.1.0.0/16"], "nonsense", False),
        ([], None, True),
    ],
)
def test_networks(make, cidrs, address, admitted):
    _, text = make(cidrs=cidrs)
    if admitted:
        assert actor_for_token(text, address).can(E)
    else:
        with pytest.raises(TokenRefused) as refusal:
            actor_for_token(text, address)
        assert refusal.value.reason == "address_not_allowed"


def _revoked(token, shop):
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())


def _expired(token, shop):
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())


def _inactive(token, shop):
    shop.is_active = False
    shop.save()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_revoked, "token_revoked"), (_expired, "token_expired"), (_inactive, "owner_inactive")],
)
def test_what_ends_a_token(make, shop, spoil, reason):
    token, text = make()
    assert actor_for_token(text, None).can(E)
    spoil(token, shop)
    with pytest.raises(TokenRefused) as refusal:
        actor_for_token(text, "192.0.2.9")
    assert refusal.value.reason == reason
    event = AuditEvent.objects.get(action="token.use")
    assert (event.outcome, event.target_id) == ("refused", str(token.pk))
    assert reason.encode() in bytes(event.leaf)
    assert text[37:].encode() not in bytes(event.leaf)


def test_a_loop_of_refusals_does_not_fill_the_record(make, shop):
    token, text = make()
    _revoked(token, shop)
    for _ in range(5):
        with pytest.raises(TokenRefused):
            actor_for_token(text, None)
    assert AuditEvent.objects.filter(action="token.use").count() == 1


def test_without_the_secret_all_refusals_read_the_same(make, shop):
    _, text = make(cidrs=["10.0.0.0/8"])
    other, _ = make(name="other")
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    swapped = f"kvp_{other.pk.hex}_{text[37:]}"
    unknown = f"kvp_{'0' * 32}_{text[37:]}"
    malformed = ["", "kvp_", "kvp_x_y", text + "A", text + "\n", " " + text, "é" * 80]
    said = set()
    for candidate in [wrong, swapped, unknown, *malformed]:
        with pytest.raises(TokenRefused) as refusal:
            actor_for_token(candidate, "192.0.2.1")
        said.add(str(problem(refusal.value)))
    assert len(said) == 1
    with pytest.raises(TokenRefused, match="not accepted from here"):
        actor_for_token(text, "192.0.2.1")
    assert actor_for_token(text, "10.0.0.1").can(E)


def test_without_the_secret_nobody_learns_the_tokens_state(make, shop):
    token, text = make()
    _revoked(token, shop)
    with pytest.raises(TokenRefused) as refusal:
        actor_for_token(text[:-1] + ("A" if text[-1] != "A" else "B"), None)
    assert refusal.value.reason == "wrong_secret"


def test_only_a_peppered_digest_bound_to_the_id_is_kept(make, settings):
    token, text = make()
    secret = text[37:]
    kept = bytes(ApiToken.objects.get(pk=token.pk).digest)
    assert kept == hmac.digest(settings.TOKEN_PEPPER.encode(), token.pk.bytes + secret.encode(), "sha256")
    settings.TOKEN_PEPPER = "another"
    with pytest.raises(TokenRefused):
        actor_for_token(text, None)


def test_digests_are_compared_in_constant_time(make, monkeypatch):
    _, text = make()
    compared = []
    monkeypatch.setattr(credentials.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or False)
    with pytest.raises(TokenRefused):
        actor_for_token(text, None)
    assert len(compared) == 1
    assert compared[0][0] == compared[0][1]


def test_last_use_is_noted_at_most_once_a_minute(make):
    token, text = make()
    actor_for_token(text, "192.0.2.1")
    first = ApiToken.objects.get(pk=token.pk)
    assert first.last_used_ip == "192.0.2.1"
    actor_for_token(text, "192.0.2.2")
    assert ApiToken.objects.get(pk=token.pk).last_used_at == first.last_used_at
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
    actor_for_token(text, "192.0.2.2")
    assert ApiToken.objects.get(pk=token.pk).last_used_ip == "192.0.2.2"


def test_a_tokens_use_takes_three_queries(make, ring, other_ring, django_assert_num_queries):
    _, text = make(rings=[ring, other_ring])
    actor_for_token(text, None)
    with django_assert_num_queries(3):
        actor_for_token(text, None)


def test_nobody_makes_tokens_in_another_persons_name(officer_actor, person):
    with pytest.raises(PermissionRefused):
        services.create_token(actor=officer_actor, owner=person("ann"), name="x", scopes=["key.view"])


def test_people_make_tokens_of_their_own(person):
    ann = person("ann", "operator")
    scopes = ["key.view", "key.rotate"]
    _, text = services.create_token(actor=actor_for_person(ann), owner=ann, name="cli", scopes=scopes)
    assert actor_for_token(text, None).can(Permission.KEY_ROTATE)


def test_tokens_make_no_tokens(person):
    ann = person("ann", "operator")
    _, text = services.create_token(actor=actor_for_person(ann), owner=ann, name="cli", scopes=["key.view"])
    with pytest.raises(PermissionRefused):
        services.create_token(actor=actor_for_token(text, None), owner=ann, name="child", scopes=["key.view"])


def test_operators_make_no_tokens_for_services(person, shop):
    ann = actor_for_person(person("ann", "operator"))
    with pytest.raises(PermissionRefused):
        services.create_token(actor=ann, owner=shop, name="x", scopes=["key.view"])


def test_a_ring_officer_makes_service_tokens_on_that_ring_only(person, shop, ring, other_ring):
    actor = actor_for_person(person("rita", "security_officer", ring))
    services.create_token(actor=actor, owner=shop, name="x", scopes=["key.view"], rings=[ring])
    for rings in ([], [other_ring], [ring, other_ring]):
        with pytest.raises(PermissionRefused):
            services.create_token(actor=actor, owner=shop, name="x", scopes=["key.view"], rings=rings)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["approval.decide"]}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"name": " "}, "name"),
        ({"cidrs": ["10.0.0.1/8"]}, "cidrs"),
        ({"cidrs": ["example.org"]}, "cidrs"),
        ({"expires_at": timezone.now()}, "expires_at"),
    ],
)
def test_what_a_token_cannot_be_made_of(make, options, field):
    with pytest.raises(ValidationFailed) as failure:
        make(**options)
    assert field in failure.value.errors


def test_revoking_is_for_the_owner_and_managers_and_once(make, officer_actor, person):
    token, text = make()
    with pytest.raises(PermissionRefused):
        services.revoke_token(actor=actor_for_person(person("ann", "operator")), token=token)
    services.revoke_token(actor=officer_actor, token=token)
    with pytest.raises(WrongState):
        services.revoke_token(actor=officer_actor, token=token)
    with pytest.raises(TokenRefused):
        actor_for_token(text, None)
    outcomes = AuditEvent.objects.filter(action="token.revoke").order_by("seq").values_list("outcome", flat=True)
    assert list(outcomes) == ["refused", "success", "refused"]
