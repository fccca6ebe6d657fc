"""The sign-in service is asked as often as its own session allows; the transport does not begin all over again."""

from __future__ import annotations

import socket
import threading

import pytest

from intune_dw_cli.errors import TransportError, UnavailableError
from intune_dw_cli.identity.credentials import ClientSecret
from intune_dw_cli.identity.secret import Secret
from intune_dw_cli.sandbox.messages import Response
from intune_dw_cli.service.retry import RequestPolicy
from intune_dw_cli.service.transport import Transport

TRIES = 6


def send(identity) -> None:
    transport = Transport(identity.warehouse, policy=RequestPolicy(first_wait=0.001))
    transport.get("http://127.0.0.1:1/", lambda _body, _request_id: None)


def test_a_sign_in_service_that_hangs_up(serve, identify):
    server = serve()
    identity = identify(server, ClientSecret(Secret("MARKED-a8f3")))
    server.stop()
    calls = []
    with socket.create_server(("127.0.0.1", int(server.host.rpartition(":")[2]))) as listener:

        def hang_up():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                calls.append(1)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(TransportError, match="sign-in service"):
            send(identity)
    assert len(calls) == TRIES


def test_a_sign_in_service_that_is_busy(serve, identify):
    server = serve()
    identity = identify(server, ClientSecret(Secret("MARKED-a8f3")))
    calls = []
    server.entra.answer = lambda _request, rest: calls.append(rest) or Response(503)
    with pytest.raises(UnavailableError, match="sign-in service"):
        send(identity)
    assert len(calls) == TRIES
