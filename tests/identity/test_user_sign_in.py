"""Sign-in of a person with the real MSAL: browser, device code, silent renewal, sign-out."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import requests

from intune_dw_cli.errors import InterruptedRunError, OutputError, SignInError
from intune_dw_cli.identity.browser import RedirectReceiver, has_desktop, open_desktop_browser
from intune_dw_cli.identity.cache import Account
from intune_dw_cli.identity.credentials import Browser, DeviceCode
from intune_dw_cli.identity.prompts import BrowserMissing, BrowserOpened, CodeAwaited, CodeIssued
from intune_dw_cli.sandbox.entra import Entra, EntraConfig
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, GRAPH, TENANT_ID, WAREHOUSE, App, User

USER = User()
QUICK = EntraConfig(interval=0, device_polls=1)


def grants(server):
    return [r.grant.rpartition(":")[2] for r in server.entra.requests if r.path.endswith("/token")]


# -- browser ----------------------------------------------------------------------------------------------------


def test_browser_sign_in_serves_warehouse_and_graph(serve, identify, new_cache, browser):
    server, heard = serve(), []
    identity = identify(server, Browser(), cache=new_cache(), open_browser=browser, talk=heard.append)

    account = identity.sign_in()

    assert account.username == USER.username
    assert account.home_account_id == f"{USER.object_id}.{TENANT_ID}"
    assert [type(prompt) for prompt in heard] == [BrowserOpened]
    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)
    assert server.entra.validate(identity.graph.token(), GRAPH)
    assert grants(server) == ["authorization_code", "refresh_token"]
    authorize = next(r for r in server.entra.requests if r.grant == "authorize")
    assert {"code_challenge", "nonce", "state", "prompt"} <= set(authorize.fields)


def test_known_user_is_hinted_at(serve, identify, new_cache, browser):
    server = serve()
    identify(server, Browser(), cache=new_cache(), open_browser=browser, username=USER.username).sign_in()
    authorize = next(r for r in server.entra.requests if r.grant == "authorize")
    assert "login_hint" in authorize.fields
    assert "prompt" not in authorize.fields


@pytest.mark.parametrize(("code", "words"), [("65004", "declined"), ("50105", "not assigned"), ("53003", "blocks")])
def test_refusal_in_the_browser(serve, identify, new_cache, browser, code, words):
    server = serve()
    server.entra.refuse(code, grant="authorize")
    with pytest.raises(SignInError, match=words):
        identify(server, Browser(), cache=new_cache(), open_browser=browser).sign_in()
    assert new_cache().accounts() == []


def test_answer_with_another_state_is_not_taken(serve, identify, new_cache, browser):
    server = serve()

    def attacked(url: str) -> bool:
        return browser(url, tamper=lambda fields: {**fields, "state": "forged"})

    identity = identify(server, Browser(), cache=new_cache(), open_browser=attacked, browser_seconds=0.6)
    with pytest.raises(SignInError, match="in time"):
        identity.sign_in()
    assert grants(server) == []


def test_code_of_another_is_refused_by_the_service(serve, identify, new_cache, browser):
    server = serve()
    stolen = server.entra.sessions.new_code(
        client_id=CLIENT_ID, redirect_uri="http://localhost:1", challenge="x", nonce=None, scope="", user=USER
    )
    identity = identify(
        server,
        Browser(),
        cache=new_cache(),
        open_browser=lambda url: browser(url, tamper=lambda fields: {**fields, "code": stolen}),
    )
    with pytest.raises(SignInError) as caught:
        identity.sign_in()
    assert stolen not in str(caught.value)


def test_verifier_must_match(serve, identify, new_cache, browser, monkeypatch):
    """PKCE is checked by the service: a code that leaked is useless without the verifier."""
    server = serve()
    real = server.entra.sessions.redeem_code
    monkeypatch.setattr(server.entra.sessions, "redeem_code", lambda code, **k: real(code, **{**k, "verifier": "no"}))
    with pytest.raises(SignInError, match="501481"):
        identify(server, Browser(), cache=new_cache(), open_browser=browser).sign_in()


@pytest.mark.parametrize("opener", [None, lambda url: False])
def test_device_code_where_no_browser_opens(serve, identify, new_cache, opener):
    server, heard = serve(Entra(QUICK)), []
    identity = identify(server, Browser(), cache=new_cache(), open_browser=opener, talk=heard.append)
    assert identity.sign_in().username == USER.username
    assert [type(p) for p in heard if not isinstance(p, CodeAwaited)] == [BrowserMissing, CodeIssued]


def test_browser_sign_in_can_be_cancelled(serve, identify, new_cache):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    identity = identify(serve(), Browser(), cache=new_cache(), open_browser=lambda url: True, stop=stop)
    with pytest.raises(InterruptedRunError):
        identity.sign_in()


def test_receiver_listens_on_loopback_only_and_takes_no_code_from_an_address():
    stop = threading.Event()
    with RedirectReceiver() as receiver:
        assert receiver._server.server_address[0] == "127.0.0.1"
        address = receiver.redirect_uri.replace("localhost", "127.0.0.1")
        waiting: list[object] = []
        thread = threading.Thread(target=lambda: waiting.append(receiver.wait("s", timeout=5, stop=stop)))
        thread.start()
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{address}/?code=x&state=s").status_code == 404
            assert session.post(address, data={"code": "x", "state": "other"}).status_code == 400
            assert session.post(address, data={"state": "s"}).status_code == 400
            assert session.post(address, data={"code": "x", "state": "s"}).status_code == 200
        thread.join(5)
    assert waiting == [{"code": "x", "state": "s"}]


def test_desktop_is_told_from_the_environment():
    assert has_desktop({"DISPLAY": ":0"}, "linux")
    assert has_desktop({}, "win32")
    assert not has_desktop({}, "linux")
    assert not has_desktop({"DISPLAY": ":0", "SSH_CONNECTION": "1"}, "linux")
    assert not open_desktop_browser("file:///etc/passwd", {"DISPLAY": ":0"})
    assert not open_desktop_browser("https://login.microsoftonline.com", {})


# -- device code ------------------------------------------------------------------------------------------------


def test_device_code_waits_for_the_user(serve, identify, new_cache):
    server, heard = serve(Entra(EntraConfig(interval=1))), []

    def talk(prompt) -> None:
        heard.append(prompt)
        if isinstance(prompt, CodeAwaited) and len(heard) > 2:
            assert server.entra.approve(heard[0].user_code) <= 1

    identity = identify(server, DeviceCode(), cache=new_cache(), talk=talk)
    assert identity.sign_in() == Account(USER.username, f"{USER.object_id}.{TENANT_ID}")
    issued = heard[0]
    assert issued.url.startswith(server.origin)
    assert issued.user_code in issued.message
    assert all(0 < prompt.seconds <= issued.seconds for prompt in heard[1:])
    assert grants(server)[0] == "device_code"
    assert server.entra.validate(identity.graph.token(), GRAPH)


def test_device_code_declined_expired_or_not_allowed(serve, identify, new_cache):
    server = serve(Entra(EntraConfig(interval=0)))
    identity = identify(server, DeviceCode(), cache=new_cache(), talk=lambda prompt: server.entra.decline())
    with pytest.raises(SignInError, match="declined"):
        identity.sign_in()

    server = serve(Entra(EntraConfig(interval=0, device_life=0.5)))
    with pytest.raises(SignInError, match="not entered in time"):
        identify(server, DeviceCode(), cache=new_cache()).sign_in()

    server = serve(Entra(apps=[App(public_client=False)]))
    with pytest.raises(SignInError, match="AADSTS7000218") as caught:
        identify(server, DeviceCode(), cache=new_cache()).sign_in()
    assert "Allow public client flows" in caught.value.hint


def test_device_code_can_be_cancelled_at_once(serve, identify, new_cache):
    stop = threading.Event()
    identity = identify(
        serve(), DeviceCode(), cache=new_cache(), stop=stop, talk=lambda p: isinstance(p, CodeAwaited) and stop.set()
    )
    begun = time.monotonic()
    with pytest.raises(InterruptedRunError):
        identity.sign_in()
    assert time.monotonic() - begun < 2


# -- afterwards -------------------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(serve, identify, new_cache, browser):
    """A server where a user has signed in, by a cache instance that is gone."""

    def make(config: EntraConfig | None = None):
        server = serve(Entra(config))
        identify(server, Browser(), cache=new_cache(), open_browser=browser).sign_in()
        return server

    return make


def test_another_cache_instance_renews_silently(signed_in, identify, new_cache):
    server = signed_in(EntraConfig(token_life=60))
    identity = identify(server, DeviceCode(), cache=new_cache())
    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)
    assert server.entra.validate(identity.graph.token(), GRAPH)
    assert grants(server) == ["authorization_code", "refresh_token", "refresh_token"]


def test_token_in_the_cache_needs_no_request(signed_in, identify, new_cache):
    server = signed_in()
    assert server.entra.validate(identify(server, Browser(), cache=new_cache()).warehouse.token(), WAREHOUSE)
    assert grants(server) == ["authorization_code"]


def test_another_process_renews_silently(signed_in, tls, tmp_path):
    server = signed_in(EntraConfig(token_life=60))
    program = f"""
