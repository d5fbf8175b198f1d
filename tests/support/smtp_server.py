"""A mail server: AUTH over TLS, and nothing without either.

    smtp_server.py PORT FOLDER starttls|at-once

FOLDER has cert.pem and key.pem, and users.json, read at each AUTH: who is known with which
password. Each mail that is taken is a file in FOLDER/mails, with who sent it on its first line.
"""

import json
import pathlib
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, folder, encrypted = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]


def known(server, session, envelope, mechanism, auth):
    users = json.loads((folder / "users.json").read_text())
    if isinstance(auth, LoginPassword):
        user, password = auth.login.decode(), auth.password.decode()
        if users.get(user) == password:
            return AuthResult(success=True, auth_data=user)
        # As some do: it repeats what it was sent.
        told = f"535 5.7.8 nobody is {user} with {password}"
        return AuthResult(success=False, handled=False, message=told)
    return AuthResult(success=False, handled=False)


class Keeping:
    async def handle_DATA(self, server, session, envelope):
        mails = folder / "mails"
        name = f"{len(list(mails.iterdir())):03}"
        text = f"{session.auth_data}\n".encode() + envelope.content
        (mails / f".{name}").write_bytes(text)
        (mails / f".{name}").rename(mails / name)
        return "250 2.0.0 kept as " + name


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
at_once = encrypted == "at-once"
Controller(
    Keeping(),
    hostname="127.0.0.1",
    port=port,
    ssl_context=context if at_once else None,
    tls_context=None if at_once else context,
    require_starttls=not at_once,
    auth_required=True,
    # From the first byte on, there is TLS already.
    auth_require_tls=not at_once,
    authenticator=known,
).start()
threading.Event().wait()
