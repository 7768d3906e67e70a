"""An Azure on loopback: tokens of Entra ID, those of machines, and what Azure Container Registry exchanges them for.

Applications prove themselves by a secret, or by a token of a cluster that they trust; both are verified. What is not
said right is refused in Azure's words: a secret, an assertion, a tenant, a scope, a grant, a registry of another tenant.
All of it is at one address, where Azure has several hosts.

Tests steer it by paths that begin with `/-/`. The only argument is a file, which gets `host:port` once it listens.
"""

import re
import secrets
import time
import uuid

from identities import Signer, Unverified, claims_of
from images import Images, unauthorized
from serving import Cloud, Refusal, json_response

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Whom the token of a workload must be for.
FEDERATED = ["api://AzureADTokenExchange"]
# What a token may be for so that a registry takes it: the registry, or the management of Azure, where a policy of the
# registry may forbid the latter.
REGISTRIES = {"https://containerregistry.azure.net"}
MANAGEMENT = {
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://management.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
}
RESOURCES = REGISTRIES | MANAGEMENT | {"https://graph.microsoft.com"}
METADATA_VERSIONS = {"2018-02-01", "2018-10-01", "2019-08-01", "2019-11-01", "2020-06-01", "2021-02-01"}
# The user of a refresh token.
NOBODY = "00000000-0000-0000-0000-000000000000"


class Directory:
    """Applications by tenant, who they trust, and the identities of the machine."""

    def __init__(self):
        self.tenants = {}
        self.issuers = {}
        self.machine = {}


CLOUD = Cloud({"entra": 3599, "refresh": 3 * 3600})
DIRECTORY = Directory()
SIGNER = Signer()


def new_entra_token(tenant, client, resource):
    now, life = int(time.time()), CLOUD.lives["entra"]
    claims = {
        "aud": resource,
        "iss": f"https://sts.windows.net/{tenant}/",
        "exp": now + int(life),
        "appid": client,
        "oid": str(uuid.uuid5(uuid.NAMESPACE_OID, client)),
        "tid": tenant,
        "ver": "1.0",
    }
    token = SIGNER.sign(claims)
    life = CLOUD.give_out("entra", token, client, tenant=tenant, resource=resource)
    return token, life


