"""The `sparring` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from types import FrameType

import click

from augment.base.errors import Ended, SparringError, UsageError
from augment.base.files import NO_NAME
from augment.base.progress import say
from augment.cli import nightly, run, search, setup, tables
from augment.cli.terminal import in_utf8

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
SQLITE_SAYS = ("database or disk is full", "attempt to write a readonly database", "unable to open database file")


def main() -> None:
    """Run the command; every known error becomes one line and its exit code."""
    in_utf8()
    # Spinning threads make small loops many times slower when processes share cores; torch reads this at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no second
        if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
            signal.signal(number, _end)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:  # click makes the first of the second
        stop = error.__cause__ if isinstance(error, click.Abort) else error
        code = stop.exit_code if isinstance(stop, Ended) else 130
        _fail("stopped; nothing half-written is left, run it again to finish", code)
    except SparringError as error:
        _fail(str(error), 7 if _no_room(error) else error.exit_code)
    except Exception as error:
        if _no_room(error):  # whatever was being written is whole or not there
            _fail(f"{_said(error)}: make room or mend the permissions, and run it again", 7)
        if isinstance(error, OSError) and error.errno in NO_NAME:
            _fail(f"{_said(error)}: choose another name", UsageError.exit_code)
        if os.environ.get("SPARRING_DEBUG"):
            traceback.print_exc()
        _fail(
            f"{type(error).__name__}: {error} (a bug: set SPARRING_DEBUG=1 for the traceback, and report it)",
            1,
        )


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
    raise Ended(number)


def _no_room(error: Exception) -> bool:
    """Whether the output could not be written. DuckDB, Arrow and Delta have errors of their own; their words agree.

    SQLite's, of the cache of embeddings, do not.
    """
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    words = [os.strerror(number) for number in NO_ROOM if number != errno.EACCES]
    return any(said in str(error) for said in (*words, *SQLITE_SAYS))


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _fail(message: str, code: int) -> None:
    message = " ".join(message.split())
    say(f"sparring: {message}")
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": message, "code": code}))
    sys.exit(code)


@click.group()
@click.version_option(package_name="sparring")
def cli() -> None:
    """Hard but plausible training samples for e-commerce models, published only when they help.

    Start with `sparring run demo`, or `sparring init your-files...` for your own data.
    """


COMMANDS = {
    setup: ("init", "doctor", "data", "strategies", "teachers", "maps"),
    run: ("run", "generate", "train", "evaluate"),
    search: ("search",),
    nightly: ("nightly",),
    tables: ("ls", "show", "verify", "rollback", "gc"),
}
for module, names in COMMANDS.items():
    for name in names:
        cli.add_command(getattr(module, name))
