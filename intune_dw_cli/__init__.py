"""Take data out of the Microsoft Intune Data Warehouse: the public API for Python programs.

    from intune_dw_cli import Warehouse

    with Warehouse.connect() as warehouse:
        for batch in warehouse.batches("devices"):
            ...

Names are loaded when they are first used: `import intune_dw_cli` alone costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "EntitySet",
    "ForbiddenError",
    "InterruptedRunError",
    "IntuneDwError",
    "OutputError",
    "ProtocolError",
    "Redaction",
    "Secret",
    "ServiceError",
    "SignInError",
    "TransportError",
    "UnknownCollectionError",
    "UsageError",
    "Warehouse",
    "__version__",
]

if TYPE_CHECKING:
    from intune_dw_cli.data.redact import Redaction
    from intune_dw_cli.errors import (
        ForbiddenError,
        InterruptedRunError,
        IntuneDwError,
        OutputError,
        ProtocolError,
        ServiceError,
        SignInError,
        TransportError,
        UnknownCollectionError,
        UsageError,
    )
    from intune_dw_cli.identity.secret import Secret
    from intune_dw_cli.library import Warehouse
    from intune_dw_cli.service.warehouse import EntitySet
else:
    _MODULES = {
        "EntitySet": "service.warehouse",
        "Redaction": "data.redact",
        "Secret": "identity.secret",
        "Warehouse": "library",
    }

    def __getattr__(name: str) -> object:
        """Load a public name."""
        from importlib import import_module  # noqa: PLC0415

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)

    def __dir__() -> list[str]:
        return sorted(__all__)
