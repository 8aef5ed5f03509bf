"""The advisor's data: no dead ends, only algorithms that exist and may be used so, figures that are true, rules that bite."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from django.urls import reverse

from keys.advisor import scopes, tree
from keys.advisor.rules import RULES, Known
from keys.crypto.algorithms import ALGORITHMS, PROTECTING, Operation, Standing
from keys.hierarchy import DEFAULT_CRYPTOPERIOD_DAYS, KeyKind, kind_accepts

TODAY = date(2026, 11, 27)
GOOD = Known(KeyKind.DEK, ALGORITHMS["AES-256-GCM"], "local", 90, others_agree_to_destruction=True)
# The seed's decision tree: the answers' places, and what it names at their end.
SEED = [
    ("symmetric aead", "gcm", "AES-256-GCM"), ("symmetric aead", "chacha", "ChaCha20-Poly1305"), ("symmetric aead", "siv", "AES-256-GCM-SIV"),
    ("symmetric", "cbc", "AES-256-CBC-HMAC-SHA256"), ("agreement", "x25519", "X25519-HKDF-SHA256"), ("public-key", "oaep", "RSA-2048-OAEP-SHA256"),
    ("public-key", "hpke", "HPKE-X25519-HKDF-SHA256-AES-256-GCM"), ("integrity", "ed25519", "Ed25519"), ("integrity", "ecdsa", "ECDSA-P256-SHA256"),
    ("integrity", "pss", "RSA-3072-PSS-SHA256"), ("integrity", "ml-dsa", "ML-DSA-65"),
]  # fmt: skip


def test_every_place_has_one_way_to_it_and_none_is_a_dead_end():
    reached = [answer.leads_to for question in tree.QUESTIONS for answer in question.answers]
    assert sorted([*reached, tree.START]) == sorted(tree.PLACES)
    assert len({answer.text for question in tree.QUESTIONS for answer in question.answers}) == len(reached)
    for place in tree.PLACES:
        way = tree.way_to(place)
        assert [step.question.id for step in way[:1]] in ([tree.START], [])
        assert [step.answer.leads_to for step in way] == [*(step.question.id for step in way[1:]), place][: len(way)]
    with pytest.raises(KeyError):
        tree.way_to("nowhere")


@pytest.mark.parametrize(("way", "end", "algorithm"), SEED)
def test_the_known_answers_lead_where_the_reference_says(way, end, algorithm):
    assert [step.answer.leads_to for step in tree.way_to(end)] == [*way.split(), end]
    assert algorithm in tree.PLACES[end].algorithms


@pytest.mark.parametrize("advice", tree.ADVICE, ids=lambda advice: advice.id)
def test_what_is_advised_may_be_made_and_the_first_is_the_best(advice):
    rows = [ALGORITHMS[name] for name in advice.algorithms]
    for row in rows:
        assert kind_accepts(advice.kind, row.name)
        assert any(row.allows(operation, new_key=True) for operation in PROTECTING | {Operation.DERIVE})
    order = list(Standing)
    assert rows[0].standing is min((row.standing for row in rows), key=order.index)


def test_every_algorithm_is_advised_somewhere():
    assert {name for advice in tree.ADVICE for name in advice.algorithms} == set(ALGORITHMS)


def test_the_figures_in_the_advice_are_true():
    def oaep(size: int) -> bytes:
        key = rsa.generate_private_key(65537, 3072).public_key()
        return key.encrypt(b"x" * size, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))

    assert "318 bytes" in tree.PLACES["oaep"].why
    oaep(318)
    with pytest.raises(ValueError, match=r".*"):
        oaep(319)
    key = MLDSA65PrivateKey.generate()
    sizes = len(key.sign(b"x")), len(key.public_key().public_bytes_raw())
    assert [f"{size:,}" in tree.PLACES["ml-dsa"].watch[0] for size in sizes] == [True, True]
    assert ALGORITHMS["AES-256-GCM"].use_limit == 2**32
    assert "2^32" in tree.PLACES["gcm"].watch[0]


def test_every_scope_speaks_of_every_threat_and_of_a_page_that_is_there():
    for scope in scopes.SCOPES:
        assert scope.helps.keys() == {threat.id for threat in scopes.THREATS}
        assert scope.cost[0] < scope.cost[1]
        assert not scope.page or reverse(scope.page).startswith("/")


@pytest.mark.parametrize(
    ("threats", "expected"),
    [
        ([], ["transit", "disk", "payload", "column", "application", "field"]),
        (["network"], ["transit", "payload", "field"]),
        (["medium", "database"], ["application", "field"]),
        (["network", "middle"], ["payload", "field"]),
        (["server"], ["field"]),
    ],
)
def test_the_scopes_against_threats_come_cheapest_first(threats, expected):
    assert [scope.id for scope in scopes.against(threats)] == expected


@pytest.mark.parametrize(
    ("rule", "broken", "kept"),
    [
        ("algorithm-ended", {"algorithm": replace(GOOD.algorithm, standing=Standing.LEGACY)}, {}),
        ("algorithm-ended", {"algorithm": replace(GOOD.algorithm, acceptable_until=TODAY - timedelta(days=1))}, {"algorithm": replace(GOOD.algorithm, acceptable_until=TODAY)}),
        ("algorithm-ends", {"algorithm": ALGORITHMS["RSA-2048-PSS-SHA256"]}, {"algorithm": ALGORITHMS["RSA-3072-PSS-SHA256"]}),
        ("recorded-today", {"algorithm": ALGORITHMS["X25519-HKDF-SHA256"]}, {"algorithm": ALGORITHMS["ML-KEM-768"]}),
        ("recorded-today", {"algorithm": ALGORITHMS["RSA-4096-OAEP-SHA256"]}, {"algorithm": ALGORITHMS["Ed25519"]}),
        ("root-in-software", {"kind": KeyKind.MASTER}, {"kind": KeyKind.MASTER, "provider": "hsm"}),
        ("no-cryptoperiod", {"cryptoperiod_days": None}, {"cryptoperiod_days": 1}),
        ("cryptoperiod-long", {"cryptoperiod_days": 731}, {"cryptoperiod_days": 730}),
        ("cryptoperiod-long", {"kind": KeyKind.TOKEN_SIGNING, "cryptoperiod_days": 91}, {"kind": KeyKind.TOKEN_SIGNING, "cryptoperiod_days": 90}),
        ("destroyed-by-one", {"others_agree_to_destruction": False}, {}),
    ],
)  # fmt: skip
def test_a_rule_applies_to_what_breaks_it_and_to_nothing_else(rule, broken, kept):
    assert rule in said(replace(GOOD, **broken))
    assert rule not in said(replace(GOOD, **kept))


def said(known: Known) -> list[str]:
    return [rule.id for rule in RULES if rule.applies(known, TODAY)]


def test_a_key_as_it_should_be_gives_nothing_to_say():
    assert said(GOOD) == []
    for kind, days in DEFAULT_CRYPTOPERIOD_DAYS.items():
        assert said(replace(GOOD, kind=kind, provider="hsm", cryptoperiod_days=days)) == []
