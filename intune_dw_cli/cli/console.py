"""The terminal as one object: what is a TTY, what is colour, where data and where talk goes."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from intune_dw_cli.cli.options import Talk, require_fit_path
from intune_dw_cli.data.outlet import ByteStream
from intune_dw_cli.errors import IntuneDwError
from intune_dw_cli.export.files import disk_errors, open_append

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# C0, DEL and C1 (what begins an escape sequence is among them), line ends, and what turns the direction of text round.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile(r"(\r?\n|\t)")
_PIPE_WIDTH = 200
ASKING = "asking the service which collections it has"
"""What is waited for before the first row: the service document and $metadata."""


class Terminal:
    """Data goes to stdout, talk to stderr; nothing that a server said reaches either with control characters.

    Attributes:
        has_answered: Whether stdout has its JSON object, or a part of it while it is being written.
    """

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.has_answered = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a cp1252 console must not end a run
        self.err = stderr_console()
        self.out = Console(highlight=False, emoji=False, markup=False, width=None if sys.stdout.isatty() else _wide())
        _configure_logging(talk)

    @property
    def quiet(self) -> bool:
        """Whether only errors are said."""
        return self.talk.quiet

    @property
    def live(self) -> bool:
        """Whether a progress display may move on the screen: a real terminal, and no lines in between."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and not self.talk.quiet and not self.talk.verbose

    def say(self, text: str | Text, style: str | None = None) -> None:
        """Say something to the person at the terminal (stderr), unless quiet."""
        if not self.quiet:
            self.err.print(clean(text) if isinstance(text, str) else text, style=style)

    def warn(self, text: str) -> None:
        """Say a warning, unless quiet."""
        self.say(Text.assemble(("warning: ", "yellow"), clean(text)))

    def error(self, error: IntuneDwError) -> None:
        """Say an error and what to do next, also when quiet; with --json as an object on stdout as well."""
        report_error(self.err, error)

    def line(self, text: str) -> None:
        """Print a line to stdout: data. Words wrap on a terminal, lines stay whole in a file or a pipe."""
        self.out.print(clean(text), soft_wrap=not self.out.is_terminal)

    @property
    def data(self) -> ByteStream:
        """Stdout for the bytes of a file; where that is a screen, without control characters in the cells."""
        return _CleanText(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer

    def table(self, table: Table) -> None:
        """Print a table to stdout: data; outside a terminal without the blanks that would fill its lines."""
        if self.out.is_terminal:
            self.out.print(table)
            return
        with self.out.capture() as printed:
            self.out.print(table)
        self.out.print("\n".join(line.rstrip() for line in printed.get().splitlines()), soft_wrap=True)

    def print_json(self, document: dict[str, Any]) -> None:
        """Print one JSON object to stdout."""
        self.has_answered = True
        sys.stdout.write(json.dumps(document, ensure_ascii=True, indent=2) + "\n")
        sys.stdout.flush()

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Say what is waited for while the block runs; only to a person."""
        if self.live:
            with self.err.status(clean(what)):
                yield
            return
        if self.err.is_terminal:
            self.say(f"{what} ...")
        yield

    @contextmanager
    def counting(self) -> Iterator[Callable[[str, int, int], None]]:
        """Show stages that count their files; yields what is to be told (stage, done, total)."""
        if not self.live:
            yield lambda _stage, _done, _total: None
            return
        with self.err.status("") as status:
            yield lambda stage, done, total: status.update(f"{stage}: {done:,} of {total:,}")


def stderr_console() -> Console:
    """Return the console for talk: words wrap on a terminal, lines stay whole in a file or a pipe."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=not sys.stderr.isatty())


def report_error(console: Console, error: IntuneDwError) -> None:
    """Print an error: what happened, then what to do."""
    console.print(Text.assemble(("error: ", "bold red"), clean(str(error))))
    if error.hint:
        console.print(Text.assemble(("  hint: ", "bold"), clean(error.hint)))


def clean(text: str) -> str:
    """Return text as one line, without control characters, terminal escapes and direction overrides."""
    return _CONTROL.sub("\ufffd", text)


def clean_lines(text: str) -> str:
    """Return text of several lines, each without control characters but tabs."""
    return "".join(piece if piece in ("\n", "\r\n", "\t") else clean(piece) for piece in _LINE_ENDS.split(text))


class _CleanText(io.RawIOBase):
    """Passes UTF-8 text on, cleaned."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._stream.write(clean_lines(self._decoder.decode(bytes(data))).encode())
        return memoryview(data).nbytes


def size_text(size: float) -> str:
    """Return a number of bytes as people read it: 12.3 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def duration_text(seconds: float) -> str:
    """Return a duration as people read it: 4.2 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _wide() -> int:
    return int(os.environ.get("COLUMNS", _PIPE_WIDTH))


def _configure_logging(talk: Talk) -> None:
    logger = logging.getLogger("intune_dw_cli")
    logger.handlers.clear()
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.DEBUG if talk.log_file or talk.verbose >= 2 else logging.INFO)
    if talk.verbose >= 2:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter("%(message)s"))
        logger.addHandler(handler)
    if talk.log_file:
        require_fit_path("--log-file", talk.log_file)
        with disk_errors(talk.log_file):
            file = open_append(talk.log_file, devices=True)
        handler = logging.StreamHandler(io.TextIOWrapper(file, encoding="utf-8", write_through=True))
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(threadName)s %(message)s"))
        logger.addHandler(handler)


class _Formatter(logging.Formatter):
    """Log lines hold no control characters either, and a message is one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return clean(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return clean_lines(super().format(record))
