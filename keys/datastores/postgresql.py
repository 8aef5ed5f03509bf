"""Any PostgreSQL table as a data store: identifiers quoted and looked up, pages by key, conditional bulk writes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from keys.datastores import postgresql_catalog as catalog
from keys.datastores.base import (
    NOT_TAKEN,
    Answer,
    Cell,
    Counted,
    Locator,
    Page,
    StoreRefused,
)
from keys.datastores.connecting import HostRule, connect
from keys.datastores.formats import FORMATS, ContextTemplate, located
from keys.datastores.page_size import MOST_BYTES, PageSize
from keys.datastores.postgresql_errors import told
from keyvault_portal.arrays import BYTEA, TEXT, TID, XID, pack, pack_even

_TEXT_KEYS = frozenset({"text", "character varying"})  # the others have no blank in them
PRIMARY_KEY_TYPES = frozenset({"smallint", "integer", "bigint", "uuid"}) | _TEXT_KEYS
# The rows of a page with the bytes of all up to each: they are told without reading the cells. What is read of it is cut.
_AHEAD = """(
    SELECT *, sum({size}) OVER upto AS portal_bytes, row_number() OVER upto AS portal_row, count(*) OVER () AS portal_rows
    FROM (SELECT {names} FROM {t} AS t {page}) AS t WINDOW upto AS (ORDER BY {pk} ROWS UNBOUNDED PRECEDING)
)"""
_FITTING = "WHERE portal_bytes <= {most} OR portal_row = 1 ORDER BY {pk}"
# Whether a column holds what was written, to the letter, by its type.
_TAKEN = {
    "bytea": sql.SQL("{c} IS NOT DISTINCT FROM u.{n}"),
    "jsonb": sql.SQL("{c} IS NOT DISTINCT FROM u.{n}::jsonb"),
} | dict.fromkeys(("text", "character varying", "json"), sql.SQL('{c}::text COLLATE "C" IS NOT DISTINCT FROM u.{n}'))
# What tells the bytes of a cell, by its type, without bringing them in from where they are kept.
_SIZES = dict.fromkeys(("bytea", "text", "character varying"), "octet_length") | dict.fromkeys(
    ("json", "jsonb"), "pg_column_size"
)
_UNTOLD = "keyvault_portal_untold"  # a cursor of the server, so that a hundred cells at a time are held here
_SAMPLE_BLOCKS = 30  # a part, of those read to cut a table: rows of one block stand close together


def _named(*names: str) -> sql.Identifier:
    """A name in a statement that is given values, even none: a percent sign in it is no placeholder."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def _text(statement: sql.Composable) -> LiteralString:
    """Put together once: what is asked for every page costs as much to write out as to send."""
    return statement.as_string(None)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Which cells of which table, and how they are written."""

    schema: str
    table: str
    primary_key: str
    columns: tuple[str, ...]
    format: str
    context: ContextTemplate


class PostgresTable:
    """A StoreAdapter over one table; see `keys.datastores.base` for what each method promises."""

    def __init__(self, dsn: str, spec: TableSpec, rule: HostRule) -> None:
        self.spec, self._dsn, self._rule = spec, dsn, rule
        self.columns: Sequence[str] = spec.columns
        self._connection: psycopg.Connection | None = None
        self._asked: ExitStack | None = None  # open while answers are under way
        self._types: dict[str, str] = {}
        # Whether cells are kept out of their rows: one row may be far larger than those before it.
        self._out_of_line = False
        self._pages: dict[tuple[str, ...], LiteralString] = {}  # the statement by its bounds
        self._binds = [spec.context.bind(column) for column in spec.columns]

    def close(self) -> None:
        connection, asked, self._connection, self._asked = self._connection, self._asked, None, None
        if connection is not None:
            connection.close()
        if asked is not None:
            with suppress(psycopg.Error):  # nobody waits for these answers any more
                asked.close()

    def check(self) -> None:
        self._describe()
        spec, name = self.spec, f"{self.spec.schema}.{self.spec.table}"
        with self._errors() as connection:
            rights = connection.execute(catalog.RIGHTS, [list(spec.columns), spec.schema, spec.table]).fetchone()
        if rights is None:
            raise StoreRefused(f"There is no table {name}.")
        hidden, used, read, only_read, unwritable = rights
        if hidden:
            raise StoreRefused(
                f"{name} has row-level security, which may hide rows from this role.",
                hint="Give the role BYPASSRLS, or connect as the table's owner where it is not forced.",
            )
        if only_read:
            raise StoreRefused(f"{name} can only be read.", hint="Make the database writable for this role.")
        missing = "" if used else f"USAGE ON SCHEMA {spec.schema}"
        missing = missing or ("" if read else f"SELECT ON {name}")
        missing = missing or (f"UPDATE ({', '.join(unwritable)}) ON {name}" if unwritable else "")
        if missing:
            raise StoreRefused(f"This role lacks a right on {name}.", hint=f"GRANT {missing} to the role.")

    def _describe(self) -> None:
        """Learn the columns' types; raises StoreRefused where the table is not as described."""
        spec = self.spec
        with self._errors() as connection:
            found = {name: rest for name, *rest in connection.execute(catalog.DESCRIBE, [spec.schema, spec.table])}
            ((size,),) = connection.execute(catalog.OUT_OF_LINE, [spec.schema, spec.table]).fetchall()
        if not found:
            raise StoreRefused(f"There is no table {spec.schema}.{spec.table}.")
        kind, unique, always = found.get(spec.primary_key, (None, False, False))
        if kind not in PRIMARY_KEY_TYPES or not unique:
            raise StoreRefused(f"{spec.primary_key} has to be a unique column of an integer, uuid or text type.")
        if not always:  # rows without a key are in no range of keys, and unique they are not either
            raise StoreRefused(
                f"{spec.primary_key} may be NULL: make it NOT NULL, so that every row can be found by it."
            )
        wanted = FORMATS[spec.format].column_types
        for column in spec.columns:
            if column not in found:
                raise StoreRefused(f"{spec.table} has no column {column}.")
            kind = found[column][0]
            if kind not in wanted:
                raise StoreRefused(f"{column} is {kind}; this format is kept in {' or '.join(sorted(wanted))}.")
        self._out_of_line = size > MOST_BYTES
        self._types = {name: found[name][0] for name in (spec.primary_key, *spec.columns)}

    def count_by_version(self) -> list[Counted]:
        return [
            Counted(column, locator, items)
            for column in self.columns
            for locator, items in self._count_column(column).items()
        ]

    def _count_column(self, column: str) -> Counter[Locator | None]:
        """What the server can tell is counted there; the other cells are read, and both see the table as it was at one time."""
        fmt, kind = FORMATS[self.spec.format], self._type(column)
        with self._errors() as connection, connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = '30min'")
            # Few keys stand in a table, while the planner fears a group for every row: it would sort them all, or
            # count with one process.
            cursor.execute("SET LOCAL parallel_tuple_cost = 0")
            cursor.execute("SET LOCAL enable_sort = off")
            expression = fmt.group_expression(_named(column), kind, connection.info.server_version)
            names = {"e": expression, "t": self._table(), "c": _named(column), "cell": self._read(column)}
            cursor.execute(
                sql.SQL("SELECT {e}, count(*) FROM {t} WHERE {c} IS NOT NULL GROUP BY 1").format(**names), []
            )
            found: dict[Any, int] = dict(cursor.fetchall())
            untold = found.pop(None, 0)
            counts: Counter[Locator | None] = Counter()
            for value, items in found.items():
                counts[fmt.locate_group(value)] += items
            if untold and fmt.only_python_tells(kind):
                with connection.cursor(_UNTOLD, binary=True) as cells:
                    cells.execute(
                        sql.SQL("SELECT {cell} FROM {t} WHERE {c} IS NOT NULL AND {e} IS NULL").format(**names), []
                    )
                    counts.update(located(self.spec.format, cell) for (cell,) in cells)
            elif untold:
                counts[None] += untold
        return counts

    def boundaries(self, parts: int) -> list[str]:
        marks = self._marks(parts, _SAMPLE_BLOCKS * parts)
        return marks if len(marks) == parts else self._marks(parts, None)

    def _marks(self, parts: int, blocks: int | None) -> list[str]:
        """The last keys of `parts` equal parts, judged by about so many blocks of the table, None for all of them."""
        highest = sql.SQL("max({pk})")
        if self._type(self.spec.primary_key) == "uuid":  # has no max() before PostgreSQL 18
            highest = sql.SQL("(array_agg({pk} ORDER BY {pk} DESC))[1]")
        statement = sql.SQL(
            "SELECT {highest}::text FROM (SELECT {pk}, ntile(%s) OVER (ORDER BY {pk}) AS part FROM {t} TABLESAMPLE SYSTEM (%s)) p "
            "GROUP BY part ORDER BY part"
        ).format(highest=highest.format(pk=self._pk()), pk=self._pk(), t=self._table())
        with self._errors() as connection, connection.transaction():
            connection.execute("SET LOCAL statement_timeout = '30min'")
            name = sql.Identifier(self.spec.schema, self.spec.table).as_string(connection)
            size, block = connection.execute(catalog.SIZE, [name, name]).fetchone() or (0, 1)
            share = 100.0 if blocks is None else min(100.0, 100.0 * blocks * block / max(size, 1))
            return [str(row[0]) for row in connection.execute(statement, [parts, share])]

    def ask_page(self, after: str | None, upto: str | None, limit: int) -> Answer[Page]:
        bounds = {op: bound for op, bound in ((">", after), ("<=", upto)) if bound is not None}
        statement = self._pages.get(tuple(bounds)) or self._pages.setdefault(tuple(bounds), self._between(*bounds))
        cursor = self._ask(statement, [*bounds.values(), limit])
        return lambda: self._page(self._answer(cursor))

    def _between(self, *operators: str) -> LiteralString:
        """Reads a page of the rows whose keys compare so with what is given."""
        kind = sql.SQL("::{}").format(sql.SQL(self._type(self.spec.primary_key)))
        clauses = [
            sql.SQL("{pk} {op} %s{kind}").format(pk=self._pk("t"), op=sql.SQL(op), kind=kind) for op in operators
        ]
        where = sql.SQL("WHERE ") + sql.SQL(" AND ").join(clauses) if clauses else sql.SQL("")
        page = sql.SQL("{w} ORDER BY {pk} LIMIT %s").format(w=where, pk=self._pk("t"))
        if not self._out_of_line:
            return _text(self._select(self._table(), page))
        sizes = [
            sql.SQL("coalesce({size}({c}), 0)").format(size=sql.SQL(_SIZES[self._type(column)]), c=_named("t", column))
            for column in self.columns
        ]
        names = [self._pk(), sql.SQL("xmin"), sql.SQL("ctid"), *map(_named, self.columns)]
        ahead = sql.SQL(_AHEAD).format(
            size=sql.SQL(" + ").join(sizes), names=sql.SQL(", ").join(names), t=self._table(), page=page, pk=self._pk("t")
        )  # fmt: skip
        fitting = sql.SQL(_FITTING).format(most=sql.Literal(MOST_BYTES), pk=self._pk("t"))
        return _text(self._select(ahead, fitting, sql.SQL("portal_rows")))

    def read_rows(self, keys: Sequence[str]) -> Page:
        clause = sql.SQL("WHERE {pk} = ANY(%s::{kind}[])").format(
            pk=self._pk("t"), kind=sql.SQL(self._type(self.spec.primary_key))
        )
        statement = self._select(self._table(), clause)
        with self._errors() as connection, connection.cursor(binary=True) as cursor:
            return self._page(cursor.execute(statement, [list(keys)]).fetchall())

    def sample(self, limit: int) -> Iterator[Page]:
        size = PageSize()
        for marks in size.parts(self.boundaries(limit), limit):
            page = self.read_rows(marks)
            size.learn(page)
            yield page

    def _select(self, source: sql.Composable, tail: sql.Composable, *more: sql.Composable) -> sql.Composed:
        # The key as text has a name of its own: ORDER BY would take a plain one for the output column and sort as text.
        # xmin is the transaction that wrote the row as it is now, so no other write of it goes unnoticed; ctid is where
        # the row stands, so that it is written without being looked up again.
        return sql.SQL("SELECT {pk}::text AS key_text, xmin, ctid, {columns} FROM {source} AS t {tail}").format(
            pk=self._pk("t"), columns=sql.SQL(", ").join([*map(self._read, self.columns), *more]), source=source, tail=tail
        )  # fmt: skip

    def _page(self, found: list[tuple[Any, ...]]) -> Page:
        if not found:
            return Page((), (), ())
        keys, stamps, places, *columns = zip(*found, strict=True)
        cut = len(columns) > len(self.columns) and columns.pop()[0] > len(found)
        return Page(keys, columns, [list(map(bind, keys)) for bind in self._binds], (stamps, places), cut=cut)

    def ask_write(self, page: Page, new: Sequence[Sequence[Cell]]) -> Answer[set[str]]:
        if not page:
            return set
        cursor = self._ask(self._update, self._values(page, new), begin=True)
        return lambda: self._written(page, self._answer(cursor))

    def write(self, page: Page, new: Sequence[Sequence[Cell]]) -> set[str]:
        with self._errors() as connection, connection.cursor(binary=True) as cursor:
            return self._written(page, cursor.execute(self._update, self._values(page, new)).fetchall())

    @staticmethod
    def _written(page: Page, found: list[tuple[Any, ...]]) -> set[str]:
        keys = found[0][0]
        return set(page.keys if keys is None else keys)

    def _values(self, page: Page, new: Sequence[Sequence[Cell]]) -> list[Any]:
        """What `_update` is filled with."""
        kind = self._type(self.spec.primary_key)
        keys = pack(page.keys, TEXT) if kind in _TEXT_KEYS else " ".join(page.keys)
        stamps, places = page.stamps
        cells = [
            pack(column, BYTEA if self._type(name) == "bytea" else TEXT)
            for name, column in zip(self.columns, new, strict=True)
        ]
        return [keys, pack_even(stamps, XID), pack_even(places, TID), *cells, len(page)]

    @cached_property
    def _update(self) -> LiteralString:
        """Writes the rows that stand where and as they were read: the key is asked too, for a table written anew moves its rows.

        The keys come back only when some row was not written: as a rule all were. A trigger may have put another value
        in the place of ours, the old one or one that no key opens: that ends in an error, which undoes it.
        """
        kinds = [self._type(column) for column in self.columns]
        names = [sql.Identifier(f"new{i}") for i in range(len(kinds))]
        arrays = [sql.SQL("%b::{}[]").format(sql.SQL("bytea" if kind == "bytea" else "text")) for kind in kinds]
        sets = [
            sql.SQL("{c} = u.{n}::{kind}").format(c=_named(column), n=name, kind=sql.SQL(kind))
            for column, name, kind in zip(self.columns, names, kinds, strict=True)
        ]
        taken = [
            _TAKEN[kind].format(c=_named("t", column), n=name)
            for column, name, kind in zip(self.columns, names, kinds, strict=True)
        ]
        kind = self._type(self.spec.primary_key)
        statement = sql.SQL(
            "WITH written AS (UPDATE {t} AS t SET {sets} "
            "FROM unnest({keys}::{kind}[], %b::xid[], %b::tid[], {arrays}) AS u(pk, stamp, place, {names}) "
            "WHERE t.ctid = u.place AND t.{pk} = u.pk AND t.xmin = u.stamp RETURNING u.pk, {taken} AS taken) "
            "SELECT CASE WHEN count(*) < %b::bigint THEN coalesce(array_agg(pk::text), ARRAY[]::text[]) END, "
            "CASE WHEN NOT bool_and(taken) THEN {not_taken} END::int FROM written"
        ).format(
            t=self._table(), sets=sql.SQL(", ").join(sets), kind=sql.SQL(kind), arrays=sql.SQL(", ").join(arrays),
            keys=sql.SQL("%b::text[]" if kind in _TEXT_KEYS else "string_to_array(%b, ' ')"),
            names=sql.SQL(", ").join(names), pk=self._pk(), taken=sql.SQL(" AND ").join(taken), not_taken=sql.Literal(NOT_TAKEN),
        )  # fmt: skip
        return _text(statement)

    def settle(self) -> None:
        with self._errors() as connection, connection.transaction():
            connection.execute("SET LOCAL synchronous_commit TO DEFAULT")
            # Something to commit: commits are flushed in their order, so all before it are flushed with it.
            connection.execute("SELECT pg_logical_emit_message(true, 'keyvault-portal', 'settled')")

    def _ask(self, statement: LiteralString, values: list[Any], *, begin: bool = False) -> psycopg.Cursor[Any]:
        """Send a statement, which the server does while the caller goes on; `begin` makes it a transaction by itself."""
        with self._errors(collect=False) as connection:
            if self._asked is None:
                self._asked = ExitStack()
                self._asked.enter_context(connection.pipeline())
            cursor = connection.cursor(binary=True)
            if (
                begin
            ):  # said in words: otherwise a pipeline is one transaction, which would end only when it is answered
                connection.execute("BEGIN")
            cursor.execute(statement, values)
            if begin:
                connection.execute("COMMIT")
            return cursor

    def _answer(self, cursor: psycopg.Cursor[Any]) -> list[tuple[Any, ...]]:
        with self._errors(), cursor:
            return cursor.fetchall()

    def _table(self) -> sql.Composable:
        return _named(self.spec.schema, self.spec.table)

    def _pk(self, alias: str | None = None) -> sql.Composable:
        return _named(alias, self.spec.primary_key) if alias else _named(self.spec.primary_key)

    def _read(self, column: str, alias: str | None = None) -> sql.Composable:
        name = _named(alias, column) if alias else _named(column)
        return name if self._type(column) == "bytea" else sql.SQL("{}::text").format(name)

    def _type(self, column: str) -> str:
        if not self._types:
            self._describe()
        return self._types[column]

    @contextmanager
    def _errors(self, *, collect: bool = True) -> Iterator[psycopg.Connection]:
        """The open connection; what goes wrong with it is told in the store's terms and never quotes a value.

        Unless `collect` is false, everything that was asked is answered first.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._open()
            assert self._connection is not None
            if collect and self._asked is not None:
                asked, self._asked = self._asked, None
                asked.close()
            yield self._connection
        except psycopg.Error as error:
            if self._asked or (self._connection and self._connection.info.transaction_status != TransactionStatus.IDLE):
                self.close()  # what was asked after it was not done, and its transaction is still open
            raise told(error, f"{self.spec.schema}.{self.spec.table}") from None

    def _open(self) -> None:
        self._connection, self._asked = connect(self._dsn, self._rule), None
        # A page that a crash of the target undoes stands on the old version again, where the census finds it.
        self._connection.execute("SET synchronous_commit = off")
