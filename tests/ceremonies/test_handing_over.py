"""The recovered key on its way into a provider that is down, refuses, or loses its answer."""

from uuid import uuid4

import pytest

from ceremonies import offline
from ceremonies.packages import MasterKey
from ceremonies.process.key_services import PortalKeyServices
from keys.crypto.secret import SecretBytes
from keys.models import Key, ProviderIntent, SealedValue
from keys.provider_tasks import provider_work
from keys.providers import registry
from keys.services import materials
from keys.services.providers import breaker, intents
from keyvault_portal.errors import Conflict, NotFound, PermissionRefused, ProviderUnavailable
from tests.provider_services.conftest import kinds, register, there
from tests.shop import fresh_caches, organisation

__all__ = ["fresh_caches", "kinds", "organisation", "there"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hand_over(organisation, there):
    """hand_over(...): the master key `root`, recovered in one ceremony, into the provider `far`."""
    registry.forget()
    register(organisation.actor("ada"))
    root = organisation.keys["root"]
    version = materials.active_version(root)
    material = materials.material(version).reveal()
    known = MasterKey(root.pk, 1, "root", root.algorithm, "local", offline.check_value(material, root.algorithm))
    values = {
        "key": known, "material": SecretBytes(material), "provider": "far", "person_id": organisation.people["ada"].pk,
        "approval_id": None, "ceremony_id": uuid4(),
    }  # fmt: skip

    def go(**more):
        breaker.answered("far")
        return PortalKeyServices().hand_over(**{**values, **more})

    go.values, go.sealed = values, materials.cipher(version).encrypt(b"of before", b"aad")
    return go


def the_intent():
    return ProviderIntent.objects.get(act="import")


def test_it_is_imported_once_and_sealed_nowhere(hand_over, there):
    before = SealedValue.objects.count()
    handed = hand_over()
    assert hand_over() == handed
    assert SealedValue.objects.count() == before
    assert len(there.keys) == 1
    made = Key.objects.get(pk=handed.key_id)
    assert made.labels == {"recovered-in-ceremony": str(hand_over.values["ceremony_id"])}
    assert materials.cipher(materials.active_version(made)).decrypt(hand_over.sealed, b"aad") == b"of before"


@pytest.mark.parametrize(
    ("fault", "refusal"), [("down", ProviderUnavailable), ("throttled", ProviderUnavailable), ("refuses", Conflict)]
)
def test_a_fault_is_said_and_the_next_try_succeeds(hand_over, there, fault, refusal):
    setattr(there, fault, True)
    for _ in range(2):
        with pytest.raises(refusal, match="stand-in"):
            hand_over()
    assert the_intent().state in {"waiting", "failed"}
    assert the_intent().pk not in intents.stale()
    provider_work(str(the_intent().pk))  # a worker cannot help: nobody but the ceremony has the material
    assert there.keys == {}
    assert Key.objects.filter(name__startswith="root-recovered").count() == 1
    setattr(there, fault, False)
    hand_over()
    assert the_intent().state == "done"
    assert len(there.keys) == 1


def test_an_answer_that_was_lost_leaves_one_key(hand_over, there):
    there.lose_answer = True
    with pytest.raises(ProviderUnavailable):
        hand_over()
    there.lose_answer = False
    hand_over()
    assert len(there.keys) == 1


def test_another_provider_is_another_try(hand_over, there):
    there.refuses = True
    with pytest.raises(Conflict):
        hand_over()
    handed = hand_over(provider="local")
    assert handed.intent_id is None
    assert materials.material(Key.objects.get(pk=handed.key_id).versions.get()) == hand_over.values["material"]


def test_only_who_may_and_only_a_key_of_this_portal(hand_over, organisation):
    with pytest.raises(PermissionRefused):
        hand_over(person_id=organisation.people["fay"].pk)
    stranger = MasterKey(uuid4(), 1, "root", "AES-256-GCM", "local", "")
    with pytest.raises(NotFound):
        hand_over(key=stranger)
    assert not Key.objects.filter(name__startswith="root-recovered").exists()
