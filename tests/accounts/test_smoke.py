import pytest
from keyvault_portal.accounts import services
pytestmark = pytest.mark.django_db
def test_setup(client):
    url = services.create_setup_link()
    path = url.split("localhost", 1)[1].split("/", 1)[1]
    r = client.get("/" + path); print(r.status_code, r.content.decode()[-1500:])
    r = client.post("/" + path, {"name": "Ada", "email": "ada@example.org", "password": "long horse battery 9", "password_again": "long horse battery 9"})
    print(r.status_code, r.headers)
    r = client.get("/account/2fa/"); print(r.status_code)
    r = client.get("/account/email/"); print(r.status_code, r.headers)
