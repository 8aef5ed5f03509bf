"""A passkey is added over HTTP as the browser does it, and the record then knows whose key it is."""

import json
import time

import pytest
from django.urls import reverse

from keyvault_portal.accounts.passkeys import passkeys_of, to_text
from keyvault_portal.audit.evidence.signatures import unbase64
from keyvault_portal.audit.models import AuditEvent
from tests.api.conftest import make_person, sign_in
from tests.authenticator import SoftPasskey

pytestmark = pytest.mark.django_db


def test_the_record_says_whose_passkey_was_added(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    person, passkey = make_person("petra", "security_officer"), SoftPasskey()
    client = sign_in(person, SERVER_NAME="localhost")
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time()},
        {"method": "mfa", "type": "totp", "at": time.time()},
    ]
    session.save()
    client.get(reverse("mfa_add_webauthn"))
    challenge = unbase64(client.session["mfa.webauthn.state"]["challenge"])
    answer = passkey.create(challenge)
    answer["clientExtensionResults"] = {"credProps": {"rk": False}}
    response = client.post(reverse("mfa_add_webauthn"), {"name": "Laptop", "credential": json.dumps(answer)})
    assert response.status_code == 302
    event = AuditEvent.objects.filter(action="second_factor.add").order_by("seq")[0]
    assert json.loads(event.leaf)["details"] == {
        "type": "webauthn", "signing_key": to_text(passkey.identifier), "person": str(person.pk),
    }  # fmt: skip
    assert [found.credential.credential_id for found in passkeys_of(person.pk)] == [passkey.identifier]
