"""What PostgreSQL complains of, in the terms of a data store; no value is quoted."""

import psycopg
from psycopg import errors

from keys.datastores.base import NOT_TAKEN, StoreGone, StoreRefused, StoreUnavailable, WriteRefused
from keyvault_portal.errors import PortalError

# Errors of what stands in a row, and that of a statement after one of them whose own error came too late.
_OF_A_ROW = (
    psycopg.DataError, psycopg.IntegrityError, errors.PlpgsqlError, errors.RaiseException, errors.NoDataFound,
    errors.TooManyRows, errors.AssertFailure, errors.PipelineAborted,
)  # fmt: skip
# The others in the store's terms, and what to do about them; the first that fits.
_TOLD: tuple[tuple[tuple[type[psycopg.Error], ...], type[PortalError], str, str], ...] = (
    ((errors.ReadOnlySqlTransaction,), StoreRefused, "{} can only be read ({}).", "Make it writable, then try again."),
    ((errors.InsufficientPrivilege,), StoreGone, "{} cannot be used any more ({}).",
     "Grant the right, for row-level security BYPASSRLS, then try again."),
    ((errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName), StoreGone,
     "{} cannot be used any more ({}).", "Bring back what is missing, then try again."),
    ((errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected), StoreUnavailable, "{} is busy ({}).", ""),
    ((errors.DiskFull, errors.OutOfMemory), StoreUnavailable, "The database of {} has no room ({}).", "Make room."),
    ((psycopg.OperationalError,), StoreUnavailable, "The target database does not answer.", ""),
    ((psycopg.Error,), StoreRefused, "{} cannot be used like this ({}).", "Put it right, then try again."),
)  # fmt: skip


def told(error: psycopg.Error, table: str) -> PortalError:
    """An error of the server in the store's terms. Only its main sentence is kept: its details quote the row."""
    said = " ".join((error.diag.message_primary or type(error).__name__).split())
    if isinstance(error, errors.InvalidTextRepresentation) and NOT_TAKEN in said:
        return WriteRefused(NOT_TAKEN)  # the words of our own statement, which it cannot say otherwise
    if isinstance(error, _OF_A_ROW):
        return WriteRefused(said)
    _, kind, sentence, hint = next(row for row in _TOLD if isinstance(error, row[0]))
    return kind(sentence.format(table, said), hint=hint)
