"""The real thing: a master key in escrow by agreement, lost, recovered into an HSM, and data of before read again."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from ceremonies.models import ShareGeneration
from ceremonies.script import Action
from ceremonies.services import custody, gathering, plans
from keys.models import Key, KeyVersion
from keys.services import operations
from keys.services.providers import registration
from keyvault_portal.errors import PortalError
from tests.api.conftest import SYSTEM, build_place, make_person
from tests.keys.conftest import forget_all
from tests.providers.place_pkcs11 import MODULE, PIN, initialise
from tests.room.cast import HOLDERS, Cast, agree, plan

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_softhsm]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> dict[str, str]:
    """An empty HSM, registered as "hsm"; the environment in which another process reaches it."""
    tokens, conf, pin = tmp_path / "tokens", tmp_path / "softhsm2.conf", tmp_path / "pin"
    tokens.mkdir()
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin.write_text(PIN)
    pin.chmod(0o600)
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    initialise("recovery", PIN)
    settings.PKCS11_MODULES = [MODULE]
    return {"SOFTHSM2_CONF": str(conf), "PKCS11_MODULES": MODULE, "pin": str(pin)}


def test_what_was_encrypted_before_the_loss_is_read_through_the_hsm(people, planner, token, start_process, settings):
    place, officers = build_place("payments"), [make_person(name, "security_officer") for name in ("boris", "chen")]
    values = {"module": MODULE, "token": "recovery", "pin_source": f"file:{token.pop('pin')}", "timeout": "30"}
    registration.register_provider(actor=planner, kind="pkcs11", alias="hsm", title="HSM", values=values)
    settings.CEREMONY_SOCKET = str(start_process(**token).client.path)
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
        planner, plan(planner, "recovery:1", title="Recovery", key=root, practice=False, provider="hsm"), cast.words
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
    said = [sentence for _, sentence, held in custody.due(planner) if held and sentence.startswith(f"{new}:")]
    assert "A new escrow with new shares is needed." in said[0]
    assert custody.remind() >= 1
    assert custody.remind() == 0  # once a week
    escrow = plans.plan_ceremony(
        actor=planner, title="New escrow", script="escrow:1", purpose="After the recovery.", key=new, place="Oslo", time_zone="UTC",
        starts_at=recovery.ceremony.starts_at, threshold=3, share_count=5,
    )  # fmt: skip
    assert escrow.source is None