def entra_refusal(error, number, message, status):
    # Every answer has other numbers, which help Azure find it again.
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    words = f"AADSTS{number}: {message} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
    body = {
        "error": error,
        "error_description": words,
        "error_codes": [number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
    }
    return Refusal(f"AADSTS{number}", status, body)


# Entra ID.


@CLOUD.route("POST", re.compile("/([^/]+)/oauth2/v2.0/token"), "client-credentials")
def client_credentials(request, call, tenant):
    form = request.form
    client = form.get("client_id", "")
    call["principal"], call["tenant"] = client, tenant
    if tenant not in DIRECTORY.tenants:
        raise entra_refusal("invalid_request", 90002, f"Tenant '{tenant}' not found.", 400)
    if form.get("grant_type") != "client_credentials":
        raise entra_refusal("unsupported_grant_type", 70003, "The app requested an unsupported grant type.", 400)
    application = DIRECTORY.tenants[tenant].get(client)
    if application is None:
        words = f"Application with identifier '{client}' was not found in the directory '{tenant}'."
        raise entra_refusal("unauthorized_client", 700016, words, 400)
    resource = resource_of(form.get("scope", ""))
    if "client_assertion" in form:
        check_assertion(form, client, application)
    else:
        check_secret(form, application)
    token, life = new_entra_token(tenant, client, resource)
    return json_response({"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token})


def resource_of(scope):
    """`RESOURCE/.default`, as whoever has no user to ask can only want all that it was given."""
    # A resource whose name ends in a slash has two of them in a scope.
    resource = scope.removesuffix("/.default").removesuffix("/")
    if not scope.endswith("/.default") or resource not in RESOURCES:
        raise entra_refusal("invalid_scope", 70011, f"The provided value for scope {scope} is not valid.", 400)
    return resource


def check_secret(form, application):
    if "client_secret" not in form:
        words = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise entra_refusal("invalid_client", 7000218, words, 401)
    if form["client_secret"] not in application["secrets"]:
        raise entra_refusal("invalid_client", 7000215, "Invalid client secret provided.", 401)


def check_assertion(form, client, application):
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise entra_refusal("invalid_request", 900144, "The client_assertion_type is not one that is known.", 400)
    trusted = application["trusted"]
    issuers = {trust["issuer"]: DIRECTORY.issuers[trust["issuer"]] for trust in trusted}
    record = "No matching federated identity record found for presented assertion"
    try:
        claims = claims_of(form["client_assertion"], issuers, FEDERATED)
    except Unverified as reason:
        number, words = {
            "issuer": (700211, f"{record} issuer."),
            "audience": (700212, f"{record} audience."),
            "expired": (700024, "Client assertion is not within its valid time range."),
        }.get(str(reason), (7000272, f"The signature of the assertion of '{client}' could not be verified."))
        raise entra_refusal("invalid_client", number, words, 401) from None
    if {"issuer": claims["iss"], "subject": claims["sub"]} not in trusted:
        raise entra_refusal("invalid_client", 700213, f"{record} subject '{claims['sub']}'.", 401)


@CLOUD.route("GET", re.compile(r"/([^/]+)/v2\.0/\.well-known/openid-configuration"), "discovery")
def discovery(request, _call, tenant):
    """What official clients read before anything else."""
    if tenant not in DIRECTORY.tenants:
        raise entra_refusal("invalid_tenant", 90002, f"Tenant '{tenant}' not found.", 400)
    base = f"https://{request.host}/{tenant}"
    return json_response(
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
        }
    )


@CLOUD.route("GET", re.compile("/common/discovery/instance"), "discovery")
def instances(request, _call):
    """By what other names this is known, which official clients want to hear before they say what went wrong."""
    host = request.host
    known = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
    return json_response({"api-version": "1.1", "metadata": known})


# The metadata service of a machine.


@CLOUD.route("GET", re.compile("/metadata/identity/oauth2/token"), "managed-identity")
def managed_identity(request, call):
    if request.headers.get("Metadata", "").lower() != "true" or "X-Forwarded-For" in request.headers:
        raise metadata_refusal("invalid_request", "Required metadata header not specified")
    if request.args.get("api-version") not in METADATA_VERSIONS:
        raise metadata_refusal("invalid_request", "Required api-version is missing or not supported")
    resource = request.args.get("resource", "").removesuffix("/")
    if resource not in RESOURCES:
        raise metadata_refusal("invalid_resource", "AADSTS500011: The resource principal was not found.")
    client = request.args.get("client_id") or DIRECTORY.machine.get("default")
    if client not in DIRECTORY.machine.get("clients", []):
        raise metadata_refusal("invalid_request", "Identity not found")
    call["principal"] = client
    token, life = new_entra_token(DIRECTORY.machine["tenant"], client, resource)
    now = int(time.time())
    answer = {
        "access_token": token,
        "client_id": client,
        "expires_in": str(life),
        "expires_on": str(now + life),
        "ext_expires_in": str(life),
        "not_before": str(now),
        "resource": request.args["resource"],
        "token_type": "Bearer",
    }
    return json_response(answer)


def metadata_refusal(error, description):
    return Refusal(error, 400, {"error": error, "error_description": description})


# Azure Container Registry.


def reader(host, user, password):
    """A refresh token of this registry, whose user is nobody, or none where the client takes it for what it is."""
    found = CLOUD.find("refresh", password) if user in (NOBODY, "<token>") else None
    return found["principal"] if found and found["host"] == host else None


IMAGES = Images(CLOUD, reader)


@CLOUD.route("GET", re.compile("/v2/"), "challenge")
def challenge(request, _call):
    host = request.host if request.host in IMAGES.registries else next(iter(IMAGES.registries), request.host)
    realm = f'Bearer realm="https://{host}/oauth2/token",service="{host}"'
    refused = unauthorized("challenge").response
    refused.headers["WWW-Authenticate"] = realm
    return refused


@CLOUD.route("POST", re.compile("/oauth2/exchange"), "exchange")
def exchange(request, call):
    """See `Azure/acr`, `docs/AAD-OAuth.md`."""
    form = request.form
    host = form.get("service", "")
    call["host"] = host
    if form.get("grant_type") != "access_token":
        raise Refusal("grant_type", 400, {"errors": [{"code": "UNSUPPORTED", "message": "unsupported grant_type"}]})
    registry = IMAGES.registries.get(host)
    found = CLOUD.find("entra", form.get("access_token", ""))
    if registry is None or found is None:
        raise unauthorized("no registry" if registry is None else "wrong token")
    call["principal"] = client = found["principal"]
    if form.get("tenant", registry["tenant"]) != registry["tenant"] or found["tenant"] != registry["tenant"]:
        raise unauthorized("other tenant")
    if found["resource"] not in REGISTRIES | (MANAGEMENT if registry["management"] else set()):
        raise unauthorized("other resource")
    if registry["readers"] is not None and client not in registry["readers"]:
        raise unauthorized("no reader")
    claims = {
        "iss": "Azure Container Registry",
        "aud": host,
        "sub": client,
        "exp": int(time.time() + CLOUD.lives["refresh"]),
        "version": "1.0",
        "grant_type": "refresh_token",
        "tenant": registry["tenant"],
        # Those of Azure are this long too.
        "permissions": {"Actions": ["read", "metadata/read"], "NotActions": None, "padding": secrets.token_hex(300)},
    }
    token = SIGNER.sign(claims)
    CLOUD.give_out("refresh", token, client, host=host)
    return json_response({"refresh_token": token})


@CLOUD.route("GET", re.compile("/oauth2/token"), "registry-token")
def registry_token(request, call):
    return IMAGES.token(request, call)


@CLOUD.route("POST", re.compile("/oauth2/token"), "registry-token")
def registry_token_for_refresh_token(request, call):
    return IMAGES.token(request, call)


# What tests set and read.


@CLOUD.control("applications")
def make_application(asked):
    client, secret = str(uuid.uuid4()), secrets.token_urlsafe(30)
    tenant = DIRECTORY.tenants.setdefault(asked["tenant"], {})
    tenant[client] = {"secrets": [secret], "trusted": []}
    return {"tenant": asked["tenant"], "client": client, "secret": secret}


@CLOUD.control("secrets")
def set_secrets(asked):
    DIRECTORY.tenants[asked["tenant"]][asked["client"]]["secrets"] = asked["secrets"]


@CLOUD.control("issuers")
def set_issuer(asked):
    DIRECTORY.issuers[asked["issuer"]] = asked["keys"]


@CLOUD.control("trusted")
def trust(asked):
    trusted = {"issuer": asked["issuer"], "subject": asked["subject"]}
    DIRECTORY.tenants[asked["tenant"]][asked["client"]]["trusted"].append(trusted)


@CLOUD.control("machine")
def set_machine(asked):
    """`clients` are identities of the machine, and `default` is the one that it is when it does not say."""
    DIRECTORY.machine = asked


if __name__ == "__main__":
    CLOUD.serve()
