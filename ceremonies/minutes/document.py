"""The minutes as a PDF: plan, people, script with its hash, transcript with the leaves of the audit tree, exceptions, custody."""

import hashlib
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

import orjson
from django.utils import timezone
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from ceremonies.models import Ceremony, CustodyEntry, Participant, Share, ShareGeneration
from ceremonies.script import Kind
from ceremonies.states import CeremonyState
from keys.models import KeyVersion
from keyvault_portal.approvals.models import Decision
from keyvault_portal.audit.models import AuditEvent

_STYLES = getSampleStyleSheet()
BODY = ParagraphStyle("body", parent=_STYLES["BodyText"], fontSize=9, leading=12)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=7.5, leading=9.5, wordWrap="CJK")
MONO = ParagraphStyle("mono", parent=SMALL, fontName="Courier")
HEAD, TITLE = _STYLES["Heading2"], _STYLES["Title"]
WIDTH = A4[0] - 36 * mm
_GRID = TableStyle([
    ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#9aa5ae")), ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#ecf0f3")),
    ("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
])  # fmt: skip


def local(ceremony: Ceremony, moment: datetime | None) -> str:
    """A moment at the ceremony's place, with its zone."""
    return ceremony.there(moment) if moment else "—"


def write(ceremony: Ceremony, events: Sequence[AuditEvent], about: Sequence[tuple[str, str]] = ()) -> bytes:
    """The PDF; `events` are those of the transcript, oldest first, `about` says in names and values what it is about beside the key.

    Before the end every page says DRAFT.
    """
    out = io.BytesIO()
    ended = ceremony.status in {CeremonyState.CLOSED, CeremonyState.ABORTED}
    marks = [word for word, wanted in (("PRACTICE", ceremony.practice), ("DRAFT", not ended)) if wanted]
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=20 * mm, bottomMargin=18 * mm, title=f"Minutes: {ceremony}",
        author="KeyVault Portal", subject=f"Script SHA-256 {ceremony.script_hash}",
    )  # fmt: skip

    def furniture(canvas: Any, page: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 7.5)
        canvas.drawString(18 * mm, 10 * mm, f"{ceremony.pk}   script {ceremony.script_hash[:16]}…")
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"page {page.page}")
        if marks:
            canvas.setFont("Helvetica-Bold", 11)
            canvas.setFillColor(colors.HexColor("#a01c1c"))
            canvas.drawCentredString(A4[0] / 2, A4[1] - 12 * mm, " · ".join(marks))
        canvas.restoreState()

    document.build(_story(ceremony, events, about), onFirstPage=furniture, onLaterPages=furniture)
    return out.getvalue()


