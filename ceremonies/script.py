"""Ceremony scripts: an ordered list of steps read from YAML, checked, and hashed in one canonical form. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "scripts"
LARGEST = 64 * 1024  # characters of an uploaded script
MOST_STEPS = 60
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class Kind(StrEnum):
    ESCROW = "escrow"
    RECOVERY = "recovery"
    ROLL_CALL = "roll_call"
    REFRESH = "refresh"
    REISSUE = "reissue"  # a lost share again, under the same index
    DESTRUCTION = "destruction"
    UNSEAL = "unseal"
    REKEY = "rekey"
    BREAK_GLASS = "break_glass"
    BYOK = "byok"  # a key brought in components
    ROOT_CA = "root_ca"


class Who(StrEnum):
    """Who acts on or signs off a step."""

    LEADER = "leader"
    OPERATOR = "operator"
    HOLDER = "holder"
    INTERNAL_WITNESS = "internal_witness"
    EVERYBODY = "everybody"


class Action(StrEnum):
    """What the portal itself does in a step; NONE is people's work alone."""

    NONE = "none"
    CHECK_CLOCK = "check_clock"
    DEAL = "deal"  # make the escrow key, export the master key under it, split
    HAND_OUT = "hand_out"  # each holder sees a share once and types words back
    VERIFY = "verify"  # all new shares come back, under a second nonce
    STORE_PACKAGE = "store_package"
    ACTIVATE = "activate"  # commit: the new generation is in force, the old one dead
    COLLECT = "collect"  # holders hand their shares in, encrypted
    RECOVER = "recover"  # commit: reconstruct, unwrap, import elsewhere
    UNWRAP = "unwrap"  # reconstruct the old escrow key and open the package with it; nothing leaves the process
    TAKE_PLACE = "take_place"  # the recovered key takes the place of the lost one in the hierarchy
    REISSUE = "reissue"  # make the lost share again, out of the quorum gathered
    RESEAT = "reseat"  # commit: the share made again is in force with its new custodian
    PROVE = "prove"  # every holder proves the share without revealing it
    RECORD_PROOFS = "record_proofs"  # commit of a roll-call
    DESTROY = "destroy"  # commit: end the key's versions
    GIVE = "give"  # commit: holders of the portal's seal give their shares to the keyholder
    DEAL_SEAL = "deal_seal"  # split the portal's root among new custodians; the seal in use stays
    ACTIVATE_SEAL = "activate_seal"  # commit: the new shares open the portal, the old ones no more
    BREAK_GLASS = "break_glass"  # commit: perform a waiting request without the missing agreement
    ANNOUNCE = "announce"  # open the import: how many components, and the check value of each
    ENTER = "enter"  # commit: each holder enters a component; the last one makes the key
    COMPARE = "compare"  # what became of the components
    PREPARE = "prepare"  # an act of another app: what comes before it, such as making its key
    ACT = "act"  # commit: the act of another app itself
    VISIT = "visit"  # commit: the act is on another page of the portal


