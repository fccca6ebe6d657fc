"""Every failure we can foresee, as a small family of types sorted by what the user must do.

    IntuneDwError                 1    base: message, hint, where it happened
    |-- UsageError                2    the command line or the configuration must be changed
    |   `-- UnknownCollectionError     no such collection; names the near misses
    |-- SignInError               4    nobody is signed in, or the service refuses who we are
    |-- ServiceError              1    the service answered with an error status
    |   |-- BadRequestError            400: an option or a filter is refused
    |   |-- ForbiddenError        4    403: a role, permission or consent is missing
    |   |-- NotFoundError              404: no such address or collection
    |   `-- UnavailableError           429, 408, 5xx that outlived the retries
    |-- TransportError            1    no usable answer: DNS, TLS, reset, time-out, cut short
    |-- ProtocolError             1    an answer that is not what OData promises
    |   |-- MalformedPageError         not JSON or not a page; a repeat may help
    |   |-- HostGuardError             a link that would carry the token to a foreign host
    |   `-- FilterIgnoredError         rows outside the DateKey range that was asked for
    |-- OutputError               1    the disk: full, read-only, permission denied
    |-- ArchiveError              1    this directory cannot take this backup
    |   |-- ArchiveLockedError    6    another run holds the archive
    |   `-- ArchiveDamagedError   5    verify found damage
    |-- PartialError              3    something is missing; the same command continues
    `-- InterruptedRunError     130    Ctrl-C or a termination signal

Messages say what happened; `hint` says what to do next. Neither ever holds a token, a secret or row data.
"""

from __future__ import annotations

from typing import ClassVar


class IntuneDwError(Exception):
    """Base of all foreseen failures.

    Args:
        message: What happened, one sentence.
        hint: What the user should do next; what is usual for the kind of error without it.
        collection: The entity set that was being read, if one was.
        request_id: The client-request-id of the failing request, for Microsoft support.

    Attributes:
        ends_run: Whether nothing else of the run could succeed either, so that it ends at once.
        usual_hint: The hint of errors of this kind that bring none.
    """

    exit_code: ClassVar[int] = 1
    ends_run: bool = False
    usual_hint: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        collection: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint
        self.collection = collection
        self.request_id = request_id

    def __str__(self) -> str:
        where = f"{self.collection}: " if self.collection else ""
        tail = f" (client-request-id {self.request_id})" if self.request_id else ""
        return f"{where}{self.message}{tail}"


class UsageError(IntuneDwError):
    """The command line, an environment variable or a profile must be changed."""

    exit_code = 2


class UnknownCollectionError(UsageError):
    """The service lists no collection of that name."""


class SignInError(IntuneDwError):
    """Nobody is signed in, the sign-in was refused, or a token could not be renewed."""

    exit_code = 4
    ends_run = True


class ServiceError(IntuneDwError):
    """The service answered with an error status.

    Args:
        status: The HTTP status.
        code: The service's own error code, where the body had one.
    """

    usual_hint = "Run the same command again later; if it stays, report it to Microsoft with the ids above."

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        hint: str | None = None,
        collection: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, collection=collection, request_id=request_id)
        self.status = status
        self.code = code


class BadRequestError(ServiceError):
    """400: an option, a filter or a spelling that the service does not accept."""


class ForbiddenError(ServiceError):
    """403: a role, an API permission or admin consent is missing. Never retried.

    Attributes:
        scopes: The permissions of which the service says that it wants one; empty where it does not say.
    """

    exit_code = 4
    scopes: tuple[str, ...] = ()


class NotFoundError(ServiceError):
    """404: no such collection, or the feed URL is not (or no longer) the tenant's."""


class UnavailableError(ServiceError):
    """429, 408 or 5xx that outlived the retries. Running again later continues."""

    usual_hint = "Run the same command again later; it continues."


class TransportError(IntuneDwError):
    """No usable answer: name not resolved, TLS refused, connection reset, time-out, body cut short.

    Attributes:
        permanent: Whether trying again is pointless, as with a certificate that is not trusted.
        unreachable: Whether not even a connection came about.
        unknown_host: Whether that is because a name server knows no such host.
    """

    usual_hint = "Check the network, and run the same command again; it continues."
    permanent: bool = False
    unreachable: bool = False
    unknown_host: bool = False


class ProtocolError(IntuneDwError):
    """An answer that is not what OData 4.0 promises, for instance HTML from a proxy."""

    usual_hint = (
        "Run the same command again. If it stays: check the feed URL, and whether a proxy changes the answers; else "
        "report it to Microsoft with the client-request-id."
    )


class MalformedPageError(ProtocolError):
    """A page that is not JSON, is cut short or has no `value`. The same request may succeed when repeated."""


class HostGuardError(ProtocolError):
    """A link or redirect that would carry the bearer token to a host that is not the feed's."""


class FilterIgnoredError(ProtocolError):
    """Rows lie outside the DateKey range that was asked for: the service ignored the filter."""


class OutputError(IntuneDwError):
    """A file could not be written: disk full, read-only, permission denied, path in the way.

    Attributes:
        no_space: Whether the disk or the quota is full.
    """

    no_space: bool = False

    usual_hint = "Check the path, its permissions and the disk, and run the same command again."

    ends_run = True


class ArchiveError(IntuneDwError):
    """The directory cannot take this backup: other feed, tenant, format or version, or no archive at all."""

    ends_run = True


class ArchiveLockedError(ArchiveError):
    """Another run holds the archive's lock."""

    exit_code = 6


class ArchiveDamagedError(ArchiveError):
    """`verify` found damage."""

    usual_hint = "Bring the file back from a copy of the archive."
    exit_code = 5


class PartialError(IntuneDwError):
    """The run ended with something missing; the same command continues it."""

    exit_code = 3


class InterruptedRunError(IntuneDwError):
    """The user or the system asked the run to stop."""

    exit_code = 130
    ends_run = True