def _story(ceremony: Ceremony, events: Sequence[AuditEvent], about: Sequence[tuple[str, str]]) -> list[Flowable]:
    certificate = ceremony.kind == Kind.DESTRUCTION.value and ceremony.committed_at is not None
    seats = list(ceremony.participants.all())
    story: list[Flowable] = [
        Paragraph(
            escape(f"{'Certificate of destruction and minutes' if certificate else 'Minutes'}: {ceremony}"), TITLE
        )
    ]
    story += _table(["", ""], [
        ["Ceremony", str(ceremony.pk)], ["Kind", ceremony.get_kind_display()], ["Purpose", ceremony.purpose], ["Key", str(ceremony.key or "—")],
        *[list(said) for said in about], ["Goes to", ceremony.provider or "—"],
        ["Script", f"{ceremony.script_label}\nSHA-256 {ceremony.script_hash}"], ["Place", ceremony.place],
        ["Planned for", local(ceremony, ceremony.starts_at)], ["Began", local(ceremony, ceremony.started_at)],
        ["Committed", local(ceremony, ceremony.committed_at)], ["Ended", local(ceremony, ceremony.ended_at)], ["State", ceremony.get_state_display()],
        ["Agreement", str(ceremony.approval_id or "none: rehearsal")], ["Next date", local(ceremony, ceremony.next_due_at)],
    ], [35 * mm, WIDTH - 35 * mm])  # fmt: skip
    if ceremony.status is CeremonyState.ABORTED:
        story += [
            *_head("Aborted"),
            Paragraph(escape(f"{ceremony.aborted_by}: {ceremony.abort_reason}"), BODY),
        ]
    story += [
        *_head("Result"),
        *_table(
            ["What", "Value"],
            [[_words(name), _said(value)] for name, value in ceremony.told_result.items()] or [["—", "—"]],
            [50 * mm, WIDTH - 50 * mm],
        ),
    ]
    if certificate:
        story += _certificate(ceremony)
    story += [
        *_head("People"),
        *_table(
            ["Role", "Name", "Site", "Identified by", "Script confirmed", "Attests"],
            [_person_row(ceremony, seat) for seat in seats],
            [28 * mm, 34 * mm, 24 * mm, 30 * mm, 32 * mm, WIDTH - 148 * mm],
        ),
    ]
    if ceremony.approval_id is not None:
        story += _agreement(ceremony)
    signed: dict[int, list[str]] = {}
    for sign in ceremony.sign_offs.select_related("participant").order_by("at"):
        signed.setdefault(sign.step, []).append(f"{sign.participant.name} {sign.at:%H:%M:%S}")
    story += [
        *_head("Script"),
        *_table(
            ["No.", "Step", "Expected", "Signed off (UTC)"],
            [
                [str(number + 1), f"{step.title}. {step.text}", step.expected, ", ".join(signed.get(number, [])) or "—"]
                for number, step in enumerate(ceremony.read_script().steps)
            ],
            [10 * mm, 70 * mm, 40 * mm, WIDTH - 120 * mm],
        ),
    ]
    story += [
        *_head("Exception sheet"),
        *_table(
            ["Step", "At (UTC)", "Expected", "Happened", "Decision", "By"],
            [
                [str(note.step + 1), f"{note.at:%H:%M:%S}", note.expected, note.happened, note.decision, note.noted_by]
                for note in ceremony.deviations.all()
            ]
            or [["—", "", "", "No exceptions.", "", ""]],
            [10 * mm, 16 * mm, 36 * mm, 48 * mm, 34 * mm, WIDTH - 144 * mm],
        ),
    ]
    generation = ShareGeneration.objects.filter(ceremony=ceremony).first() or ceremony.source
    if generation is not None:
        story += _custody(generation, None if certificate else ceremony.ended_at)
    story += [
        *_head("Transcript"),
        Paragraph(
            "Each line is a leaf of the portal's audit tree: its number there and the SHA-256 of its bytes. The evidence pack proves them offline.",
            BODY,
        ),
        *_table(
            ["Leaf", "At (UTC)", "Who", "What", "Details", "Hash"],
            [_leaf_row(event) for event in events],
            [12 * mm, 15 * mm, 28 * mm, 26 * mm, WIDTH - 111 * mm, 30 * mm],
        ),
    ]
    chain = hashlib.sha256(b"".join(bytes(event.leaf_hash) for event in events)).hexdigest()
    story += [
        Spacer(1, 3 * mm),
        Paragraph(f"SHA-256 over these {len(events)} leaf hashes in their order: {chain}", MONO),
    ]
    return story


def _agreement(ceremony: Ceremony) -> list[Flowable]:
    decisions = Decision.objects.filter(request_id=ceremony.approval_id).order_by("at")
    rows = [
        [found.person_label, found.get_verdict_display(), f"{found.at:%Y-%m-%d %H:%M:%S}", _how_signed(found)]
        for found in decisions
    ]
    digest = next((found.act_hash for found in decisions), "—")
    return [
        *_head("Agreement"),
        Paragraph(f"Request {ceremony.approval_id}, SHA-256 of the act {digest}. The evidence pack holds act and signatures.", SMALL),
        *_table(["Who", "Said", "At (UTC)", "Signature"], rows or [["—"] * 4], [45 * mm, 24 * mm, 34 * mm, WIDTH - 103 * mm]),
    ]  # fmt: skip


def _how_signed(decision: Decision) -> str:
    return f"with {decision.signed_with}, {decision.signature['key_id']}" if decision.signature else "—"


def _certificate(ceremony: Ceremony) -> list[Flowable]:
    versions = KeyVersion.objects.filter(key=ceremony.key).order_by("key_version") if ceremony.key_id else []
    rows = [
        [
            str(version.key_version),
            version.get_status_display(),
            local(ceremony, version.deletion_due_at),
            local(ceremony, version.destroyed_at),
        ]
        for version in versions
    ]
    said = (
        "As of the moment this was printed. A version is destroyed when its last column holds a date."
        if rows
        else "A rehearsal: no key was destroyed."
    )
    return [
        *_head("Versions"),
        Paragraph(said, BODY),
        *_table(
            ["Version", "State", "Due", "Destroyed"],
            rows or [["—", "", "", ""]],
            [25 * mm, 45 * mm, 50 * mm, WIDTH - 120 * mm],
        ),
    ]


