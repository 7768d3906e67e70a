"""A Google Cloud on loopback: the ways to an access token, and the image registries that take it.

Keys of service accounts are verified by their public halves, and tokens of clusters by the keys of their issuers. What
is not said right is refused in Google's words: a signature, an audience, a life, a scope, a provider that does not know
the issuer, an account that one may not be. All of it is at one address, where Google has several hosts.

Tests steer it by paths that begin with `/-/`. The only argument is a file, which gets `host:port` once it listens.
"""

import json
import re
import secrets
import time
from datetime import datetime, timezone

import jwt
from cryptography.hazmat.primitives import serialization
from werkzeug import Response

from identities import Unverified, claims_of, new_key, pem, self_signed
from images import Images
from serving import Cloud, Refusal, json_response

PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
IAM = "https://www.googleapis.com/auth/iam"
READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
SCOPES = {PLATFORM, IAM, READ_ONLY, EMAIL}
# Whom an assertion must be for, by whatever name the endpoint is reached.
AUDIENCE = "https://oauth2.googleapis.com/token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SUBJECT_TYPES = {"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"}
POOL = r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+"
PROVIDER = re.compile(f"//iam\\.googleapis\\.com/({POOL})/providers/.+")
# The longest life of an assertion and of a token of an account.
LIFE_MAX = 3600
# How far the clock of a client may be ahead.
SKEW = 300
PROJECT = "shop-project"
FLAVOR = {"Metadata-Flavor": "Google"}


class Accounts:
    """Service accounts, their keys, who may be them, and which of them is the machine's."""

    def __init__(self):
        self.keys = {}
        self.impersonators = {}
        self.providers = {}
        self.issuers = {}
        self.machine = None
        self.machine_scopes = []


CLOUD = Cloud({"access": 3600, "federated": 3600})
ACCOUNTS = Accounts()


def new_access_token(kind, principal, scopes):
    """As long as those of Google, which is longer than bcrypt reads."""
    token = "ya29.c.c0" + secrets.token_urlsafe(240)
    life = CLOUD.give_out(kind, token, principal, scopes=sorted(scopes))
    return token, life


def oauth_refusal(error, description, status=400):
    return Refusal(error, status, {"error": error, "error_description": description})


def known_scopes(text):
    scopes = set(text.split())
    if not scopes or not scopes <= SCOPES:
        raise oauth_refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    return scopes


# A service account's key.


@CLOUD.route("POST", re.compile("/token"), "jwt-bearer")
def exchange_assertion(request, call):
    if request.form.get("grant_type") != JWT_BEARER:
        raise oauth_refusal("unsupported_grant_type", "Invalid grant_type: " + request.form.get("grant_type", ""))
    assertion = request.form.get("assertion", "")
    try:
        email = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
        claims = self_signed(assertion, keys_of(email))
    except jwt.PyJWTError:
        raise oauth_refusal("invalid_grant", "Invalid JWT Signature.") from None
    call["principal"] = email
    if claims.get("aud") != AUDIENCE:
        raise oauth_refusal("invalid_grant", "Invalid JWT: Failed audience check.")
    check_life(claims)
    token, life = new_access_token("access", email, known_scopes(claims.get("scope", "")))
    return json_response({"access_token": token, "expires_in": life, "token_type": "Bearer"})


def keys_of(email):
    if email not in ACCOUNTS.keys:
        raise oauth_refusal("invalid_grant", "Invalid grant: account not found")
    return ACCOUNTS.keys[email]


def check_life(claims):
    begin, end, now = claims.get("iat"), claims.get("exp"), time.time()
    whole = isinstance(begin, int) and isinstance(end, int)
    if not whole or begin > now + SKEW or end < now - SKEW or not 0 < end - begin <= LIFE_MAX:
        raise oauth_refusal(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            " Check your iat and exp values in the JWT claim.",
        )


# Workload identity federation.


