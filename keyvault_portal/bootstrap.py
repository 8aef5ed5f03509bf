"""Make sure that the locked environment exists, then run in it. Standard library only.

The syntax stays valid on Python 3.8, so that an old interpreter can still say what is missing.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 12)
NEEDS_TESTS = {"test", "benchmark"}
UV = "uv==0.13.9"


def ensure(arguments):
    """Return when this process runs in the locked environment; otherwise build what is missing and start again there."""
    if os.environ.get("PORTAL_NO_BOOTSTRAP") == "1":
        return
    locks = [ROOT / "requirements.lock"]
    if NEEDS_TESTS & set(arguments[1:2]) or os.environ.get("CI") == "true":
        locks.append(ROOT / "tests" / "requirements.lock")
    python = VENV / "bin" / "python"
    try:
        if not _is_ready(locks):
            with _alone():
                if not _is_ready(locks):
                    _build(locks)
    except OSError as error:
        _give_up(error)
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(str(python), [str(python), *arguments])


def _stamp(locks):
    digest = hashlib.sha256(UV.encode())
    for lock in locks:
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def _is_ready(locks):
    # A superset is fine: an environment with the tests' packages also runs the portal.
    stamps = VENV / ".stamps"
    return (VENV / "bin" / "python").exists() and stamps.exists() and _stamp(locks) in stamps.read_text().split()


def _build(locks):
    python = _find_python()
    _say("Preparing .venv with Python {} (once, about half a minute) ...".format(python[1]))
    VENV.mkdir(exist_ok=True)
    if not (VENV / "bin" / "python").exists() or not (VENV / "pyvenv.cfg").exists():
        shutil.rmtree(str(VENV))
        _run(
            [python[0], "-m", "venv", str(VENV)],
            "The virtual environment cannot be made; Debian needs the package python3-venv.",
        )
    inside = str(VENV / "bin" / "python")
    files = [word for lock in locks for word in ("-r", str(lock))]
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        made = subprocess.run(
            [
                inside,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--require-hashes",
                "-r",
                str(_uv_lock()),
            ],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if made.returncode and uv.exists():
            uv.unlink()  # half of it, on a full disk
    if uv.exists():
        command = [
            str(uv),
            "pip",
            "install",
            "-q",
            "--compile-bytecode",
            "--python",
            inside,
            "--require-hashes",
            "--no-deps",
        ]
    else:
        command = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    _run(
        command + files,
        "The packages cannot be installed; is the package index reachable, and is there space on the disk?",
    )
    stamps = [_stamp(locks[:count]) for count in range(1, len(locks) + 1)]
    (VENV / ".stamps").write_text("\n".join(stamps))


def _uv_lock():
    return ROOT / "keyvault_portal" / "bootstrap.lock"


def _find_python():
    """The first interpreter that really runs and is new enough: (path, version)."""
    names = [os.environ.get("PYTHON"), sys.executable, "python3.13", "python3.12", "python3.14", "python3"]
    versions = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    names += [
        str(path / "bin" / "python")
        for pattern in ("3.13*", "3.12*")
        for path in sorted(versions.glob(pattern), reverse=True)
    ]
    for name in names:
        found = name and shutil.which(name)
        if not found:
            continue
        probe = subprocess.run(
            [found, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        version = probe.stdout.decode().strip()
        if probe.returncode == 0 and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
            return found, version
    _stop(
        "Python 3.12 or newer is needed and none was found (this is {}.{}). Install one, for example Debian's python3.12 or a pyenv "
        "version 3.13, or name it: PYTHON=/path/to/python3.13 ./manage.py ...".format(*sys.version_info[:2])
    )
    raise AssertionError


@contextmanager
def _alone():
    """One builder at a time; a second one waits for the first."""
    import fcntl

    with (ROOT / ".bootstrap-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command, what_now):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        if b"No space left on device" in done.stdout or b"os error 28" in done.stdout:
            _give_up(OSError(errno.ENOSPC, ""))
        tail = done.stdout.decode(errors="replace").strip().splitlines()[-3:]
        _stop(what_now + "\n  " + "\n  ".join(tail))


def _give_up(error):
    if error.errno == errno.ENOSPC:
        _stop("The disk is full: free about 500 MB and start again.")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        _stop("This folder cannot be written: {}.".format(error.filename or ROOT))
    _stop("The environment cannot be prepared: {}.".format(error.strerror or error))


def _say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _stop(text):
    _say(text)
    sys.exit(1)
