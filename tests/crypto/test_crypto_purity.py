"""The cryptographic core stands alone, and names no framework."""

import pkgutil
import subprocess
import sys

import keys.crypto

MODULES = sorted(module.name for module in pkgutil.iter_modules(keys.crypto.__path__))


def test_imports_neither_framework_nor_broker():
    imports = "; ".join(f"import keys.crypto.{name}" for name in MODULES)
    check = (
        "import sys; print(sorted({m.split('.')[0] for m in sys.modules} & {'django', 'celery', 'kombu', 'psycopg'}))"
    )
    done = subprocess.run([sys.executable, "-c", f"{imports}; {check}"], capture_output=True, text=True, check=True)
    assert len(MODULES) > 15
    assert done.stdout.strip() == "[]"
