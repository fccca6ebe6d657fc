"""users, termsAndConditions and who accepted them when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intune_dw_cli.sandbox.noise import Noise, number
from intune_dw_cli.sandbox.timestamps import OPEN_END, last_touch, midnight, moment
from intune_dw_cli.sandbox.words import FIRST_NAMES, LAST_NAMES, TERMS

if TYPE_CHECKING:
    from intune_dw_cli.sandbox.generate.source import Record

_TWIN_EVERY = 40
"""Every so many users one came back: two rows, the older one deleted, share a userId."""
_TERMS_SINCE = 735_000


class People:
    """Makes users and everything about terms and conditions."""

    def __init__(self, noise: Noise, devices: int, today: int) -> None:
        self._noise = noise
        self._today = today
        self.users = max(1, devices * 3 // 4)

    def user_key(self, user: int) -> int:
        """Return the surrogate key of a user."""
        return user + 1

    def user_id(self, user: int) -> str:
        """Return the natural id, which two rows of the same person share."""
        return self._noise.guid("user", user - 1 if self._is_return(user) else user)

    def _is_return(self, user: int) -> bool:
        return user % _TWIN_EVERY == _TWIN_EVERY - 1

    def user(self, user: int) -> Record:
        """Return the row of one user."""
        person = user - 1 if self._is_return(user) else user
        data = self._noise.at("user", person)
        first, last = FIRST_NAMES[data[16] % len(FIRST_NAMES)], LAST_NAMES[data[17] % len(LAST_NAMES)]
        account = f"{first}.{last}{person}@contoso.com".lower()
        came_back = self._is_return(user + 1) and user + 1 < self.users
        is_deleted = came_back or data[18] < 10
        changed = last_touch(self._today, number(data, 19), 180)
        return {
            "userKey": self.user_key(user),
            "userId": self.user_id(user),
            "userEmail": account if data[21] < 240 else None,
            "userPrincipalName": account,
            "displayName": f"{first} {last}",
            "intuneLicensed": not is_deleted and data[22] < 245,
            "isDeleted": is_deleted,
            "rowLastModifiedDateTimeUTC": moment(changed, number(data, 24, 8)),
        }

    def terms(self) -> list[Record]:
        """Return the rows of termsAndConditions: two versions of each, the older one closed."""
        rows: list[Record] = []
        for place, name in enumerate(TERMS):
            for version in (1, 2):
                start = _TERMS_SINCE + place * 90 + version * 200
                rows.append(
                    {
                        "termsAndConditionsKey": len(rows) + 1,
                        "termsAndCondidionsId": self._noise.guid("terms", place),
                        "termsAndConditionsVersion": version,
                        "name": name,
                        "description": f"{name} for Contoso staff" if version == 2 else None,
                        "title": name,
                        "summaryOfTerms": "Please read before you enroll.",
                        "termsAndConditionsBodyText": f"1. {name}.\r\n2. This text binds nobody.",
                        "isDeleted": version == 2 and place == len(TERMS) - 1,
                        "startDateInclusiveUTC": midnight(start),
                        "endDateEclusiveUTC": midnight(start + 200) if version == 1 else OPEN_END,
                    }
                )
        return rows

    def acceptances(self, day: int) -> list[Record]:
        """Return the acceptances of one day; no user appears twice."""
        data = self._noise.stream(f"acceptances/{day}", 8)
        amount = min(self.users, 1 + number(data, 0) % (2 + self.users // 200))
        start = number(data, 2, 4) % self.users
        return [self._acceptance(day, (start + place) % self.users) for place in range(amount)]

    def _acceptance(self, day: int, user: int) -> Record:
        data = self._noise.at(f"acceptance/{day}", user)
        accepted = moment(day, number(data, 0, 8))
        return {
            "userKey": self.user_key(user),
            "termsAndConditionsKey": data[8] % (2 * len(TERMS)) + 1,
            "acceptedDateTimeUTC": accepted,
            "lastModifiedDateTimeUTC": accepted,
        }
