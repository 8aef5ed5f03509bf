"""The links that a start of the demonstration prints, after people played with who may do what."""

import pytest

from keys.demo import organisation
from keyvault_portal.accounts.models import Person, RoleBinding

pytestmark = pytest.mark.django_db


@pytest.fixture
def org() -> organisation.Organisation:
    made = organisation.Organisation()
    for short, name, role, *_ in organisation.PEOPLE:
        made.people[short] = Person.objects.create_person(email=f"{short}@{organisation.DOMAIN}", name=name)
        RoleBinding.objects.create(person=made.people[short], role=role)
    return made


def test_each_has_a_link_and_a_code(org: organisation.Organisation) -> None:
    found = list(organisation.ways_in(org))
    assert [name for name, *_ in found] == [name for _, name, *_ in organisation.PEOPLE]
    assert len({link for *_, link, _ in found} | {code for *_, code in found}) == 2 * len(organisation.PEOPLE)


def test_who_was_kept_out_is_named_and_another_officer_makes_the_links(org: organisation.Organisation) -> None:
    for short in ("ada", "emil"):
        Person.objects.filter(pk=org.people[short].pk).update(is_active=False)
        org.people[short].refresh_from_db()
    RoleBinding.objects.create(person=org.people["dana"], role="security_officer")
    found = {name.split()[0].lower(): rest for name, *rest in organisation.ways_in(org)}
    assert found["ada"] == ["security officer", "", ""]
    assert found["dana"][0] == "operator, security officer"
    assert [short for short, (_, link, code) in found.items() if link and code] == ["boris", "chen", "dana", "fay"]


def test_nobody_left_to_make_links_is_no_reason_to_stop(org: organisation.Organisation) -> None:
    RoleBinding.objects.filter(role="security_officer").delete()
    assert {(link, code) for *_, link, code in organisation.ways_in(org)} == {("", "")}
