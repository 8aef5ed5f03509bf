"""What a service refuses is said in the form, and what to do about it."""

import pytest

from keys.forms import ServiceForm
from keyvault_portal.errors import Conflict, PortalError, ValidationFailed


@pytest.mark.parametrize("kind", [ValidationFailed, Conflict])
def test_a_refusal_of_the_whole_form_says_what_to_do(kind: type[PortalError]) -> None:
    def refuse(values: object) -> None:
        raise kind("Too few people could agree.", hint="Give more people these roles.")

    form = ServiceForm({})
    assert form.is_valid()
    assert form.run(refuse) is None
    assert form.non_field_errors() == ["Too few people could agree. Give more people these roles."]