A = Action
# What each action needs to have happened before it in the same script: one of these sets.
NEEDS: Mapping[Action, tuple[frozenset[Action], ...]] = {
    A.HAND_OUT: (frozenset({A.DEAL}), frozenset({A.REISSUE}), frozenset({A.DEAL_SEAL})),
    A.VERIFY: (frozenset({A.DEAL, A.HAND_OUT}), frozenset({A.DEAL_SEAL, A.HAND_OUT})),
    A.ACTIVATE_SEAL: (frozenset({A.DEAL_SEAL, A.HAND_OUT, A.VERIFY}),),
    A.STORE_PACKAGE: (frozenset({A.DEAL}),),
    A.ACTIVATE: (frozenset({A.DEAL, A.HAND_OUT, A.STORE_PACKAGE}),),
    A.RECOVER: (frozenset({A.COLLECT}),),
    A.TAKE_PLACE: (frozenset({A.RECOVER}),),
    A.UNWRAP: (frozenset({A.COLLECT}),),
    A.REISSUE: (frozenset({A.COLLECT}),),
    A.RESEAT: (frozenset({A.REISSUE, A.HAND_OUT}),),
    A.RECORD_PROOFS: (frozenset({A.PROVE}),),
    A.ENTER: (frozenset({A.ANNOUNCE}),),
    A.COMPARE: (frozenset({A.ENTER}),),
}
# The new shares are verified before the old ones end.
NEEDS_OF_KIND: Mapping[Kind, Mapping[Action, frozenset[Action]]] = {
    Kind.REFRESH: {A.STORE_PACKAGE: frozenset({A.VERIFY})},
}
COMMITS = frozenset({
    A.ACTIVATE, A.RECOVER, A.RESEAT, A.RECORD_PROOFS, A.DESTROY, A.GIVE, A.ACTIVATE_SEAL, A.BREAK_GLASS, A.ENTER, A.ACT, A.VISIT,
})  # fmt: skip
# Steps that people end by signing them off: the portal has no part of its own, or takes what comes.
PEOPLES = frozenset({A.NONE, A.CHECK_CLOCK, A.PROVE})
# Steps in which each holder has a part, after somebody opened it where that is needed.
HOLDERS_OWN = frozenset({A.HAND_OUT, A.ENTER, A.GIVE})
# What the portal may do in a script of each kind; the first is the one without which it is not of its kind, or a visit is.
ACTIONS: Mapping[Kind, tuple[Action, ...]] = {
    Kind.ESCROW: (A.ACTIVATE, A.DEAL, A.HAND_OUT, A.VERIFY, A.STORE_PACKAGE),
    Kind.REFRESH: (A.ACTIVATE, A.COLLECT, A.UNWRAP, A.DEAL, A.HAND_OUT, A.VERIFY, A.STORE_PACKAGE),
    Kind.RECOVERY: (A.RECOVER, A.COLLECT, A.TAKE_PLACE),
    Kind.REISSUE: (A.RESEAT, A.COLLECT, A.REISSUE, A.HAND_OUT),
    Kind.ROLL_CALL: (A.RECORD_PROOFS, A.PROVE),
    Kind.DESTRUCTION: (A.DESTROY,),
    Kind.UNSEAL: (A.GIVE, A.VISIT),
    Kind.REKEY: (A.ACTIVATE_SEAL, A.DEAL_SEAL, A.HAND_OUT, A.VERIFY, A.VISIT),
    Kind.BREAK_GLASS: (A.BREAK_GLASS, A.VISIT),
    Kind.BYOK: (A.ENTER, A.ANNOUNCE, A.COMPARE),
    Kind.ROOT_CA: (A.ACT, A.PREPARE),
}
# Pages that a visit may lead to, by the names of their addresses.
PAGES = frozenset({"approvals:inbox", "keys:seal-list", "keys:key-list", "sealed", "certificates:authority-list"})


class ScriptError(ValueError):
    """A script that cannot be held; `problems` says everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is said or done, by whom, what must come of it, and who signs it off."""

    id: str
    title: str
    text: str
    who: Who
    expected: str
    sign_off: tuple[Who, ...]
    action: Action = Action.NONE
    page: str = ""  # for VISIT: the name of the page's address
    act: str = ""  # for PREPARE and ACT: the name under which another app registered it

    @property
    def commits(self) -> bool:
        return self.action in COMMITS


@dataclass(frozen=True, slots=True)
class Script:
    """A whole script; two scripts are the same exactly when their hashes are."""

    name: str
    version: int
    kind: Kind
    title: str
    steps: tuple[Step, ...]

    def canonical(self) -> bytes:
        """The one byte string that is hashed: UTF-8 JSON, keys sorted, no white space."""
        value = asdict(self) | {"v": 1}
        for step in value["steps"]:
            if not step["act"]:  # scripts of before there was one keep their hash
                del step["act"]
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def commit_step(self) -> int:
        """The number (from 0) of the step that cannot be taken back."""
        return next(number for number, step in enumerate(self.steps) if step.commits)

    def number_of(self, action: Action) -> int | None:
        """The number (from 0) of the step with this action."""
        return next((number for number, step in enumerate(self.steps) if step.action is action), None)


def parse(text: str) -> Script:
    """The script written in `text` (YAML 1.1, the safe subset); raises ScriptError naming everything wrong."""
    if len(text) > LARGEST:
        raise ScriptError([f"A script has at most {LARGEST // 1024} KiB."])
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ScriptError([f"This is not YAML{f', see line {mark.line + 1}' if mark else ''}."]) from None
    return _script(value)


def from_canonical(data: bytes) -> Script:
    """The script whose canonical form is `data`."""
    value = json.loads(data)
    value.pop("v")
    return _script(value)


def in_tree() -> dict[str, Script]:
    """The scripts that come with the portal, by name."""
    return {path.stem: parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}


