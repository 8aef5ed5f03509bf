#!/usr/bin/env python3
"""Plain Django, after making sure that the locked environment exists and runs us."""

import os
import sys

from keyvault_portal import bootstrap


def main():
    bootstrap.ensure(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
    if sys.argv[1:2] == ["quickstart"]:
        from keyvault_portal import quickstart

        quickstart.prepare(sys.argv[2:])
    from django.core.management import execute_from_command_line
    from django.db.utils import OperationalError
    from psycopg import errors

    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        sys.exit(
            f"The database does not answer: {str(error).splitlines()[0]}\nIs ./manage.py quickstart running, or DATABASE_URL right?"
        )
    except Exception as error:
        if not isinstance(error.__cause__ or error, errors.UndefinedTable | errors.UndefinedColumn):
            raise
        sys.exit("The database is not prepared for this release: run ./manage.py set_up, which is safe to run again.")


if __name__ == "__main__":
    main()
