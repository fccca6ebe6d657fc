"""Refusals in plain words, and claims of tokens that are read for advice."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from intune_dw_cli.errors import SignInError, UnavailableError
from intune_dw_cli.identity.aadsts import ADVICE
from intune_dw_cli.identity.advice import refusal, refusal_in, scrub, token_advice
from intune_dw_cli.identity.claims import read_challenge, read_claims, read_home_account_id
from intune_dw_cli.identity.secret import Secret

RESOURCE = "https://api.manage.microsoft.com/"
SPECIFIED = (
    "7000215",
    "7000222",
    "700027",
    "700030",
    "700016",
    "90002",
    "50059",
    "50194",
    "65001",
    "65004",
    "90094",
    "50105",
    "500011",
    "70011",
    "1002012",
    "50076",
    "50079",
    "53003",
    "53000",
    "7000218",
    "50011",
    "50034",
    "50126",
    "50057",
    "700082",
    "70043",
    "700213",
    "70021",
)
IDS = {
    "correlation_id": "799b6c67-fe15-41f2-8ee7-91a05a05ed96",
    "trace_id": "757d1d47-bce2-41fc-8419-87772d7bd8f2",
}


def jwt(**claims) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{part}.c2ln"


@pytest.mark.parametrize("code", SPECIFIED)
def test_every_specified_code_has_a_sentence_and_a_step(code):
    error = refusal({"error": "x", "error_description": f"AADSTS{code}: Long text. Trace ID: 1", **IDS})
    assert isinstance(error, SignInError)
    assert str(error) == (
        f"{ADVICE[code].what} (AADSTS{code}, correlation id {IDS['correlation_id']}, trace id {IDS['trace_id']})"
    )
    assert error.hint == ADVICE[code].next_step


def test_advice_is_written_alike():
    for advice in ADVICE.values():
        assert advice.what[0].islower() or advice.what.startswith("Conditional Access")
        assert not advice.what.endswith(".")
        assert advice.next_step[0].isupper()


def test_ids_are_found_in_the_text():
    text = (
        f"AADSTS50000: Something odd.\r\nTrace ID: {IDS['trace_id']}\r\nCorrelation ID: {IDS['correlation_id']}\r\n"
        "Timestamp: 2026-01-01"
    )
    error = refusal_in(f"Unable to get authority. HTTP 400: {{{text}", lost="-")
    assert str(error) == (
        "the sign-in was refused: AADSTS50000: Something odd. "
        f"(correlation id {IDS['correlation_id']}, trace id {IDS['trace_id']})"
    )
    assert "code=50000" in error.hint


def test_codes_may_come_as_numbers_only():
    assert "AADSTS53003" in str(refusal({"error": "access_denied", "error_codes": [53003, True, "x"]}))


def test_oauth_errors_without_a_code():
    assert "declined" in str(refusal({"error": "access_denied"}))
    assert str(refusal({}, lost="nothing came")) == "nothing came"
    assert str(refusal({"error": "weird"})) == "the sign-in was refused: weird"
    assert isinstance(refusal({"error": "temporarily_unavailable"}), UnavailableError)


@pytest.mark.parametrize("value", [None, 5, [], {"a": 1}])
def test_answers_of_odd_types(value):
    assert refusal({"error": value, "error_description": value, "error_codes": value, "trace_id": value})


def test_echoed_secrets_are_scrubbed():
    secret = Secret("MARKED-a8f3 pass")
    token = jwt(sub="x" * 50)
    error = refusal(
        {"error": "invalid_client", "error_description": f"AADSTS999999: You sent MARKED-a8f3 pass and {token}\x1b[2J"},
        secrets=[secret],
    )
    assert "MARKED" not in str(error)
    assert "eyJ" not in str(error)
    assert "\x1b" not in str(error)
    assert scrub("x " * 400, ()).endswith("...")
    assert scrub(IDS["trace_id"], ()) == IDS["trace_id"]


def test_claims_of_a_token():
    claims = read_claims(
        jwt(aud=RESOURCE, roles=["get_data_warehouse"], tid="t", appid="a", exp=1700000000, upn="u", scp="A B")
    )
    assert claims.audience == RESOURCE
    assert claims.roles == ("get_data_warehouse",)
    assert claims.scopes == ("A", "B")
    assert (claims.tenant, claims.app_id, claims.username) == ("t", "a", "u")
    assert claims.expires_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert claims.permits("x", "GET_data_warehouse")
    assert claims.is_for(RESOURCE)
    assert read_claims(jwt(aud="c161e42e-d4df-4a3d-9b42-e7a3c31f59d4")).is_for(RESOURCE)


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b", "a.b.c", "a.!.c", "a.bnVsbA.c", "a.b.c.d", "x." + "A" * 99999 + ".x"]
)
def test_opaque_tokens_say_nothing(token):
    assert read_claims(token) is None
    assert token_advice(token, RESOURCE, "get_data_warehouse") is None


def test_claims_of_odd_types_are_left_out():
    claims = read_claims(jwt(aud=5, roles=[1, "a"], scp=7, tid=[], exp=1e300))
    assert (claims.audience, claims.roles, claims.scopes, claims.tenant) == (None, ("a",), (), None)
    assert claims.expires_at is None
    assert read_claims(jwt(exp=True)).expires_at is None


def test_advice_on_a_token():
    assert token_advice(jwt(aud=RESOURCE, scp="get_data_warehouse"), RESOURCE, "get_data_warehouse") is None
    assert "is for https://graph" in token_advice(jwt(aud="https://graph.microsoft.com"), RESOURCE)
    assert "is for https://api" in token_advice(jwt(aud=RESOURCE.rstrip("/")), RESOURCE)
    missing = token_advice(jwt(aud=RESOURCE, roles=[]), RESOURCE, "get_data_warehouse")
    assert "lacks the application permission get_data_warehouse" in missing
    assert "delegated" in token_advice(jwt(aud=RESOURCE, scp="x"), RESOURCE, "get_data_warehouse")


def test_challenges():
    plain = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    padded = base64.b64encode(plain.encode()).decode()
    assert read_challenge(plain) == plain
    assert read_challenge(padded) == read_challenge(padded.rstrip("=")) == plain
    assert [read_challenge(text) for text in (None, "", "%%", "{", "bnVsbA==", "[]")] == [None] * 6


def test_client_info():
    text = base64.urlsafe_b64encode(b'{"uid":"u","utid":"t"}').rstrip(b"=").decode()
    assert read_home_account_id(text) == "u.t"
    assert [read_home_account_id(value) for value in (None, "", "x", 5, "bnVsbA")] == [None] * 5