from pathlib import Path
from intune_dw_cli.identity.cache import PlainVault, TokenCache
from intune_dw_cli.identity.clouds import CLOUDS, customised
from intune_dw_cli.identity.credentials import Browser, Configuration
from intune_dw_cli.identity.identity import Identity

cloud = customised(CLOUDS["public"], authority_host={server.host!r})
folder = Path({str(tmp_path)!r})
identity = Identity(
    Configuration(credential=Browser(), tenant={TENANT_ID!r}, client_id={CLIENT_ID!r}, cloud=cloud),
    cache=TokenCache(PlainVault(folder / "tokens.json"), folder / "tokens.lock"),
    ca_bundle={str(tls[0])!r},
)
print(identity.warehouse.token())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert server.entra.validate(done.stdout.strip(), WAREHOUSE)
    assert grants(server) == ["authorization_code", "refresh_token"]


def test_refused_access_token_is_renewed_for_a_user(signed_in, identify, new_cache):
    server = signed_in()
    source = identify(server, Browser(), cache=new_cache()).warehouse
    first = source.token()
    server.entra.revoke(first)
    second = source.renew(first, '{"access_token":{"acrs":{"value":"c1"}}}')
    assert second != first
    assert server.entra.validate(second, WAREHOUSE)
    assert '"c1"' in server.entra.requests[-1].claims


