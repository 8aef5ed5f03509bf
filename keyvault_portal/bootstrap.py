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
STAMPS = VENV / ".stamps"  # only there while .venv is complete
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
        was_ready = _is_ready(locks)
        if not was_ready:
            with _alone():
                if not _is_ready(locks):
                    _build(locks)
    except OSError as error:
        _give_up(error)
    except KeyboardInterrupt:
        _say("Interrupted before .venv was ready; the next start builds it.")
        sys.exit(130)
    if not was_ready or Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(str(python), [str(python), *arguments])


def _stamp(locks):
    digest = hashlib.sha256(UV.encode())
    for lock in locks:
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def _is_complete():
    return STAMPS.exists() and (VENV / "bin" / "python").exists()


def _is_ready(locks):
    # A superset is fine: an environment with the tests' packages also runs the portal.
    return _is_complete() and _stamp(locks) in STAMPS.read_text().split()


def _build(locks):
    python, version = _find_python()
    _say("Preparing .venv with Python {} (once, about half a minute) ...".format(version))
    begin_anew = not _is_complete()
    # Installers take half a package for a whole one. So until the last line there are no stamps, and without them nothing is kept.
    if STAMPS.exists():
        STAMPS.unlink()
    if begin_anew:
        _run([python, "-m", "venv", "--clear", str(VENV)], "The virtual environment cannot be made.")
    inside = str(VENV / "bin" / "python")
    uv = VENV / "bin" / "uv"
    install = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
    if uv.exists() or _call([*install, "-r", str(_uv_lock())]).returncode == 0:
        install = [str(uv), "pip", "install", "-q", "--compile-bytecode", "--python", inside, "--require-hashes"]
    _run(
        [*install, "--no-deps", *(word for lock in locks for word in ("-r", str(lock)))],
        "The packages cannot be installed; is the package index reachable, and is there space on the disk?",
    )
    partial = VENV / ".stamps.partial"
    partial.write_text("\n".join(_stamp(locks[:count]) for count in range(1, len(locks) + 1)))
    partial.replace(STAMPS)


def _uv_lock():
    return ROOT / "keyvault_portal" / "bootstrap.lock"


_PROBE = """import sys
print('%d.%d.%d' % sys.version_info[:3])
print(getattr(sys, '_base_executable', sys.executable))
import ensurepip, venv
"""


def _find_python():
    """The first interpreter that really runs, is new enough and can make environments: (path, version).

    The path is the one outside of any environment, for `.venv` may be the very one that is about to be made anew.
    """
    named = os.environ.get("PYTHON")
    names = [named, sys.executable, "python3.13", "python3.12", "python3.14", "python3"]
    versions = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    names += [
        str(path / "bin" / "python")
        for pattern in ("3.13*", "3.12*")
        for path in sorted(versions.glob(pattern), reverse=True)
    ]
    bare = None
    for name in dict.fromkeys(filter(None, names)):
        version, path, has_ensurepip = _probe(name)
        if not version:
            fault = "does not run"
        elif tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            fault = "is Python {}, which is too old".format(version)
        elif not has_ensurepip:
            fault = "has no module ensurepip"
            bare = bare or (version, path)
        else:
            return path, version
        if name == named:
            _say("PYTHON={} {}; looking for another one.".format(named, fault))
    name_one = "or name {}: PYTHON=/path/to/python3.13 ./manage.py ..."
    if bare:
        _stop(
            "Python {} ({}) comes without its module ensurepip, which makes .venv. On Debian install the package "
            "python3-venv, ".format(*bare)
            + name_one.format("another Python")
        )
    _stop(
        "Python 3.12 or newer is needed and none was found (this is {}.{}). Install one, for example python3 and "
        "python3-venv of Debian 13 or a pyenv version 3.13, ".format(*sys.version_info[:2])
        + name_one.format("it")
    )
    raise AssertionError


def _probe(name):
    """Version, path outside of any environment, and whether it has ensurepip; no version where it does not run."""
    found = shutil.which(name)
    try:
        probe = subprocess.run(
            [found or name, "-c", _PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        version, path = probe.stdout.decode().splitlines()
    except (OSError, ValueError):
        return "", "", False
    return version, path, probe.returncode == 0


@contextmanager
def _alone():
    """One builder at a time; a second one waits for the first, and for what a first one that was killed still runs."""
    import fcntl

    with (ROOT / ".bootstrap-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        yield


def _call(command):
    # Open files are handed on, that is the lock: an installer that outlives us keeps it until it is done.
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, close_fds=False)
    if done.returncode and (b"No space left on device" in done.stdout or b"os error 28" in done.stdout):
        _give_up(OSError(errno.ENOSPC, ""))
    return done


def _run(command, what_now):
    done = _call(command)
    if done.returncode:
        tail = done.stdout.decode(errors="replace").strip().splitlines()[-3:]
        tail = tail or ["{} ended with code {}.".format(Path(command[0]).name, done.returncode)]
        _stop(what_now + "\n  " + "\n  ".join(tail))


def _give_up(error):
    if error.errno == errno.ENOSPC:
        _stop("The disk is full: free about 500 MB and start again.")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        _stop("This folder cannot be written: {}.".format(error.filename or ROOT))
    _stop("The environment cannot be prepared: {}. The next start begins anew.".format(error.strerror or error))


def _say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _stop(text):
    _say(text)
    sys.exit(1)
