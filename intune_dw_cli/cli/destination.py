"""Where rows go and in what form, as it is typed: -o, -f, --compression, --excel, --partition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from intune_dw_cli.data.formats import FileFormat
    from intune_dw_cli.service.warehouse import EntitySet

_SUFFIXES = {
    ".parquet": ("parquet", None),
    ".csv": ("csv", None),
    ".csv.gz": ("csv", "gzip"),
    ".csv.zst": ("csv", "zstd"),
}


def file_format(format: str | None, compression: str | None, excel: bool, output: str | None) -> FileFormat:
    """Return the file format that -f, --compression, --excel and the suffix of -o name together.

    Raises:
        UsageError: they contradict each other, or are not known.
    """
    from intune_dw_cli.data.formats import FileFormat

    by_suffix = next((v for s, v in _SUFFIXES.items() if output and output.lower().endswith(s)), None)
    if format is not None and format.lower() not in ("csv", "parquet"):
        raise UsageError(f"--format {format} is not known", hint="Give csv or parquet.")
    if format and by_suffix and format.lower() != by_suffix[0]:
        raise UsageError(
            f"-f {format} and the suffix of -o {output} contradict each other", hint="Leave one of them out."
        )
    kind = format.lower() if format else (by_suffix[0] if by_suffix else "csv")
    packed = by_suffix[1] if by_suffix else None
    if compression is not None:
        packed = None if compression.lower() == "none" and kind == "csv" else compression.lower()
        if by_suffix and by_suffix[0] == "csv" and packed != by_suffix[1]:
            raise UsageError(
                f"--compression {compression} and the suffix of -o {output} contradict each other",
                hint="Leave one of them out.",
            )
    return FileFormat("parquet" if kind == "parquet" else "csv", packed, excel)


class Target:
    """Where a pull goes: stdout, one file, a folder with a file a collection, or a partitioned folder."""

    def __init__(self, path: Path | None, fmt: FileFormat, *, is_file: bool, partition: bool) -> None:
        self.path = path
        self.format = fmt
        self.is_file = is_file
        self.partition = partition

    @classmethod
    def of(cls, output: str | None, fmt: FileFormat, partition: bool, json: bool) -> Target:
        """Return the target that -o and --partition name. Raises UsageError when they do not fit."""
        if output == "-":
            if partition or fmt.format != "csv":
                raise UsageError("stdout takes CSV only", hint="Use -f csv without --partition, or -o FILE.")
            if json:
                raise UsageError("-o - and --json both want stdout", hint="Use -o FILE with --json.")
            return cls(None, fmt, is_file=False, partition=False)
        path = Path(output or ".")
        named = output is not None and any(output.lower().endswith(s) for s in _SUFFIXES)
        is_file = named and not path.is_dir()
        if is_file and partition:
            raise UsageError("--partition makes a folder, but -o names a file", hint="Give -o FOLDER.")
        if output and not named and not path.is_dir() and path.suffix and not output.endswith(("/", "\\")):
            raise UsageError(
                f"-o {output}: the suffix {path.suffix} is not known",
                hint=f"Use {', '.join(_SUFFIXES)}, or end a folder's name with /.",
            )
        if path.exists() and not path.is_dir() and not is_file:
            raise UsageError(f"-o {output} is a file, not a folder", hint="Give a folder, or a file with a suffix.")
        return cls(path, fmt, is_file=is_file, partition=partition)

    def require_fits(self, chosen: list[EntitySet]) -> None:
        """Raise UsageError when several collections would go to one place."""
        if len(chosen) > 1 and (self.path is None or self.is_file):
            where = "stdout" if self.path is None else str(self.path)
            raise UsageError(
                f"{len(chosen)} collections do not go into {where} together",
                hint="Give -o FOLDER/ for one file a collection.",
            )

    def paths(self, names: list[str], stems: Mapping[str, str]) -> dict[str, Path]:
        """Return the file of each collection (with --partition its folder), named by the stem of its name."""
        assert self.path is not None
        if self.is_file:
            return {names[0]: self.path}
        suffix = "" if self.partition else self.format.suffix
        return {name: self.path / (stems[name] + suffix) for name in names}