def _custody(generation: ShareGeneration, until: datetime | None) -> list[Flowable]:
    """Where its shares are, and the log up to the end of the ceremony: what came later is no part of these minutes."""
    shares: list[Share] = list(generation.shares.all())
    newest = generation.log.select_related("share").order_by("-at", "-pk")
    if until is not None:
        newest = newest.filter(at__lte=until)
    log: list[CustodyEntry] = list(newest[:200])[::-1]
    as_of = (
        f" Bags, places and states as of {timezone.now():%Y-%m-%d %H:%M} UTC; the log ends with the ceremony."
        if until
        else ""
    )
    package = f"bag {generation.package_bag or '—'}, {generation.package_place or '—'}"
    return [
        *_head(f"Custody: {generation}"),
        Paragraph(escape(f"Package SHA-256 {generation.package_sha256 or '—'}, {package}.{as_of}"), SMALL),
        *_table(["Share", "Custodian", "Check value", "Bag", "Place", "State"],
                [[str(share.index), share.custodian, share.check_value, share.bag, share.place, share.get_state_display()] for share in shares],
                [14 * mm, 40 * mm, 26 * mm, 30 * mm, 40 * mm, WIDTH - 150 * mm]),
        *_table(["At (UTC)", "What", "Share", "Bag", "Why", "By"],
                [_custody_row(line) for line in log] or [["—"] * 6],
                [30 * mm, 28 * mm, 16 * mm, 26 * mm, 40 * mm, WIDTH - 140 * mm]),
    ]  # fmt: skip


def _person_row(ceremony: Ceremony, seat: Participant) -> list[str]:
    role = _words(seat.role) + (f" {seat.share_index}" if seat.share_index else "")
    return [role, seat.name, seat.site, seat.identified_by, local(ceremony, seat.confirmed_at), _attests(seat)]


def _leaf_row(event: AuditEvent) -> list[str]:
    what, leaf_hash = event.action.removeprefix("ceremony."), bytes(event.leaf_hash).hex()[:16]
    return [str(event.seq), f"{event.at:%H:%M:%S}", event.actor_label, what, _details(event), leaf_hash]


def _custody_row(line: CustodyEntry) -> list[str]:
    which = str(line.share.index) if line.share else "package"
    return [f"{line.at:%Y-%m-%d %H:%M}", line.get_what_display(), which, line.bag, line.reason, line.by]


def _head(text: str) -> list[Flowable]:
    """A heading never stands alone at the foot of a page."""
    return [CondPageBreak(45 * mm), Paragraph(escape(text), HEAD)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float]) -> list[Flowable]:
    cells = [[Paragraph(_lines(cell), SMALL) for cell in row] for row in rows]
    named = any(head)
    table = Table(
        ([[Paragraph(f"<b>{escape(text)}</b>", SMALL) for text in head]] if named else []) + cells,
        colWidths=list(widths),
        repeatRows=int(named),
    )
    table.setStyle(_GRID)
    return [table, Spacer(1, 4 * mm)]


def _lines(text: str) -> str:
    return escape(str(text)[:1500]).replace("\n", "<br/>")


def _attests(seat: Participant) -> str:
    if seat.attested_at is None:
        return "—"
    return "yes" if seat.attests else f"declines: {seat.attest_reason}"


def _details(event: AuditEvent) -> str:
    details = orjson.loads(bytes(event.leaf)).get("details") or {}
    said = [f"{_words(name).lower()} {_said(value)}" for name, value in details.items() if value not in ("", None, [])]
    return "; ".join(said)[:700] + ("" if event.outcome == "success" else f" [{event.outcome}]")


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_words(name).lower()} {_said(item)}" for name, item in value.items())
    if isinstance(value, list):
        return (
            ", ".join(f"({_said(item)})" if isinstance(item, list) else _said(item) for item in value if item != "")
            or "none"
        )
    return (
        {True: "yes", False: "no", None: "—"}.get(value, str(value))
        if isinstance(value, bool) or value is None
        else str(value)
    )


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("sha256", "SHA-256")
