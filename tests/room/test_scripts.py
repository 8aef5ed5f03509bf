"""Scripts: those in the tree can all be held, their hashes move with every change, and what cannot be held is refused by sentence."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.script import (
    FOLDER,
    HOLDERS_OWN,
    LARGEST,
    PEOPLES,
    Action,
    Kind,
    ScriptError,
    from_canonical,
    in_tree,
    parse,
)
from ceremonies.services import scripts
from ceremonies.services.deeds import DEEDS
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, Conflict, NotFound
from tests.api.conftest import actor, make_person

TEXT = (FOLDER / "escrow.yaml").read_text()


def test_every_script_of_the_tree_is_read_back_from_its_canonical_form():
    found = in_tree()
    assert set(Kind) == {script.kind for script in found.values()}
    assert len({script.sha256 for script in found.values()}) == len(found)
    for script in found.values():
        assert from_canonical(script.canonical()) == script
        assert script.steps[script.commit_step].commits


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("the purpose", "the reason"),
        ("version: 1", "version: 2"),
        ("sign_off: [leader, internal_witness]", "sign_off: [internal_witness]"),
    ],
)
def test_the_hash_moves_with_every_change_and_not_with_the_layout(old, new):
    assert parse(TEXT.replace(old, new, 1)).sha256 != parse(TEXT).sha256
    assert parse("# a remark\n" + TEXT.replace("title: ", "title:   ")).sha256 == parse(TEXT).sha256


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: escrow", "kind: party", "kind: one of"),
        ("name: escrow", "name: Es crow", "name: lower-case"),
        ("action: deal\n", "action: none\n", "comes before deal"),
        ("action: hand_out", "action: deal", "repeats deal"),
        ("id: clock", "id: open", "Two steps have the same id."),
        (
            "sign_off: [leader, operator, internal_witness]",
            "sign_off: [leader]",
            "commits without the witness's sign-off",
        ),
        ("action: activate", "action: none", "has a step activate"),
        ("who: leader", "who: the pope", "who: one of"),
        ("steps:", "stairs:", "steps: a list"),
        ("title: Escrow", "titel: Escrow", "Unknown: titel"),
        ("kind: escrow", "kind: [", "not YAML"),
    ],
)
def test_what_cannot_be_held_is_refused_with_the_reason(old, new, said):
    with pytest.raises(ScriptError) as refused:
        parse(TEXT.replace(old, new, 1))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "old", "said"),
    [
        ("refresh", "action: verify\n", "comes before verify"),  # no old set ends before the new shares are verified
        ("rekey", "action: verify\n", "comes before verify"),
        ("rekey", "action: hand_out\n", "comes before hand_out"),
        ("reissue", "action: collect\n", "comes before collect"),
        ("byok", "action: announce\n", "comes before announce"),
        ("recovery", "action: collect\n", "comes before collect"),
    ],
)
def test_no_step_is_left_out(name, old, said):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert old in text
    with pytest.raises(ScriptError, match=said):
        parse(text.replace(old, "action: none\n"))


def test_a_script_is_not_longer_than_it_may_be():
    with pytest.raises(ScriptError):
        parse("#" * (LARGEST + 1))


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(repr)
)
def test_any_text_is_read_or_refused(text):
    with suppress(ScriptError):  # and nothing else
        parse(text)


def test_an_own_script_is_held_once_others_agreed_to_its_hash(db, celery_eager):
    ada, boris, chen = (make_person(name, "security_officer") for name in ("ada", "boris", "chen"))
    own = TEXT.replace("name: escrow", "name: our-escrow")
    with pytest.raises(Conflict):
        scripts.upload_script(actor=actor(ada), text=TEXT, reason="A test.")
    with pytest.raises(ApprovalRequired) as waiting:
        scripts.upload_script(actor=actor(ada), text=own, reason="Our own rooms.")
    with pytest.raises(NotFound):
        scripts.find_script("our-escrow:1")
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert parse(own).sha256 in bytes(request.act).decode()
    for person in (boris, chen):
        approvals.approve(actor=actor(person), request_id=request.pk, act_hash=request.act_hash)
    assert execute(request.pk) == "executed"
    assert scripts.find_script("our-escrow:1").number_of(Action.DEAL) == 2


def test_every_act_of_the_portal_has_somebody_who_asks_for_it():
    """What people end by signing, and what is each holder's own, needs nobody else; but a portal may be found open."""
    assert set(Action) - DEEDS.keys() == PEOPLES | HOLDERS_OWN - {Action.GIVE}
