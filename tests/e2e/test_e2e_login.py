"""Signing in through the real command: every way, against an OpenID Connect server over TLS with a CA of our own."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import time
from pathlib import Path

import jwt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from harness import finish, journal_lines
from signin import MARK, SECRET, World, Worlds, browser_script, wait_for

from intune_dw_cli import SignInError, Warehouse
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, TENANT_ID, WAREHOUSE, App, Federation
from intune_dw_cli.sandbox.entra_server import EntraServer

APP = {"AZURE_TENANT_ID": TENANT_ID, "AZURE_CLIENT_ID": CLIENT_ID}
PASSWORD = f"{MARK}-password"
BACKUP = ("backup", "A", "--from", "-1d", "--no-charts")


def key_and_certificate(days: float = 365) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intune-dw")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=400))
    return key, builder.not_valid_after(now + dt.timedelta(days=days)).sign(key, hashes.SHA256())


def pem_of(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form) + certificate.public_bytes(serialization.Encoding.PEM)


# -- people -----------------------------------------------------------------------------------------------------


def test_device_code_and_silent_renewal_in_a_second_process(make: Worlds) -> None:
    world = make(token_life=60.0)  # MSAL counts a token of less than five minutes as due
    ended = world.sign_in().ok()
    assert "open this address" in ended.err
    assert f"{world.server.origin}/device" in ended.err
    assert "signed in as admin@sandbox.onmicrosoft.com; profile default stored in" in ended.err
    assert not set("\r\x1b\x08") & set(ended.err + ended.out)  # a pipe gets no control characters
    assert ended.out.count("works") == 7  # two tokens, the warehouse, four permissions of Graph
    assert world.profile() == {
        "feed_url": world.warehouse.feed_url,
        "tenant": TENANT_ID,
        "client_id": CLIENT_ID,
        "cloud": "public",
        "method": "device-code",
        "username": "admin@sandbox.onmicrosoft.com",
        "plaintext_cache": True,
        "authority_host": world.server.host,
        "graph_url": world.graph.url,
    }
    cache = world.home / "intune-dw" / "cache" / "tokens.json"
    assert cache.stat().st_mode & 0o777 == 0o600
    mark = len(world.entra.requests)
    world("collections", env=dict.fromkeys(("INTUNE_DW_AUTHORITY_HOST", "INTUNE_DW_GRAPH_URL"))).ok()
    assert world.grants(mark) == ["refresh_token"]
    assert world.unauthorized() == 0


def test_a_valid_token_in_the_cache_needs_no_request_at_all(world: World) -> None:
    world.sign_in().ok()
    mark = len(world.entra.requests)
    world("collections").ok()
    assert world.grants(mark) == []


def test_browser(make: Worlds, tmp_path: Path) -> None:
    world = make()
    browser = f"{browser_script(tmp_path)} {world.bundle} %s &"
    ended = world(
        "login", "--allow-plaintext-cache", "--browser", *world.flags, env={"DISPLAY": ":99", "BROWSER": browser}
    ).ok()
    assert "A browser window is open" in ended.err
    assert "authorization_code" in world.grants()
    assert world.profile()["method"] == "browser"
    world("collections").ok()


def test_without_a_desktop_the_browser_becomes_a_code(world: World) -> None:
    process = world.person.start("login", "--browser", "--allow-plaintext-cache", *world.flags)
    world.approve()
    ended = world.keep(finish(process)).ok()
    assert "No browser can be opened here" in ended.err


def test_a_declined_and_a_late_code(make: Worlds) -> None:
    world = make(device_life=2.0)
    process = world.person.start("login", "--device-code", "--allow-plaintext-cache", *world.flags)
    ended = world.keep(finish(process)).ok(4)
    assert "the code was not entered in time" in ended.err
    assert not (world.home / "intune-dw" / "config").exists()


def test_ctrl_c_cancels_cleanly(world: World) -> None:
    process = world.person.start("login", "--device-code", "--allow-plaintext-cache", *world.flags)
    assert process.stderr
    while b"good for" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    ended = world.keep(finish(process)).ok(130)
    assert "cancel" in ended.err
    assert not (world.home / "intune-dw" / "config").exists()


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--cloud", "usgv", "usgv"),
        ("--url", "https://contoso.com/feed", "contoso.com"),
        ("--tenant", "con toso", "the tenant is neither"),
        ("--client-id", "1234", "the client id is not of the form"),
    ],
)
def test_an_option_that_cannot_be_is_said_before_the_keyring_that_is_not_there(
    world: World, flag: str, value: str, says: str
) -> None:
    ended = world("login", "--device-code", *world.flags, flag, value).ok(2)
    assert says in ended.err
    assert "keyring" not in ended.err


def test_no_keyring_is_said_before_anything_is_asked(world: World) -> None:
    ended = world("login", "--device-code", *world.flags).ok(4)
    assert "no keyring" in ended.err
    assert "--allow-plaintext-cache" in ended.err
    assert not world.entra.requests


def test_the_service_ends_the_sign_in_and_only_then_login_is_needed(make: Worlds) -> None:
    world = make(token_life=60.0)
    world.sign_in().ok()
    world.entra.revoke_sign_ins("700082")
    ended = world("collections").ok(4)
    assert "AADSTS700082" in ended.err
    assert "Sign in again with: intune-dw login" in ended.err


def test_logout(world: World) -> None:
    world.sign_in().ok()
    assert "signed out: admin@sandbox.onmicrosoft.com" in world("logout").ok().err
    ended = world("collections").ok(4)
    assert "Sign in with: intune-dw login" in ended.err
    document = world("logout", "--all", "--json").ok().json
    assert document["profile_deleted"] is True
    assert "no feed URL is known" in world("collections").ok(2).err
    assert "nobody is signed in" in world("logout").ok().err


# -- apps -------------------------------------------------------------------------------------------------------


def test_secret_in_the_environment(world: World) -> None:
    env = {"AZURE_CLIENT_SECRET": SECRET}
    world("login", *world.flags, env=env).ok()
    assert "method" not in world.profile()
    world("collections", env=env).ok()
    assert "nobody is signed in" in world("collections").ok(4).err


def test_secret_in_a_file(world: World) -> None:
    file = world.cwd / "secret.txt"
    file.write_text(SECRET + "\n")
    world("login", "--client-secret-file", "secret.txt", *world.flags).ok()
    assert world.profile()["credential_path"] == str(file)
    world("collections").ok()
    env = {**APP, "INTUNE_DW_URL": world.warehouse.feed_url, "INTUNE_DW_CLIENT_SECRET_FILE": str(file)}
    world("collections", env={**env, "INTUNE_DW_HOME": str(world.home / "other")}).ok()


def test_secret_on_stdin_is_used_once_and_not_kept(world: World) -> None:
    ended = world.keep(world.person.fed(SECRET + "\n", "login", "--client-secret-file", "-", *world.flags)).ok()
    assert "signed in with client secret" in ended.err
    assert "credential_path" not in world.profile()
    ended = world("collections").ok(4)
    assert "Set AZURE_CLIENT_SECRET" in ended.err
    world("collections", env={"AZURE_CLIENT_SECRET": SECRET}).ok()
    assert "no client secret came on stdin" in world("login", "--client-secret-file", "-", *world.flags).ok(2).err


def test_certificate_as_pem_that_ends_soon(make: Worlds) -> None:
    key, certificate = key_and_certificate(days=10)
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    world = make(app=App(certificates=[text]))
    (world.cwd / "app.pem").write_bytes(pem_of(key, certificate))
    ended = world("login", "--certificate", "app.pem", *world.flags).ok()
    assert "expires on" in ended.err
    assert "expires on" in world("collections").ok().err
    document = world("login", "--check", "--json").ok().json
    assert "expires on" in document["warnings"][0]["message"]
    assert {r.proof for r in world.entra.requests if r.proof} == {"certificate"}


def test_certificate_as_pfx_with_a_password(make: Worlds) -> None:
    key, certificate = key_and_certificate()
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    world = make(app=App(certificates=[certificate.public_bytes(serialization.Encoding.PEM).decode()]))
    pfx = world.cwd / "app.pfx"
    pfx.write_bytes(pkcs12.serialize_key_and_certificates(b"app", key, certificate, None, locked))
    env = {"AZURE_CLIENT_CERTIFICATE_PASSWORD": PASSWORD}
    ended = world("login", "--certificate", pfx, *world.flags).ok(2)
    assert "AZURE_CLIENT_CERTIFICATE_PASSWORD" in ended.err
    world("login", "--certificate", pfx, *world.flags, env=env).ok()
    world("collections", env=env).ok()
    env |= {**APP, "AZURE_CLIENT_CERTIFICATE_PATH": str(pfx), "INTUNE_DW_URL": world.warehouse.feed_url}
    world("collections", env={**env, "INTUNE_DW_HOME": str(world.home / "other")}).ok()


def test_federated_token(make: Worlds) -> None:
    key, certificate = key_and_certificate()
    public = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    issuer = "https://cluster.example/"
    world = make(app=App(federations=[Federation(issuer=issuer, subject="sa:dw", public_key=public.decode())]))
    claims = {"iss": issuer, "sub": "sa:dw", "aud": "api://AzureADTokenExchange", "exp": 2_000_000_000}
    claims["exp"] = int(dt.datetime.now(dt.UTC).timestamp()) + 3600
    file = world.cwd / "federated.jwt"
    file.write_text(jwt.encode(claims, key, "RS256"))
    world("login", "--federated-token-file", file, *world.flags).ok()
    env = {**APP, "AZURE_FEDERATED_TOKEN_FILE": str(file), "INTUNE_DW_URL": world.warehouse.feed_url}
    world("collections", env={**env, "INTUNE_DW_HOME": str(world.home / "other")}).ok()
    assert {r.proof for r in world.entra.requests if r.proof} == {"federation"}
    file.write_text(jwt.encode({**claims, "sub": "somebody"}, key, "RS256"))
    ended = world("collections").ok(4)
    assert "AADSTS700213" in ended.err
    assert "Federated credentials" in ended.err


def test_managed_identity(world: World) -> None:
    with EntraServer(world.entra) as machine:
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.origin}
        world("login", "--managed-identity", "--url", world.warehouse.feed_url, env=env).ok()
        world("collections", env=env).ok()
        env |= {"INTUNE_DW_HOME": str(world.home / "other"), "INTUNE_DW_MANAGED_IDENTITY": "1"}
        world("collections", "--url", world.warehouse.feed_url, env=env).ok()


def test_ready_token(world: World) -> None:
    app = {**APP, "AZURE_CLIENT_SECRET": SECRET}
    world("login", *world.flags, env=app).ok()
    token = next(t for t in world.heard.secrets if t.count(".") == 2 and world.entra.validate(t, WAREHOUSE))
    env = {"INTUNE_DW_ACCESS_TOKEN": token, "INTUNE_DW_HOME": str(world.home / "other")}
    ended = world("login", "--url", world.warehouse.feed_url, env=env).ok()
    assert "signed in with ready access token" in ended.err
    assert ended.out.count("not tried") == 4  # it is for the warehouse, not for Graph
    world.entra.revoke(token)
    assert "INTUNE_DW_ACCESS_TOKEN" in world("collections", env=env).ok(4).err


# -- programs ---------------------------------------------------------------------------------------------------


def test_a_program_signs_in_as_login_did_and_as_the_environment_says(world: World) -> None:
    nobody = world.person.environment({"INTUNE_DW_ACCESS_TOKEN": None})
    with (
        pytest.raises(SignInError, match="nobody is signed in"),
        Warehouse.connect(world.warehouse.feed_url, environ=nobody),
    ):
        pass
    app = {**nobody, **APP, "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_URL": world.warehouse.feed_url}
    world.sign_in().ok()
    for environ, grant in ((nobody, None), (app, "client_credentials")):
        mark = len(world.entra.requests)
        with Warehouse.connect(environ=environ) as warehouse:
            assert warehouse.reader("users", top=1).read_all().num_rows == 1
        assert world.grants(mark) == ([grant] if grant else [])  # the sign-in of `login` is in the cache
    assert world.unauthorized() == 0


# -- refusals, and what they advise -----------------------------------------------------------------------------


def test_refusals_say_what_to_do(world: World) -> None:
    env = {"AZURE_CLIENT_SECRET": f"{MARK}-wrong"}
    ended = world("login", *world.flags, env=env).ok(4)
    assert "AADSTS7000215" in ended.err
    assert "not its Secret ID" in ended.err
    world.entra.refuse("65001")
    document = world("login", "--json", *world.flags, env=env).ok(4).json
    assert "grant admin consent" in document["errors"][0]["hint"]
    world.entra.relent()
    world.entra.refuse("9999999")
    ended = world("login", *world.flags, env=env).ok(4)
    assert "9999999" in ended.err
    assert "correlation id" in ended.err


def test_check_names_what_is_missing_and_where_to_add_it(world: World) -> None:
    env = {"AZURE_CLIENT_SECRET": SECRET}
    world("login", *world.flags, env=env).ok()
    missing = "DeviceManagementApps.Read.All"
    held = world.app.permissions[world.graph.url]
    world.app.permissions[world.graph.url] = tuple(name for name in held if name != missing)
    ended = world("login", "--check", env=env).ok()  # the charts are not all; the warehouse works
    assert ended.out.count("missing") == 1
    assert f"lacks the application permission {missing}" in ended.err
    assert "ReadWrite" not in ended.out + ended.err
    rows = world("login", "--check", "--json", env=env).ok().json["access"]
    assert [row["state"] for row in rows] == ["works"] * 4 + ["missing"] + ["works"] * 2
    world.app.permissions[WAREHOUSE] = ()
    world.warehouse.add_fault(Fault.parse("kind=403,collection=service"))
    ended = world("login", "--check", env=env).ok(4)
    assert "lacks the application permission get_data_warehouse" in ended.err
    assert "API permissions" in ended.err


# -- profiles ---------------------------------------------------------------------------------------------------


def test_flags_go_before_environment_and_that_before_the_profile(world: World) -> None:
    world("login", *world.flags, env={"AZURE_CLIENT_SECRET": SECRET}).ok()
    env = {"AZURE_TENANT_ID": "sandbox.onmicrosoft.com", "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_CLOUD": "public"}
    ended = world("collections", "-vv", "--client-id", CLIENT_ID, env=env).ok()
    for line in (
        "profile: default (the default profile)",
        f"url: {world.warehouse.feed_url} (profile default)",
        "tenant: sandbox.onmicrosoft.com (environment (AZURE_TENANT_ID))",
        f"client-id: {CLIENT_ID} (command line)",
        "cloud: public (environment (INTUNE_DW_CLOUD))",
        f"graph-url: {world.graph.url} (environment (INTUNE_DW_GRAPH_URL))",
        "resource: https://api.manage.microsoft.com/ (default)",
        "sign-in: client secret (environment (AZURE_CLIENT_SECRET))",
    ):
        assert line in ended.err.splitlines()


def test_a_new_profile_takes_nothing_from_the_default_one(world: World) -> None:
    env = {"AZURE_CLIENT_SECRET": SECRET}
    world("login", *world.flags, env=env).ok()
    ended = world("login", "--profile", "other", env=env).ok(2)
    assert "not known yet: feed URL, tenant, client id" in ended.err
    assert "intune-dw login --profile other --url URL --tenant TENANT --client-id CLIENT-ID" in ended.err
    assert "there is no profile 'other'" in world("collections", "--profile", "other", env=env).ok(2).err


def test_after_a_move_only_the_feed_url_is_new(make: Worlds) -> None:
    world = make(token_life=60.0)
    world.sign_in().ok()
    world("backup", "archive", "--only", "devices", "--no-charts").ok()
    with Sandbox(
        TenantConfig(devices=15, days=2), ServerConfig(accept_token=lambda t: world.entra.validate(t, WAREHOUSE))
    ) as moved:
        mark = len(world.entra.requests)
        ended = world("login", "--url", moved.feed_url).ok()
        assert "still signed in as admin@sandbox.onmicrosoft.com" in ended.err
        assert set(world.grants(mark)) == {"refresh_token"}
        assert world.profile()["feed_url"] == moved.feed_url
        assert world.profile()["username"] == "admin@sandbox.onmicrosoft.com"
        world("backup", "archive", "--only", "devices", "--no-charts").ok()
        assert moved.requests


def test_without_a_terminal_nothing_is_asked(world: World) -> None:
    ended = world("collections").ok(2)
    assert "intune-dw login" in ended.err
    ended = world("collections", "--url", world.warehouse.feed_url).ok(4)
    assert "intune-dw login" in ended.err
    ended = world("login", "--tenant", TENANT_ID, "--allow-plaintext-cache").ok(2)
    assert f"Run: intune-dw login --url URL --tenant {TENANT_ID} --client-id CLIENT-ID" in ended.err
    ended = world("login", *world.flags, "--allow-plaintext-cache").ok(4)
    assert "nobody is at a terminal" in ended.err
    assert "--device-code" in ended.err


def test_first_use_on_a_terminal_asks_in_plain_words(world: World) -> None:
    env = {"AZURE_CLIENT_SECRET": SECRET}
    turns = [
        ("Feed URL:", "https://example.com/\n"),
        ("That cannot be", world.warehouse.feed_url + "\n"),
        ("Tenant:", TENANT_ID + "\n"),
        ("Client ID:", CLIENT_ID + "\n"),
    ]
    code, screen = world.person.typed(turns, "collections", env=env)
    world.said.append(screen)
    assert code == 0, screen
    assert "Reports > Data warehouse" in " ".join(screen.split())
    assert "devicePropertyHistories" in screen
    world("collections", env=env).ok()


def test_ctrl_c_at_a_question_leaves(world: World) -> None:
    code, screen = world.person.typed([("Client secret", "\x03")], "login", "--client-secret-file", "-")
    assert code == 130, screen
    code, screen = world.person.typed([("Feed URL:", "\x03")], "login", env={"AZURE_CLIENT_SECRET": SECRET})
    assert code == 130, screen
    assert "Traceback" not in screen


def test_the_countdown_on_a_terminal_leaves_no_trace(world: World) -> None:
    code, screen = world.person.typed(
        [("waiting; the code is good for 14:5", "\x03")],
        "login",
        "--device-code",
        "--allow-plaintext-cache",
        *world.flags,
    )
    assert code == 130, screen
    last = screen.replace("\r\n", "\n").rsplit("\x1b[2K", 1)[-1]  # what follows the line that was wiped
    assert "waiting" not in last
    assert "cancelled" in last


def test_profiles_file_of_somebody_else_is_none_of_ours(world: World) -> None:
    env = {**APP, "AZURE_CLIENT_SECRET": SECRET, "HOME": os.devnull, "INTUNE_DW_HOME": None}
    world("collections", "--url", world.warehouse.feed_url, env=env).ok()


def test_json_of_a_login(world: World) -> None:
    document = world("login", "--json", *world.flags, env={"AZURE_CLIENT_SECRET": SECRET}).ok().json
    assert document["state"] == "complete"
    assert document["profile"] == "default"
    assert {row["state"] for row in document["access"]} == {"works"}
    assert json.dumps(document).isascii()


# -- runs -------------------------------------------------------------------------------------------------------


def test_the_cron_case(world: World) -> None:
    """No profile, no terminal, no home directory: only what a scheduler gives."""
    nothing = dict.fromkeys(("HOME", "USERPROFILE", "INTUNE_DW_HOME"))
    env = {**nothing, **APP, "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_URL": world.warehouse.feed_url}
    env["INTUNE_DW_NO_CHARTS"] = "1"  # their export jobs take their time
    ended = world("backup", "A", env=env).ok()
    assert "complete" in ended.err
    assert world.unauthorized() == 0
    assert json.loads((world.cwd / "A" / "manifest.json").read_text())["content"]["tenant"] == TENANT_ID
    more = ("-vv", "--log-file", "run.log", "--json")
    assert world("backup", "A", *more, env=env).ok().json["state"] == "complete"
    assert "client-request-id" in (world.cwd / "run.log").read_text()
    world("verify", "A", env=nothing).ok()
    assert not any(world.home.iterdir())


def test_tokens_of_five_seconds_over_half_a_minute(make: Worlds) -> None:
    """The service also asks for a wait that is longer than a token lives."""
    wait = Fault.parse("kind=429,retry-after=7,collection=devicePropertyHistories,times=1")
    world = make(token_life=5.0, server=ServerConfig(think_time=1.6, faults=(wait,)))
    env = {**APP, "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_URL": world.warehouse.feed_url}
    began = time.monotonic()
    document = world("pull", "--all", "--days", 2, "-o", "out/", "--workers", 2, "--json", env=env).ok().json
    assert time.monotonic() - began > 30
    assert (document["state"], document["retries"], document["throttled"]) == ("complete", 0, 1)
    assert world.unauthorized() == 0
    assert len(world.grants()) >= 5


def test_renewal_is_refused_in_mid_run(make: Worlds) -> None:
    world = make(token_life=3.0, server=ServerConfig(think_time=0.2))
    env = {**APP, "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_URL": world.warehouse.feed_url}
    process = world.person.start(*BACKUP, "--workers", 2, env=env)
    wait_for(lambda: journal_lines(world.cwd / "A") > 6)
    world.entra.refuse("7000222")
    ended = world.keep(finish(process)).ok(4)
    assert "AADSTS7000222" in ended.err
    assert "run the same command again: it continues where it stopped" in ended.err
    world.entra.relent()
    before = [r.target for r in world.warehouse.requests]
    world(*BACKUP, "--workers", 8, env=env).ok()
    after = [r.target for r in world.warehouse.requests][len(before) :]
    assert len(set(before) & set(after)) <= 2 + 2  # the two documents, and what the two workers had in hand
    world("verify", "A").ok()


def test_an_expired_user_session_in_mid_run(make: Worlds) -> None:
    world = make(token_life=3.0, server=ServerConfig(think_time=0.2))
    world.sign_in().ok()
    process = world.person.start(*BACKUP, "--workers", 2)
    wait_for(lambda: journal_lines(world.cwd / "A") > 6)
    world.entra.revoke_sign_ins("700082")
    ended = world.keep(finish(process)).ok(4)
    assert "Sign in again with: intune-dw login. Then run the same command again" in ended.err
    world.sign_in().ok()
    world(*BACKUP, "--workers", 8).ok()


def test_the_environment_changes_neither_who_we_are_nor_whom_we_trust(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("strange")
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    (folder / ".netrc").write_text("default login somebody password netrc-password\n")
    (folder / ".netrc").chmod(0o600)
    strange = {
        "HOME": str(folder),
        "NETRC": str(folder / ".netrc"),
        "REQUESTS_CA_BUNDLE": str(folder / "other.pem"),
        "CURL_CA_BUNDLE": str(folder / "other.pem"),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:1"),
    }
    ended = world("login", *world.flags, env={**strange, "AZURE_CLIENT_SECRET": SECRET}).ok()
    assert ended.out.count("works") == 7
    world.sign_in("--profile", "user", env=strange).ok()
    world("backup", "A", "--profile", "user", "--only", "users", "--no-charts", env=strange).ok()
    assert world.unauthorized() == 0
    untrusted = {**strange, "AZURE_CLIENT_SECRET": SECRET, "INTUNE_DW_CA_BUNDLE": None}
    assert "no trusted TLS connection to the sign-in service" in world("collections", env=untrusted).ok(1).err