def _script(value: Any) -> Script:
    if not isinstance(value, dict):
        raise ScriptError(["A script is a mapping with name, version, kind, title and steps."])
    problems: list[str] = []
    unknown = sorted(str(key) for key in value.keys() - {"name", "version", "kind", "title", "steps"})
    if unknown:
        problems.append(f"Unknown: {', '.join(unknown)}.")
    name, version, kind, title = (value.get(key) for key in ("name", "version", "kind", "title"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append("name: lower-case letters, digits and hyphens, at most 63.")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= 10_000:
        problems.append("version: a whole number from 1.")
    if not isinstance(kind, str) or kind not in {item.value for item in Kind}:
        problems.append(f"kind: one of {', '.join(Kind)}.")
    if not isinstance(title, str) or not 1 <= len(title) <= 150:
        problems.append("title: from 1 to 150 characters.")
    raw = value.get("steps")
    if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_STEPS:
        raise ScriptError([*problems, f"steps: a list of 1 to {MOST_STEPS}."])
    steps = [_step(number, item, problems) for number, item in enumerate(raw, 1)]
    if problems:
        raise ScriptError(problems)
    script = Script(str(name), int(version), Kind(kind), str(title), tuple(step for step in steps if step))  # type: ignore[arg-type]
    if found := _wrong_order(script):
        raise ScriptError(found)
    return script


def _step(number: int, value: Any, problems: list[str]) -> Step | None:
    before = len(problems)
    if not isinstance(value, dict):
        problems.append(f"Step {number} is not a mapping.")
        return None
    if unknown := sorted(str(key) for key in value.keys() - set(Step.__slots__)):
        problems.append(f"Step {number}, unknown: {', '.join(unknown)}.")
    texts = {key: value.get(key, "") for key in ("id", "title", "text", "expected", "page", "act")}
    for key, longest in (("id", 63), ("title", 150), ("text", 2000), ("expected", 500), ("page", 100), ("act", 100)):
        if (
            not isinstance(texts[key], str)
            or len(texts[key]) > longest
            or (not texts[key] and key not in {"page", "act"})
        ):
            problems.append(f"Step {number}, {key}: text of at most {longest} characters.")
    signers = value.get("sign_off")
    people = {who.value for who in Who}
    if (
        not isinstance(signers, (list, tuple))
        or not signers
        or not all(isinstance(one, str) and one in people for one in signers)
    ):
        problems.append(f"Step {number}, sign_off: a list of {', '.join(Who)}.")
    if not isinstance(value.get("who"), str) or value["who"] not in people:
        problems.append(f"Step {number}, who: one of {', '.join(Who)}.")
    action = value.get("action", Action.NONE.value)
    if not isinstance(action, str) or action not in {item.value for item in Action}:
        problems.append(f"Step {number}, action: one of {', '.join(Action)}.")
    if len(problems) > before:
        return None
    texts = {key: " ".join(text.split()) for key, text in texts.items()}
    assert isinstance(signers, (list, tuple))
    return Step(
        id=texts["id"], title=texts["title"], text=texts["text"], expected=texts["expected"], page=texts["page"], act=texts["act"],
        who=Who(value["who"]), sign_off=tuple(dict.fromkeys(Who(one) for one in signers)), action=Action(action),
    )  # fmt: skip


def _wrong_order(script: Script) -> list[str]:
    """What makes a readable script one that cannot be held."""
    problems: list[str] = []
    ids = [step.id for step in script.steps]
    if len(set(ids)) != len(ids):
        problems.append("Two steps have the same id.")
    seen: set[Action] = set()
    core, *others = ACTIONS[script.kind]
    for number, step in enumerate(script.steps, 1):
        if lacking := _lacking(script.kind, step.action, seen):
            problems.append(f"Step {number} comes before {', '.join(sorted(lacking))}.")
        if step.action in seen:
            problems.append(f"Step {number} repeats {step.action}.")
        if step.action not in {Action.NONE, Action.CHECK_CLOCK, core, *others}:
            problems.append(f"Step {number}: {step.action} is nothing for the kind {script.kind}.")
        if step.action is not Action.NONE:
            seen.add(step.action)
        if step.commits and Who.INTERNAL_WITNESS not in step.sign_off and Who.EVERYBODY not in step.sign_off:
            problems.append(f"Step {number} commits without the witness's sign-off.")
        if step.page not in (PAGES if step.action is Action.VISIT else {""}):
            problems.append(f"Step {number}, page: for a visit, one of {', '.join(sorted(PAGES))}.")
        if bool(step.act) != (step.action in {Action.PREPARE, Action.ACT}):
            problems.append(f"Step {number}, act: the name of an act, for the actions prepare and act only.")
    if core not in seen and Action.VISIT not in seen:
        problems.append(f"A script of the kind {script.kind} has a step {core}.")
    if not any(step.commits for step in script.steps):
        problems.append("No step commits.")
    if sum(step.commits for step in script.steps) > 1:
        problems.append("Only one step commits.")
    return problems


def _lacking(kind: Kind, action: Action, seen: set[Action]) -> frozenset[Action]:
    """What had to come before this action and did not; of several ways the first is said."""
    ways = [way - seen for way in NEEDS.get(action, (frozenset(),))]
    return min(ways, key=bool) | (NEEDS_OF_KIND.get(kind, {}).get(action, frozenset()) - seen)
