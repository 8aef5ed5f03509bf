"""The real thing: a master key in escrow by agreement, lost, recovered into another provider, data read again, a new escrow made."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ceremonies import offline
from ceremonies.errors import ShareOfAnotherPerson
from ceremonies.models import ShareGeneration
from ceremonies.script import Action
from ceremonies.services import custody, gathering
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyVersion
from keys.services import operations
from keys.services.exports import escrow
from keys.services.providers import registration
from keyvault_portal.errors import PortalError
from tests.api.conftest import SYSTEM, build_place, make_person
from tests.keys.conftest import forget_all
from tests.providers.grounds import Ground, standing
from tests.room.cast import HOLDERS, Cast, agree, plan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["pkcs11", "vault_transit"])
def ground(
    request: pytest.FixtureRequest, places: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """A real SoftHSM and a real OpenBao, as both this process and the ceremony's reach them."""
    with standing(request.param, places, tmp_path, settings, monkeypatch) as found:
        yield found


def test_what_was_encrypted_before_the_loss_is_read_through_another_provider(
    people, planner, ground, start_process, settings
):
    place, officers = build_place("payments"), [make_person(name, "security_officer") for name in ("boris", "chen")]
    registration.register_provider(
        actor=planner, kind=ground.kind, alias="hsm", title="Elsewhere", values=ground.values | {"timeout": "30"}
    )
    settings.CEREMONY_SOCKET = str(start_process(**ground.environment).client.path)
    root, data = place.keys["root"], place.keys["data"]
    ciphertext = operations.encrypt(SYSTEM, data.pk, b"of before the loss").ciphertext

    cast = Cast(planner, plan(planner, key=root, practice=False))
    cast.seat_staff()
    cast.seat_holders(*HOLDERS)
    agree(cast, *officers)
    cast.hold_escrow()
    made = ShareGeneration.objects.get()
    assert (made.key, made.state, made.key_version) == (root, "active", 1)

    KeyVersion.objects.filter(key=root).update(wrapped_material=secrets.token_bytes(64))
    forget_all()
    with pytest.raises(PortalError):
        operations.decrypt(SYSTEM, data.pk, ciphertext)

    recovery = Cast(
        planner, plan(planner, "recovery:2", title="Recovery", key=root, practice=False, provider="hsm"), cast.words
    )
    recovery.seat_staff()
    agree(recovery, *officers)
    recovery.gather(besides=("jane", "lucy"))
    recovery.start()
    recovery.until(Action.COLLECT)
    gathering.open_attempt(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    for name in ("karl", "hana", "igor"):
        recovery.submit(name, cast.words[name])
    recovery.sign_all()
    recovery.sign_all()
    gathering.recover(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    gathering.take_place(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    assert recovery.now.result["wrapped_keys_moved"] == 1
    new = Key.objects.get(pk=recovery.ceremony.result["key"])
    assert (new.provider, Key.objects.get(pk=place.keys["kek"].pk).parent) == ("hsm", new)
    forget_all()
    assert operations.decrypt(SYSTEM, data.pk, ciphertext).plaintext == b"of before the loss"

    made.refresh_from_db()
    assert made.state == "dead"
    said = [sentence for _, sentence, script, _ in custody.due(planner) if script and sentence.startswith(f"{new}:")]
    assert "A new escrow with new shares is needed" in said[0]
    assert custody.remind() >= 1
    assert custody.remind() == 0  # once a week
    _a_new_escrow_out_of_the_old_shares(planner, officers, new, recovery)


def _a_new_escrow_out_of_the_old_shares(planner: Any, officers: Any, new: Key, recovery: Cast) -> None:
    """The provider gives the key to nobody, so the shares that brought it back open their package once more."""
    with pytest.raises(PortalError), SecretBytes(secrets.token_bytes(32)) as passing:
        escrow.wrap_for_escrow(actor=planner, key_id=new.pk, escrow_key=passing, reason="A new escrow.")
    made = Cast(
        planner, plan(planner, "refresh-from-shares:1", title="New escrow", key=new, practice=False, share_count=4)
    )
    made.seat_staff()
    made.seat_holders("nora", "hana", "igor", "karl")
    agree(made, *officers).gather()
    made.start()
    made.collect()
    with pytest.raises(ShareOfAnotherPerson):
        made.submit("nora", recovery.words["lucy"])
    for name in ("karl", "hana", "igor"):
        made.submit(name, recovery.words[name])
    made.sign_all()
    made.perform(Action.UNWRAP)
    made.sign_all()
    made.perform(Action.DEAL)
    made.sign_all()
    made.hand_out()
    made.put_in_force()
    made.close()
    second = ShareGeneration.objects.get(state="active")
    told = recovery.now.told_result
    assert told["key"] == f"{new}, version {new.current.key_version}"
    assert not {"intent", "version"} & told.keys(), "row numbers are nothing for people"
    assert (second.key, second.number, second.key_version) == (new, 1, new.current.key_version)
    package = offline.read_package(bytes(second.package))
    opened = offline.open_package(package, offline.combine([made.words[name] for name in ("nora", "hana", "igor")]))
    assert offline.check_value(opened, new.algorithm) == second.check_value == recovery.now.result["check_value"]
    with pytest.raises(offline.Problem):
        offline.open_package(package, offline.combine([recovery.words[name] for name in ("lucy", "hana", "igor")]))
    assert not any(sentence.startswith(f"{new}: without escrow") for _, sentence, *_ in custody.due())
    assert plan(planner, "recovery:2", key=new, practice=False, provider="local").source == second
