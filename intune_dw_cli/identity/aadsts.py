"""What the error codes of Microsoft Entra (AADSTS...) mean for this tool: one sentence, and the next step.

Source: learn.microsoft.com/entra/identity-platform/reference-error-codes. Microsoft warns that codes may change: they
choose words here, never what the program does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Advice(NamedTuple):
    """What happened, and what to do."""

    what: str
    next_step: str


_REGISTRATION = "Entra admin center > App registrations > your app"
_AGAIN = "Sign in again with: intune-dw login"
_CONSENT = (
    f"An administrator must open {_REGISTRATION} > API permissions and grant admin consent for get_data_warehouse "
    "(Microsoft Intune API)."
)
_TENANT = "Give the tenant id or domain with --tenant; it is on the overview page of the Entra admin center."
_INTERACTIVE = "Sign in in a browser with `intune-dw login`, or use an app with its own secret or certificate."
_CONDITIONAL = (
    "Sign in from a managed device and with --browser instead of --device-code (device code is often what is "
    "blocked), or ask the administrator for an exclusion."
)
_CERTIFICATE = (
    f"Upload the certificate (.cer) under {_REGISTRATION} > Certificates & secrets, or give the file that belongs to "
    "the one there."
)
_FEDERATION = (
    f"Compare issuer, subject and audience under {_REGISTRATION} > Certificates & secrets > Federated credentials "
    "with those of the token; they are compared to the letter."
)
_SCOPE = "Remove the override of the resource. The scope must end in //.default for https://api.manage.microsoft.com/."

ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "7000215": Advice(
            "the client secret is wrong",
            f"Use the Value of the secret, not its Secret ID ({_REGISTRATION} > Certificates & secrets). The value is "
            "shown only once: if it is lost, make a new secret.",
        ),
        "7000222": Advice(
            "the client secret has expired",
            f"Make a new one under {_REGISTRATION} > Certificates & secrets, and use its Value.",
        ),
        "700027": Advice("the certificate is not one that this app trusts", _CERTIFICATE),
        "700030": Advice("the certificate does not belong to this app", _CERTIFICATE),
        "700024": Advice(
            "the signed proof is outside its time of validity", "Set the clock of this computer and its time zone."
        ),
        "700025": Advice(
            "this app is a public client, and got a secret or certificate",
            "Sign in as a user, or register a confidential app for unattended runs.",
        ),
        "700016": Advice(
            "this tenant has no app with that client id",
            f"Check the Application (client) ID under {_REGISTRATION} > Overview, and the tenant.",
        ),
        "7000112": Advice("the app is disabled", "Enable it under Entra admin center > Enterprise applications."),
        "7000229": Advice(
            "the app has no service principal in this tenant",
            "Check the tenant, or add the app to it by granting admin consent.",
        ),
        "90002": Advice("there is no such tenant", f"{_TENANT} For a national cloud also give --cloud."),
        "900023": Advice("the tenant is neither an id nor a domain name", _TENANT),
        "50059": Advice("no tenant was named", _TENANT),
        "50194": Advice("the app belongs to one tenant, and the sign-in went to another", _TENANT),
        "50020": Advice("this account is not a member of the tenant", f"Use an account of the tenant. {_TENANT}"),
        "65001": Advice("nobody has consented that this app reads the data warehouse", _CONSENT),
        "65004": Advice("the consent was declined", _CONSENT),
        "90094": Advice("an administrator must consent first", _CONSENT),
        "50105": Advice(
            "this account is not assigned to the app",
            "Assign it under Entra admin center > Enterprise applications > your app > Users and groups.",
        ),
        "500011": Advice(
            "this tenant does not know the warehouse service",
            "The tenant must have Intune, and the cloud must be the right one (--cloud).",
        ),
        "70011": Advice("the scope is malformed", _SCOPE),
        "1002012": Advice("the scope is malformed", _SCOPE),
        "50076": Advice("the tenant asks for multi-factor authentication", _INTERACTIVE),
        "50078": Advice("the multi-factor authentication has expired", _AGAIN),
        "50079": Advice("multi-factor authentication must be set up for this account first", _INTERACTIVE),
        "53000": Advice("Conditional Access wants a compliant device", _CONDITIONAL),
        "53001": Advice("Conditional Access wants a joined device", _CONDITIONAL),
        "53003": Advice("Conditional Access blocks this sign-in", _CONDITIONAL),
        "7000218": Advice(
            "the app does not allow public clients",
            f"Set {_REGISTRATION} > Authentication > Allow public client flows to Yes, or give a client secret or "
            "certificate.",
        ),
        "50011": Advice(
            "the app does not know this redirect address",
            f"Add the platform Mobile and desktop applications with http://localhost under {_REGISTRATION} > "
            "Authentication.",
        ),
        "50034": Advice("the tenant has no such user", f"Check the account. {_TENANT}"),
        "50126": Advice("user name or password is wrong", _AGAIN),
        "50057": Advice("the account is disabled", "Ask the administrator, or sign in with another account."),
        "50173": Advice("the sign-in was revoked, for instance by a changed password", _AGAIN),
        "700082": Advice("the sign-in has expired because it was not used for long", _AGAIN),
        "700084": Advice("the sign-in has expired", _AGAIN),
        "70043": Advice("the sign-in has expired, or Conditional Access ends it this often", _AGAIN),
        "70008": Advice("the sign-in has expired or was revoked", _AGAIN),
        "70021": Advice("no federated credential of the app matches the token", _FEDERATION),
        "700211": Advice("no federated credential of the app matches the issuer of the token", _FEDERATION),
        "700212": Advice("no federated credential of the app matches the audience of the token", _FEDERATION),
        "700213": Advice("no federated credential of the app matches the subject of the token", _FEDERATION),
    }
)

OAUTH_ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "authorization_declined": Advice("the sign-in was declined", _AGAIN),
        "access_denied": Advice("the sign-in was declined", _AGAIN),
        "expired_token": Advice("the code was not entered in time", _AGAIN),
        "code_expired": Advice("the code was not entered in time", _AGAIN),
        "interaction_required": Advice("the tenant wants a new sign-in", _AGAIN),
        "login_required": Advice("the tenant wants a new sign-in", _AGAIN),
        "invalid_grant": Advice("the sign-in is no longer accepted", _AGAIN),
    }
)
"""For answers without a code of ours, by their OAuth 2.0 `error` (RFC 6749 5.2, RFC 8628 3.5)."""
