"""appRevisions and the daily counts of their install states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.noise import Noise, number
from intune_dw_cli.sandbox.timestamps import OPEN_END, midnight, moment
from intune_dw_cli.sandbox.words import APPS, PUBLISHERS

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.lookups import Lookups
    from intune_dw_cli.sandbox.generate.source import Record

_REVISIONS = 3
_FIRST_UPLOAD = 735_200
_ERROR_CODES = (-2016345060, -2016281112, -2147024891, 1603, 1618)


class Apps:
    """Makes apps with their revisions."""

    def __init__(self, noise: Noise, lookups: Lookups, devices: int) -> None:
        self._noise = noise
        self._lookups = lookups
        self._devices = devices

    def revisions(self) -> list[Record]:
        """Return the rows of appRevisions: three revisions of each app, the newest one current."""
        types, programs = self._lookups.keys("appTypes"), self._lookups.keys("vppProgramTypes")
        rows: list[Record] = []
        for app, title in enumerate(APPS):
            for revision in range(1, _REVISIONS + 1):
                data = self._noise.at(f"app/{app}", revision)
                created = _FIRST_UPLOAD + app * 11 + revision * 160
                current = revision == _REVISIONS
                rows.append(
                    {
                        "appKey": len(rows) + 1,
                        "applicationId": self._noise.guid("app", app),
                        "revision": revision,
                        "title": title,
                        "publisher": PUBLISHERS[app % len(PUBLISHERS)] if app % 5 else None,
                        "uploadState": 1,
                        "appTypeKey": types[app % len(types)],
                        "vppProgramTypeKey": programs[0] if app % 4 == 3 else -1,
                        "creationTime": moment(created, number(data, 0, 8)),
                        "modifiedTime": moment(created + data[8] % 30, number(data, 9, 8)),
                        "size": number(data, 20, 4),
                        "startDateInclusiveUTC": midnight(created),
                        "endDateExclusiveUTC": OPEN_END if current else midnight(created + 160),
                        "isCurrent": current,
                        "rowLastModifiedDateTimeUTC": moment(created + 160 if not current else created, 3600),
                    }
                )
        return rows

    def install_counts(self, day: int) -> list[Record]:
        """Return one day of mobileAppInstallStatusCounts: installed, pending and failed by app."""
        data = self._noise.stream(f"installs/{day}", 4 * len(APPS))
        installed, failed, pending = (
            self._lookups.key_of("mobileAppInstallStates", label) for label in ("installed", "failed", "pendingInstall")
        )
        device_types = [self._lookups.key_of("deviceTypes", label) for label in ("Windows", "IPhone", "Android")]
        rows: list[Record] = []
        for app in range(len(APPS)):
            share, errors, code, kind = data[app * 4 : app * 4 + 4]
            common = {
                "appKey": (app + 1) * _REVISIONS,
                "deviceTypeKey": device_types[app % len(device_types)],
            }
            outcomes = [
                (installed, 0, self._devices * share // 300),
                (pending, 0, self._devices * kind // 3000),
                (failed, _ERROR_CODES[code % len(_ERROR_CODES)], self._devices * errors // 5000 + 1),
            ]
            rows += [
                {**common, "appInstallStateKey": state, "errorCode": error, "count": count}
                for state, error, count in outcomes
            ]
        return rows