@CLOUD.route("POST", re.compile("/v1/token"), "token-exchange")
def exchange_subject(request, call):
    form = request.form
    if form.get("grant_type") != TOKEN_EXCHANGE:
        raise oauth_refusal("unsupported_grant_type", "Invalid grant_type")
    if form.get("requested_token_type") != ACCESS_TOKEN:
        raise oauth_refusal("invalid_request", "Invalid requested_token_type")
    if form.get("subject_token_type") not in SUBJECT_TYPES:
        raise oauth_refusal("invalid_request", "Invalid subject_token_type")
    audience = PROVIDER.fullmatch(form.get("audience", ""))
    if audience is None:
        raise oauth_refusal("invalid_request", 'Invalid value for "audience".')
    provider = ACCOUNTS.providers.get(form["audience"])
    if provider is None:
        raise oauth_refusal("invalid_target", 'The target service indicated by the "audience" parameters is invalid.')
    scopes = known_scopes(form.get("scope", ""))
    claims = subject_claims(form.get("subject_token", ""), form["audience"], provider)
    principal = f"principal://iam.googleapis.com/{audience.group(1)}/subject/{claims['sub']}"
    call["principal"] = principal
    if provider["subject"] not in (None, claims["sub"]):
        raise oauth_refusal("unauthorized_client", "The given credential is rejected by the attribute condition.")
    token, life = new_access_token("federated", principal, scopes)
    answer = {"access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": life}
    return json_response(answer)


def subject_claims(token, name, provider):
    # A provider that names no audience wants its own name, with or without a scheme.
    audiences = provider["audiences"] or [name, "https:" + name]
    issuer = provider["issuer"]
    try:
        return claims_of(token, {issuer: ACCOUNTS.issuers[issuer]}, audiences)
    except Unverified as reason:
        words = {
            "issuer": "The issuer in ID Token does not match the expected one.",
            "audience": "The audience in ID Token does not match the expected audience.",
            "expired": "ID Token is stale to sign-in.",
        }.get(str(reason), "Unable to verify the ID Token signature.")
        raise oauth_refusal("invalid_grant", words) from None


