"""The GitHub that Apps see, on loopback: their installations, the tokens of these, and the image registry.

The token of an App is verified by the public half of one of its keys. What is not said right is refused in GitHub's
words: a signature, an issuer, a time, an installation of another App, a permission that was not granted.

Tests steer it by paths that begin with `/-/`. The only argument is a file, which gets `host:port` once it listens.
"""

import re
import secrets
import time
from datetime import datetime, timezone

import jwt
from cryptography.hazmat.primitives.serialization import PrivateFormat

from identities import Signer, new_key, pem, self_signed
from images import Images
from serving import Cloud, Refusal, json_response

# The longest that the token of an App may still live.
APP_LIFE_MAX = 600
# What a permission includes.
LEVELS = {"read": 1, "write": 2, "admin": 3}
DOCUMENTATION = "https://docs.github.com/rest"
# A server of one's own has its API below this path.
SERVER = "(?:/api/v3)?"


class Apps:
    """Apps with their keys, and where they are installed."""

    def __init__(self):
        self.keys = {}
        self.clients = {}
        self.installations = {}


CLOUD = Cloud({"installation": 3600})
APPS = Apps()
SIGNER = Signer()


def refusal(status, message, code=None):
    body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
    return Refusal(code or message, status, body)


def calling_app(request, call):
    """The App that calls, by its token."""
    if "User-Agent" not in request.headers:
        raise refusal(403, "Request forbidden by administrative rules. Make sure your request has a User-Agent header.")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise refusal(401, "Requires authentication")
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        app = APPS.clients.get(str(issuer))
        if app is None:
            raise refusal(404, "Integration not found")
        claims = self_signed(token, APPS.keys[app])
    except jwt.PyJWTError:
        raise refusal(401, "A JSON web token could not be decoded") from None
    call["principal"] = app
    check_times(claims)
    return app


def check_times(claims):
    begin, end, now = claims.get("iat"), claims.get("exp"), time.time()
    # GitHub allows no clock to be ahead; clients are told to say that they signed a minute ago.
    if not isinstance(begin, int) or begin > now:
        message = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        raise refusal(401, message, "iat")
    if not isinstance(end, int) or end <= now:
        message = "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        raise refusal(401, message, "exp")
    if end > now + APP_LIFE_MAX:
        raise refusal(401, "'Expiration time' claim ('exp') is too far in the future", "exp too far")


# Installations.


@CLOUD.route("GET", re.compile(SERVER + "/orgs/([^/]+)/installation"), "organization")
def installation_of_organization(request, call, name):
    return installation_of(request, call, name, "Organization")


@CLOUD.route("GET", re.compile(SERVER + "/users/([^/]+)/installation"), "user")
def installation_of_user(request, call, name):
    return installation_of(request, call, name, "User")


def installation_of(request, call, name, kind):
    app = calling_app(request, call)
    for number, installation in APPS.installations.items():
        wanted = (app, name.lower(), kind)
        if (installation["app"], installation["account"].lower(), installation["kind"]) == wanted:
            account = {"login": installation["account"], "type": kind}
            about = {"id": number, "app_id": int(app), "account": account, "target_type": kind}
            return json_response(about | {"permissions": installation["permissions"], "suspended_at": None})
    raise refusal(404, "Not Found")


@CLOUD.route("POST", re.compile(SERVER + r"/app/installations/(\d+)/access_tokens"), "access-token")
def access_token(request, call, number):
    app = calling_app(request, call)
    installation = APPS.installations.get(int(number))
    call["installation"] = int(number)
    if installation is None or installation["app"] != app:
        raise refusal(404, "Not Found")
    if installation["suspended"]:
        raise refusal(403, "This installation has been suspended")
    body = request.get_data()
    asked = request.get_json(silent=True, force=True) if body else {}
    if not isinstance(asked, dict):
        raise refusal(400, "Problems parsing JSON")
    permissions = asked.get("permissions", installation["permissions"])
    granted = {name: LEVELS[level] for name, level in installation["permissions"].items()}
    if any(LEVELS.get(level, 9) > granted.get(name, 0) for name, level in permissions.items()):
        raise refusal(422, "The permissions requested are not granted to this installation.")
    call["permissions"] = permissions
    life = CLOUD.lives["installation"]
    # Opaque to everybody, and long, with dots: see the changelog of 2026-05-15.
    token = f"ghs_{app}_" + SIGNER.sign({"exp": int(time.time() + life)})
    CLOUD.give_out("installation", token, installation["account"], permissions=permissions, installation=int(number))
    expires = datetime.fromtimestamp(time.time() + life, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {"token": token, "expires_at": expires, "permissions": permissions, "repository_selection": "all"}
    return json_response(answer, 201)


# The image registry.


def reader(_host, user, password):
    """A token of an installation that may read packages, whoever its user is said to be."""
    found = CLOUD.find("installation", password) if user else None
    return found["principal"] if found and found["permissions"].get("packages") in LEVELS else None


IMAGES = Images(CLOUD, reader)


@CLOUD.route("GET", re.compile("/token"), "registry-token")
def registry_token(request, call):
    return IMAGES.token(request, call)


# What tests set and read.


@CLOUD.control("apps")
def make_app(_asked):
    app, client = str(1_000_000 + secrets.randbelow(9_000_000)), "Iv23li" + secrets.token_hex(7)
    APPS.keys[app] = {}
    APPS.clients[app] = APPS.clients[client] = app
    return {"id": app, "client": client}


@CLOUD.control("keys")
def make_key(asked):
    """A new key of an App: the file that its owner downloads. Only the public half stays here."""
    key = new_key()
    APPS.keys[asked["app"]][secrets.token_hex(8)] = key.public_key()
    return {"pem": pem(key, PrivateFormat.TraditionalOpenSSL)}


@CLOUD.control("delete-keys")
def delete_keys(asked):
    APPS.keys[asked["app"]].clear()


@CLOUD.control("installations")
def install(asked):
    number = 50_000_000 + secrets.randbelow(9_000_000)
    APPS.installations[number] = asked | {"suspended": False}
    return {"id": number}


@CLOUD.control("suspended")
def suspend(asked):
    APPS.installations[asked["installation"]]["suspended"] = asked["suspended"]


if __name__ == "__main__":
    CLOUD.serve()
