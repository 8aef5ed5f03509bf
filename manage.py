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

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