@CLOUD.route("POST", re.compile("/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken"), "generateAccessToken")
def generate_access_token(request, call, email):
    caller = bearer(request)
    if caller is None:
        raise api_refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    call["principal"] = caller["principal"]
    if not {PLATFORM, IAM} & set(caller["scopes"]):
        raise api_refusal(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
    asked = request.get_json(silent=True) or {}
    scopes, lifetime = asked.get("scope"), re.fullmatch(r"(\d+)s", asked.get("lifetime", f"{LIFE_MAX}s"))
    if not scopes or not set(scopes) <= SCOPES or not lifetime or not 0 < int(lifetime.group(1)) <= LIFE_MAX:
        raise api_refusal(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    if caller["principal"] not in ACCOUNTS.impersonators.get(email, []):
        words = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
        raise api_refusal(403, "PERMISSION_DENIED", words)
    token, life = new_access_token("access", email, scopes)
    expires = datetime.fromtimestamp(time.time() + life, timezone.utc)
    return json_response({"accessToken": token, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})


def bearer(request):
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    found = CLOUD.find("federated", token) or CLOUD.find("access", token)
    return found if scheme.lower() == "bearer" else None


def api_refusal(code, status, message):
    return Refusal(status, code, {"error": {"code": code, "message": message, "status": status}})


# The metadata server of a machine, or of a node for its pods.


@CLOUD.route("GET", re.compile("/computeMetadata/v1/instance/service-accounts/([^/]+)/token"), "metadata-token")
def machine_token(request, call, account):
    check_machine_client(request)
    email = machine_account(account)
    call["principal"] = email
    scopes = request.args.get("scopes")
    scopes = known_scopes(scopes.replace(",", " ")) if scopes else set(ACCOUNTS.machine_scopes)
    token, life = new_access_token("access", email, scopes)
    return json_response({"access_token": token, "expires_in": life, "token_type": "Bearer"}, headers=FLAVOR)


@CLOUD.route("GET", re.compile("/computeMetadata/v1/instance/service-accounts/([^/]+)/"), "metadata-account")
def machine_account_info(request, call, account):
    check_machine_client(request)
    email = machine_account(account)
    call["principal"] = email
    about = {"aliases": ["default"], "email": email, "scopes": ACCOUNTS.machine_scopes}
    return json_response(about, headers=FLAVOR)


@CLOUD.route("GET", re.compile("/|/computeMetadata/v1/(?:universe/universe-domain|project/project-id)"), "metadata")
def machine_info(request, _call):
    check_machine_client(request)
    text = "googleapis.com" if "universe" in request.path else PROJECT
    return Response(text, headers=FLAVOR, content_type="application/text")


def check_machine_client(request):
    # Neither a browser nor a proxy can be made to send what is wanted here.
    if request.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in request.headers:
        raise Refusal("flavor", 403, {"error": "Missing Metadata-Flavor:Google header."}, FLAVOR)


def machine_account(account):
    if ACCOUNTS.machine is None or account not in ("default", ACCOUNTS.machine):
        raise Refusal("account", 404, {"error": "not found"}, FLAVOR)
    return ACCOUNTS.machine


# Image registries.


def reader(_host, user, password):
    """An access token of user `oauth2accesstoken`, or a key itself of user `_json_key`."""
    if user == "oauth2accesstoken":
        found = CLOUD.find("access", password) or CLOUD.find("federated", password)
        return found["principal"] if found and {PLATFORM, READ_ONLY} & set(found["scopes"]) else None
    return owner_of(password) if user == "_json_key" else None


def owner_of(text):
    """The account of a whole key file."""
    try:
        file = json.loads(text)
        known = ACCOUNTS.keys[file["client_email"]][file["private_key_id"]]
        public = serialization.load_pem_private_key(file["private_key"].encode(), None).public_key()
    except (KeyError, TypeError, ValueError):
        return None
    return file["client_email"] if public.public_numbers() == known.public_numbers() else None


IMAGES = Images(CLOUD, reader)


@CLOUD.route("GET", re.compile("/v2/token"), "registry-token")
def registry_token(request, call):
    return IMAGES.token(request, call)


# What tests set and read.


@CLOUD.control("accounts")
def make_account(asked):
    email = f"{asked['name']}@{PROJECT}.iam.gserviceaccount.com"
    ACCOUNTS.keys[email] = {}
    return {"email": email}


@CLOUD.control("keys")
def make_key(asked):
    """A new key of an account: the file that its owner downloads. Only the public half stays here."""
    key, key_id, email = new_key(), secrets.token_hex(20), asked["email"]
    ACCOUNTS.keys[email][key_id] = key.public_key()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": key_id,
        "private_key": pem(key, serialization.PrivateFormat.PKCS8),
        "client_email": email,
        "client_id": str(secrets.randbelow(10**21)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": AUDIENCE,
        "universe_domain": "googleapis.com",
    }


@CLOUD.control("delete-key")
def delete_key(asked):
    del ACCOUNTS.keys[asked["email"]][asked["key"]]


@CLOUD.control("issuers")
def set_issuer(asked):
    ACCOUNTS.issuers[asked["issuer"]] = asked["keys"]


@CLOUD.control("providers")
def make_provider(asked):
    ACCOUNTS.providers[asked["name"]] = {name: asked[name] for name in ("issuer", "audiences", "subject")}


@CLOUD.control("impersonators")
def set_impersonators(asked):
    ACCOUNTS.impersonators[asked["email"]] = asked["principals"]


@CLOUD.control("machine")
def set_machine(asked):
    ACCOUNTS.machine, ACCOUNTS.machine_scopes = asked["email"], asked["scopes"]


if __name__ == "__main__":
    CLOUD.serve()