@pytest.mark.parametrize(("code", "words"), [("700082", "not used for long"), ("50173", "revoked"), ("50076", "multi")])
def test_renewal_that_is_refused_asks_to_sign_in_again(signed_in, identify, new_cache, code, words):
    server = signed_in(EntraConfig(token_life=60))
    server.entra.revoke_sign_ins(code)
    with pytest.raises(SignInError, match=words) as caught:
        identify(server, Browser(), cache=new_cache()).warehouse.token()
    assert "intune-dw login" in caught.value.hint


def test_nobody_signed_in(serve, identify, new_cache):
    server = serve()
    with pytest.raises(SignInError, match="nobody is signed in") as caught:
        identify(server, Browser(), cache=new_cache()).warehouse.token()
    assert caught.value.hint == "Sign in with: intune-dw login"
    assert not server.entra.requests
    with pytest.raises(SignInError, match="no token cache"):
        identify(server, Browser())


def test_sign_in_to_one_app_is_none_to_another(serve, identify, new_cache, browser):
    other = "22222222-2222-2222-2222-222222222222"
    server = serve(Entra(apps=[App(), App(client_id=other)]))
    identify(server, Browser(), cache=new_cache(), open_browser=browser).sign_in()
    with pytest.raises(SignInError, match="not signed in to this app"):
        identify(server, Browser(), cache=new_cache(), client_id=other).warehouse.token()


def test_several_accounts_are_told_apart_by_name(signed_in, identify, new_cache, browser):
    server = signed_in()
    server.entra.user = User(username="Second@sandbox.example", object_id="99999999-2222-2222-2222-222222222222")
    identity = identify(server, Browser(), cache=new_cache(), open_browser=browser)
    assert identity.sign_in().username == "Second@sandbox.example"
    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)

    with pytest.raises(SignInError, match=r"several accounts.*admin@sandbox"):
        identify(server, Browser(), cache=new_cache()).warehouse.token()
    chosen = identify(server, Browser(), cache=new_cache(), username="second@SANDBOX.example")
    assert server.entra.validate(chosen.warehouse.token(), WAREHOUSE)
    with pytest.raises(SignInError, match="third is not signed in"):
        identify(server, Browser(), cache=new_cache(), username="third").warehouse.token()


def test_account_of_another_cloud_is_passed_over(signed_in, identify, new_cache):
    server = signed_in()
    elsewhere = {
        "home_account_id": "u.t",
        "environment": "login.microsoftonline.us",
        "username": "gov@contoso.example",
        "authority_type": "MSSTS",
    }
    new_cache().modify("Account", elsewhere, elsewhere)
    assert len(new_cache().accounts()) == 2
    assert identify(server, Browser(), cache=new_cache()).warehouse.token()


def test_sign_out_needs_no_network(signed_in, identify, new_cache, tmp_path):
    server = signed_in()
    server.stop()
    cache = new_cache()
    (account,) = cache.accounts()
    assert cache.sign_out(account) == [account]
    text = (tmp_path / "tokens.json").read_text()
    assert account.home_account_id not in text
    assert "eyJ" not in text
    with pytest.raises(SignInError, match="nobody is signed in"):
        identify(server, Browser(), cache=new_cache()).warehouse.token()


def test_cache_that_cannot_be_written_is_said_after_the_sign_in(serve, identify, browser, tmp_path):
    from intune_dw_cli.identity.cache import PlainVault, TokenCache

    (tmp_path / "tokens.json").mkdir()
    cache = TokenCache(PlainVault(tmp_path / "tokens.json"), tmp_path / "tokens.lock")
    server = serve()
    identity = identify(server, Browser(), cache=cache, open_browser=browser)
    with pytest.raises(OutputError, match=r"cannot write .*tokens\.json"):
        identity.sign_in()
    assert server.entra.validate(identity.warehouse.token(), WAREHOUSE)
