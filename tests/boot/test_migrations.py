"""An empty database gets its tables at once, and one that an older portal made goes on step by step: both end alike."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunSQL
from django.db.migrations.recorder import MigrationRecorder

Step = tuple[str, str]
FILES = MigrationLoader(None).disk_migrations
SQUASHED: dict[str, Step] = {key[0]: key for key, migration in FILES.items() if migration.replaces}
STEPS: dict[str, list[Step]] = {app: list(FILES[key].replaces) for app, key in SQUASHED.items()}
EARLIER = {step for steps in STEPS.values() for step in steps}
OTHERS = {key for key in FILES if key[0] not in SQUASHED}


@pytest.mark.parametrize("app", SQUASHED)
def test_what_is_made_at_once_stands_for_every_step(app):
    numbers = [int(name[:4]) for _, name in STEPS[app]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert SQUASHED[app][1] == f"0001_squashed_{STEPS[app][-1][1]}"


def planned(monkeypatch: pytest.MonkeyPatch, applied: set[Step]) -> list[Step]:
    """What would be applied to a database that remembers these."""
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", lambda recorder: dict.fromkeys(applied))
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    return [(step.app_label, step.name) for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def test_an_empty_database_gets_its_tables_at_once(monkeypatch):
    plan = planned(monkeypatch, set())
    assert [step for step in plan if step in EARLIER] == []
    assert [step for step in plan if step in SQUASHED.values()] == [
        SQUASHED[app] for app in ("keys", "ceremonies", "certificates")
    ]


def test_who_has_all_steps_does_none_of_it_again(monkeypatch):
    plan = planned(monkeypatch, OTHERS | EARLIER)
    assert [step for step in plan if step in EARLIER or step in SQUASHED.values()] == []


@pytest.mark.parametrize(("app", "done"), [(app, done) for app in STEPS for done in range(1, len(STEPS[app]))])
def test_an_older_portal_goes_on_with_the_steps(app, done, monkeypatch):
    below = set(STEPS["keys"]) if app != "keys" else set()
    plan = planned(monkeypatch, OTHERS | below | set(STEPS[app][:done]))
    assert [step for step in plan if step in STEPS[app]] == STEPS[app][done:]
    assert SQUASHED[app] not in plan


def models(ends: list[Step], *, at_once: bool) -> dict[Step, Any]:
    return {
        key: (
            {name: repr(field.deconstruct()[1:]) for name, field in model.fields.items()},
            {name: sorted(map(repr, value)) if isinstance(value, list) else value for name, value in model.options.items() if value},
        )
        for key, model in MigrationLoader(None, replace_migrations=at_once).project_state(ends).models.items()
    }  # fmt: skip


def test_at_once_and_step_by_step_end_alike():
    at_once = models(list(SQUASHED.values()), at_once=True)
    by_steps = models([steps[-1] for steps in STEPS.values()], at_once=False)
    assert at_once.keys() == by_steps.keys()
    for key, model in at_once.items():
        assert model == by_steps[key]


@pytest.mark.parametrize("app", SQUASHED)
def test_the_triggers_of_the_steps_are_there_at_once(app):
    """Of SQL by hand what makes something; what only mends rows has nothing to do where there are none."""
    made, squashed = (
        [it.sql for step in steps for it in FILES[step].operations if isinstance(it, RunSQL) and "CREATE" in it.sql]
        for steps in (STEPS[app], [SQUASHED[app]])
    )
    assert squashed == made
