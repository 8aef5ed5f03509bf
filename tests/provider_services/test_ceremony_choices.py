"""What a plan may choose: a key that could not be dealt, or brought, is refused when it is planned, with what to do instead."""

from typing import Any

import pytest

from ceremonies.models import Ceremony
from keys.models import Key
from keyvault_portal.errors import ValidationFailed
from tests.provider_services.conftest import register, work
from tests.room.cast import plan


def refused(actor: Any, field: str, script: str, key: Key | None, **more: Any) -> str:
    with pytest.raises(ValidationFailed) as found:
        plan(actor, script, key=key, **({"practice": False} | more))
    assert not Ceremony.objects.exists()
    return str(found.value.errors[field][0])


def test_a_key_that_its_provider_gives_to_nobody_is_in_no_escrow(far, there, sealing, tree, officer, remote_key):
    key = remote_key("far-root", "master")
    assert refused(officer, "key", "escrow:1", key).startswith("It has no version in use.")
    work(key)
    key.refresh_from_db()
    for script in ("escrow:1", "refresh:2"):
        said = refused(officer, "key", script, key)
        assert said.startswith(
            "The provider far gives no key out. A key that is to leave is made where keys are given out"
        )
    assert plan(officer, "escrow:1", key=key).practice, "a rehearsal takes no key out of its place"


def test_a_key_that_may_not_be_given_out_says_why(tree, officer):
    said = refused(officer, "key", "escrow:1", tree.dek)
    assert "may not be exported. It was made not to be exported" in said
    assert plan(officer, "escrow:1", key=tree.master, practice=False).key == tree.master


def test_no_key_is_brought_where_none_is_taken(far, there, sealing, tree, officer, remote_key):
    register(officer, "wrap_only", "tight")
    key = remote_key("tight-kek", provider="tight")
    said = refused(officer, "key", "byok:1", key, threshold=2, share_count=2)
    assert (
        said == "The provider tight takes no material made elsewhere. Make the key at a provider that takes material."
    )
    assert plan(officer, "byok:1", key=remote_key("far-kek"), practice=False, threshold=2, share_count=2)


def test_a_recovery_goes_where_keys_of_its_kind_are_taken(far, there, sealing, tree, officer, remote_key):
    register(officer, "wrap_only", "tight")
    wide = tree.make("wide", "master", "AES-256-GCM-SIV", None)
    assert refused(officer, "provider", "recovery:2", tree.master, provider="tight").endswith("Choose another.")
    assert "No provider gone" in refused(officer, "provider", "recovery:2", tree.master, provider="gone")
    assert "does not offer AES-256-GCM-SIV" in refused(officer, "provider", "recovery:2", wide, provider="far")
    there.down = True
    assert "No set of shares" in refused(officer, "key", "recovery:2", tree.master, provider="far")
