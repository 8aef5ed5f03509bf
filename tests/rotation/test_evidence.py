"""The evidence pack says which data stands on which key version, and its verifier repeats it."""

import io
import json
import zipfile

import pytest

from keys.models import DataStore
from keys.services import census, rotation
from keyvault_portal.audit.evidence import verifier
from keyvault_portal.audit.evidence.pack import write_pack

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


@pytest.fixture
def packed(organisation, tmp_path):
    def write():
        file = io.BytesIO()
        write_pack(organisation.actor("fay"), file)
        path = tmp_path / "pack.zip"
        path.write_bytes(file.getvalue())
        with zipfile.ZipFile(path) as pack:
            return path, pack.read("census.json")

    return write


def test_the_pack_counts_every_item_by_version(organisation, customers, shop, active, packed):
    store, _ = customers
    old = active(organisation.keys["pii"])
    _, data = packed()
    found = json.loads(data)
    assert {(row["column"], row["items"], row["version"]["kms_key_arn"]) for row in found["items"]} == {
        ("email", 2500, old.kms_key_arn), ("card", 2500, old.kms_key_arn),
    }  # fmt: skip
    assert shop.dsn.encode() not in data
    assert shop.dsn.split(":")[2].split("@")[0].encode() not in data, "no password"

    rotation.request_rotation(actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly")
    shop.connection.execute("UPDATE customers SET email = 'rubbish' WHERE id = 7")
    census.take(DataStore.objects.get(pk=store.pk))
    path, data = packed()
    found, new = json.loads(data), active(organisation.keys["pii"])
    counts = {(row["column"], row["version"] and row["version"]["key_version"]): row["items"] for row in found["items"]}
    assert counts == {("email", 2): 2499, ("email", None): 1, ("card", 2): 2500}
    wrappers = {row["kms_key_arn"]: row["data_keys"] for row in found["wrapped_keys"]}
    assert wrappers[active(organisation.keys["kek"]).kms_key_arn] == 2  # the segment that was, and the one that is
    lines = verifier.verify(path)
    assert f"census: 4999 items stand on {new.kms_key_arn}." in lines
    assert "census: 1 items stand on no readable version." in lines
    assert "census: sealed-values is not counted: never tried" in lines


def test_an_altered_census_is_noticed(organisation, customers, packed):
    path, data = packed()
    with zipfile.ZipFile(path) as pack:
        files = {name: pack.read(name) for name in pack.namelist()}
    files["census.json"] = data.replace(b"2500", b"0", 1)
    with zipfile.ZipFile(path, "w") as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    with pytest.raises(verifier.Problem, match=r"census\.json was altered"):
        verifier.verify(path)
