"""The table of the contract's points cannot say what no test says."""

import ast
from pathlib import Path

import pytest

from keys.providers import registry
from keys.providers.abilities import WHY_NOT, WORDS, abilities
from keys.providers.base import Capability
from tests.providers.points import COLUMNS, DOCUMENT, INSIDE, POINTS, capabilities, table

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = "tests/providers/test_contract.py"


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_of_the_contract_stands_for_a_point():
    named = {name for point in POINTS for name in point.tests}
    assert named == names_in(CONTRACT) - {"test_what_the_table_says_was_seen"}


def test_every_test_that_proves_a_point_elsewhere_is_there():
    for point in POINTS:
        for where in point.elsewhere.values():
            file, _, name = where.partition("::")
            assert name in names_in(file), where


def test_every_point_has_a_test_at_every_provider_that_has_it():
    for point in POINTS:
        for column in COLUMNS:
            assert point.missing_at(column) or point.tests or column in point.elsewhere, (point.words, column)


def test_every_capability_has_a_row_and_words():
    assert {needed for point in POINTS for needed in point.needs} | INSIDE == set(Capability)
    assert set(WORDS) == set(Capability)


@pytest.mark.parametrize("kind", list(registry.KINDS))
def test_what_a_kind_lacks_has_a_reason_and_nothing_else_has(kind):
    lacks = {capability for column in _columns(kind) for capability in set(Capability) - capabilities(column)}
    assert set(WHY_NOT[kind]) == lacks
    assert all(row.has or row.reason for row in abilities(kind, registry.provider_class(kind).capabilities))


def _columns(kind: str) -> list[str]:
    return [column for column in COLUMNS if column == kind or (kind == "azure_kv" and column == "azure_mhsm")]


def test_the_page_in_the_docs_is_this_table():
    assert DOCUMENT.read_text() == table(), "run python -m tests.providers.points"
