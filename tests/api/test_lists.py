"""Lists refuse names and values that they do not know: a typing error must not look like a whole answer."""

import pytest

from keyvault_portal.audit.models import AuditEvent
from tests.api.test_cursors import LISTS


@pytest.mark.parametrize("prefix", [*LISTS, "ceremony-scripts"])
def test_a_name_that_a_list_does_not_declare_is_refused(reader, prefix):
    known = "" if prefix == "ceremony-scripts" else "?cursor=&page_size=3"
    assert reader.get(f"/api/v1/{prefix}{known}").status_code == 200
    answer = reader.get(f"/api/v1/{prefix}?bogusfilter=1")
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert list(answer.json()["errors"]) == ["bogusfilter"]


def test_the_lists_of_one_object_refuse_it_too(reader, here):
    versions = f"/api/v1/keys/{here.keys['data'].pk}/versions"
    assert reader.get(f"{versions}?cursor=").status_code == 200
    assert list(reader.get(f"{versions}?status=active").json()["errors"]) == ["status"]


@pytest.mark.parametrize(
    "query",
    [
        "audit-events?outcome=bogus", "keys?status=bogus", "keys?algorithm=AES-265-GCM", "keys?overdue=maybe", "keys?kind=bogus",
        "people?is_active=bogus", "certificates?profile=bogus", "providers?kind=bogus", "stores?format=bogus", "audit-events?since=then",
        "census?key_version=NaN", "sessions?user=nobody", f"audit-events?q={'x' * 201}",
    ],
)  # fmt: skip
def test_a_value_that_a_filter_does_not_know_is_refused(reader, query):
    answer = reader.get(f"/api/v1/{query}")
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [query.split("?")[1].split("=")[0]])


def test_values_that_filters_know_are_served(reader, here):
    for query in (
        "audit-events?outcome=success", "keys?status=active", "keys?algorithm=AES-256-GCM", "keys?overdue=", "keys?q=%20",
        "people?is_active=true", "certificates?profile=server", "providers?kind=local", "stores?format=compact",
    ):  # fmt: skip
        assert reader.get(f"/api/v1/{query}").status_code == 200, query
    names = [row["name"] for row in reader.get("/api/v1/keys?algorithm=HMAC-SHA256").json()["results"]]
    assert names == ["codes"]


def test_the_record_is_searched_for_text_as_its_page_is(reader, here, monkeypatch):
    def found(query: str) -> set[str]:
        return {row["target_id"] for row in reader.get(f"/api/v1/audit-events?{query}").json()["results"]}

    everything = found("")
    assert found("q=PAYMENTS/codes&action=key.create") == {str(here.keys["codes"].pk)}
    assert found("q=payments%25") == set()
    assert everything > found("q=payments&until=2020-01-01T00:00:00Z") == set()
    first = AuditEvent.objects.filter(target_id=str(here.keys["root"].pk)).order_by("seq")[0]
    newer = AuditEvent.objects.filter(seq__gt=first.seq).count()
    monkeypatch.setattr("keyvault_portal.audit.exports.SEARCHED", newer)
    assert found("q=payments/root&action=key.create") == set()
    assert found("q=payments/root&action=key.create&since=2020-01-01T00:00:00Z") == {first.target_id}
    monkeypatch.setattr("keyvault_portal.audit.exports.SEARCHED", newer + 1)
    assert found("q=payments/root&action=key.create") == {first.target_id}
