"""The token service of image registries: it tells a docker-registry whom to let in, as those of the clouds do.

A client shows its login here and gets a token that the registry believes, as it is signed by a certificate that the
registry was given. See `distribution/distribution`, `docs/spec/auth/token.md` and `oauth.md`.
"""

import base64
import datetime
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from identities import Signer
from serving import Refusal, json_response

# Long enough for any pull; the registry adds a minute.
ACCESS_LIFE = 300
ISSUER = "imps image registries"


class Images:
    """The registries of a cloud. `reader(host, user, password)` says who pulls with a login, if somebody does."""

    def __init__(self, cloud, reader):
        self.reader = reader
        self.registries = {}
        self.signer = Signer()
        self.certificate = certificate_of(self.signer.key)
        cloud.controls["registries"] = self._make_registry

    def token(self, request, call):
        """GET with a login, or POST with a refresh token, which is a password whose user goes without saying."""
        asked = request.form if request.method == "POST" else request.args
        host = asked.get("service")
        registry = self.registries.get(host)
        if request.method == "POST":
            user, password = "<token>", asked.get("refresh_token", "")
            known = asked.get("grant_type") == "refresh_token"
        else:
            user, password = basic_login(request)
            known = user is not None
        if registry is None or not known:
            raise unauthorized("no registry" if registry is None else "no login")
        call["user"], call["host"] = user, host
        pushes = (user, password) in registry["users"]
        principal = user if pushes else self.reader(host, user, password)
        readers = registry["readers"]
        if principal is None or not (pushes or readers is None or principal in readers):
            raise unauthorized("wrong login" if principal is None else "no reader")
        call["principal"] = principal
        scopes = request.form.getlist("scope") if request.method == "POST" else request.args.getlist("scope")
        may = {"pull", "push"} if pushes else {"pull"}
        access = [allowed(scope, may) for part in scopes for scope in part.split()]
        token = self._access_token(host, principal, access)
        return json_response({"access_token": token, "token": token, "expires_in": ACCESS_LIFE})

    def _access_token(self, host, principal, access):
        claims = {"iss": ISSUER, "aud": host, "sub": principal, "exp": int(time.time()) + ACCESS_LIFE, "access": access}
        chain = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        return self.signer.sign(claims, {"x5c": [chain]})

    def _make_registry(self, asked):
        users = {(user["user"], user["password"]) for user in asked["users"]}
        self.registries[asked["host"]] = {"readers": None} | asked | {"users": users}
        return {"issuer": ISSUER, "certificate": self.certificate.public_bytes(serialization.Encoding.PEM).decode()}


def unauthorized(code):
    message = "authentication required"
    return Refusal(code, 401, {"errors": [{"code": "UNAUTHORIZED", "message": message, "detail": None}]})


def basic_login(request):
    """User and password of the header, if it has them."""
    login = request.authorization
    return (login.username, login.password) if login and login.type == "basic" else (None, None)


def allowed(scope, may):
    """`repository:NAME:ACTION,…` with those of the actions that are allowed."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": sorted(may & set(actions.split(",")))}


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    return builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
