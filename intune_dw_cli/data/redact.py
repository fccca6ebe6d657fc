"""Redaction: personal columns are left out, or replaced by pseudonyms under which joins still work.

A pseudonym is the first 128 bits, in hex, of HMAC-SHA-256 over the value as UTF-8 in lower case. It depends on nothing
but key and value: the same user id has the same pseudonym in every collection and on every day, and whoever has the
key can work it out for one person (`printf %s anna@contoso.com | openssl dgst -sha256 -hmac KEY`). Case is given up
because the service writes GUIDs and addresses now so and now so. Null stays null and empty text stays empty.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from intune_dw_cli.data.schema import ADDITIONAL, CollectionSchema, Column
from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.reference import ReferenceCollection

Mode = Literal["drop", "hash"]
_LEAST_KEY = 32
_PSEUDONYM_BYTES = 16
_FINGERPRINT_BYTES = 8
_FINGERPRINT_OF = "\x00intune-dw redaction key"  # no text of a page begins with NUL, so it is no value's pseudonym
_TEXT = pa.string()
MAKE_KEY = (
    "Make one, once, and keep it apart from the data: openssl rand -hex 32 > redact.key (PowerShell: "
    '"$(New-Guid)$(New-Guid)" | Out-File -Encoding ascii redact.key). Then give --redact-key-file redact.key, or set '
    "INTUNE_DW_REDACT_KEY to what it holds."
)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What becomes of personal columns.

    Attributes:
        mode: `drop` leaves them out, `hash` pseudonymises them.
        key: For `hash`: at least 32 characters. Whoever has it can tell whose pseudonym is whose.

    Raises:
        UsageError: `hash` without a key, or with a short one.
    """

    mode: Mode
    key: Secret | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("drop", "hash"):
            raise UsageError(f"--redact {self.mode} is not known", hint="Give drop or hash.")
        if self.mode == "hash" and self.key is None:
            raise UsageError("--redact hash needs a key", hint=MAKE_KEY)
        if self.mode == "hash" and self.key is not None and len(self.key.reveal()) < _LEAST_KEY:
            raise UsageError(f"the redaction key has fewer than {_LEAST_KEY} characters", hint=MAKE_KEY)

    @property
    def label(self) -> str:
        """The redaction as the manifest tells it: `drop`, or `hash:` and the key's fingerprint, which tells no key."""
        if self.mode == "drop":
            return self.mode
        return f"hash:{self._digest(_FINGERPRINT_OF)[: 2 * _FINGERPRINT_BYTES]}"

    def schema(self, schema: CollectionSchema, documented: ReferenceCollection | None) -> CollectionSchema:
        """Return the columns of rows that are redacted.

        A pseudonym is text, whatever the column was before. Without all of its key a collection has no key.
        """
        personal = personal_columns(schema, documented)
        if self.mode == "drop":
            kept = schema.select([c.name for c in schema.columns if c.name not in personal])
        else:
            columns = tuple(_text_column(c) if c.name in personal else c for c in schema.columns)
            kept = replace(schema, columns=columns)
        return replace(kept, redaction=self.label, redacted=tuple(c.name for c in schema.columns if c.name in personal))

    def rows(self, batch: pa.RecordBatch, schema: CollectionSchema) -> pa.RecordBatch:
        """Return decoded rows redacted, given the schema that `schema` made.

        Undeclared properties (`_additional`) go in both modes: nobody knows what is in them.
        """
        names = [c.name for c in schema.columns]
        if self.mode == "drop":
            return batch.select(names)
        columns = [
            self._pseudonyms(batch.column(name)) if name in schema.redacted else batch.column(name) for name in names
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema.wire)

    def pseudonym(self, value: str) -> str:
        """Return the pseudonym of a value."""
        return self._digest(value.lower())[: 2 * _PSEUDONYM_BYTES] if value else value

    def _pseudonyms(self, values: pa.Array) -> pa.Array:
        encoded = values.cast(_TEXT).dictionary_encode()  # each value of the page is worked out once
        return pa.array(map(self.pseudonym, encoded.dictionary.to_pylist()), _TEXT).take(encoded.indices)

    def _digest(self, text: str) -> str:
        assert self.key is not None
        return hmac.digest(self.key.reveal().encode(), text.encode(), "sha256").hex()


def in_words(label: str | None) -> str:
    """Return a redaction's label as people read it."""
    if label is None:
        return "as served"
    if label == "drop":
        return "left out"
    return f"pseudonymised with HMAC-SHA-256, key fingerprint {label.partition(':')[2]}"


def personal_columns(schema: CollectionSchema, documented: ReferenceCollection | None) -> frozenset[str]:
    """Return the names of the columns to redact: those the reference marks as personal, and those it does not know.

    What is unknown may be personal. Let through are the DateKey and whole numbers named `...Key`, which are the
    warehouse's surrogate keys.
    """
    columns = [c for c in schema.columns if c.name != schema.date_key]
    return frozenset(c.name for c in columns if _marked(c, documented) or is_unknown(c, documented))


def is_unknown(column: Column, documented: ReferenceCollection | None) -> bool:
    """Whether nobody can say that a column is not personal."""
    if pa.types.is_integer(column.wire) and column.name.casefold().endswith("key"):
        return False
    if documented is None:
        return True
    return documented.property(column.name) is None and column.name.casefold() not in map(
        str.casefold, documented.undocumented
    )


def has_undeclared(batch: pa.RecordBatch) -> bool:
    """Whether rows hold properties that `$metadata` does not declare."""
    return ADDITIONAL in batch.schema.names


def _marked(column: Column, documented: ReferenceCollection | None) -> bool:
    known = documented.property(column.name) if documented else None
    return known is not None and known.personal


def _text_column(column: Column) -> Column:
    return Column(column.name, "Edm.String", _TEXT, _TEXT)
