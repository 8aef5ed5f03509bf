"""The portal is sealed through the management API as by the button: one call, at once, on every machine."""

import pytest

from keys.models import SealState
from keys.services import root_key, seals
from keyvault_portal.audit.models import AuditEvent
from tests.api.conftest import make_person, sign_in

URL, JSON = "/api/v1/seals/now", "application/json"


@pytest.fixture
def sealed(monkeypatch):
    """How often this machine's keyholder was told to seal; the other machines read the row."""
    told = []

    class Holder:
        def seal(self):
            told.append("seal")

    monkeypatch.setattr(root_key, "keyholder", Holder)
    return told


def test_one_call_seals_it(db, sealed, django_capture_on_commit_callbacks):
    officer = sign_in(make_person("olga", "security_officer"))
    with django_capture_on_commit_callbacks(execute=True):
        answer = officer.post(URL, {"reason": "An intruder in the machine room."}, content_type=JSON)
    assert answer.status_code == 204
    assert sealed == ["seal"]
    assert seals.sealed_on_purpose()
    assert SealState.objects.get().reason == "An intruder in the machine room."
    assert AuditEvent.objects.filter(action="portal.seal", outcome="success").count() == 1


def test_without_a_reason_or_the_right_nothing_is_sealed(db, sealed, django_capture_on_commit_callbacks):
    officer, auditor = (
        sign_in(make_person(name, role)) for name, role in (("olga", "security_officer"), ("aino", "auditor"))
    )
    with django_capture_on_commit_callbacks(execute=True):
        assert officer.post(URL, {"reason": " "}, content_type=JSON).status_code == 422
        assert auditor.post(URL, {"reason": "Curious."}, content_type=JSON).status_code == 403
    assert sealed == []
    assert not seals.sealed_on_purpose()
