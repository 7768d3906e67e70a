"""An AWS on loopback: the token operations of STS, ECR and ECR Public, and the places where workloads find keys.

moto keeps users, roles and sessions, and verifies every signature with botocore's signer. What moto lets pass and AWS
does not is refused here: a header that is not signed, a request of another hour, a role that does not exist, an
external id that is missing, a session that is over. Nothing else of AWS is here: every other operation is refused.

Tests steer it by paths that begin with `/-/`. The only argument is a file, which gets `host:port` once it listens.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from datetime import datetime, timedelta
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from moto.core.utils import utcnow
from moto.iam.access_control import IAMPolicy, IAMRequest, PermissionResult
from moto.iam.exceptions import NotFoundException
from moto.iam.models import get_account_id_from, iam_backends
from moto.sts.models import sts_backends
from moto.utilities.utils import get_partition
from werkzeug import Response

import serving
from identities import Unverified, claims_of

# The audience that STS wants in the token of a workload.
AUDIENCE = "sts.amazonaws.com"
# How far the date of a request may be from ours.
SKEW = timedelta(minutes=15)
# How long sessions may be: every role has the maximum that roles have by themselves, which is that of chains too.
SESSION_MIN = 900
SESSION_MAX = 3600
# The life of the keys that pods and machines find.
WORKLOAD_SESSION = 6 * 3600
# The life of a registry's password until a test sets another.
PASSWORD_LIFE = 12 * 3600.0
# The longest life that a token of the instance metadata service may be asked for.
METADATA_TOKEN_MAX = 21600
# A region in which a partition signs what names no region.
HOME_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
# The ends of host names, by the beginning of the region.
SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}
# Services that speak JSON have their own words for what STS refuses.
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}
# What is wrong with the request itself, rather than with who sends it.
MALFORMED = {"ExpiredTokenException", "InvalidAction", "InvalidIdentityToken", "ValidationError"}
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class Refusal(Exception):
    """What AWS answers instead of a token; the code is the one of STS."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


class State:
    """What tests set and read, beside the users, roles and sessions that moto keeps."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = []
        self.issued = []
        self.password_life = PASSWORD_LIFE
        self.session_life = None
        self.issuers = {}
        self.pods = {}
        self.machine_role = None
        self.metadata_tokens = {}


STATE = State()


# Who calls.


class Caller(IAMRequest):
    """Who signed a request and what they may do: moto's verifier, with the rules that moto does not know."""

    def __init__(self, request, body, operation):
        self._check_signed_parts(request, body)
        query = "?" + request.query_string.decode() if request.query_string else ""
        super().__init__(
            account_id=get_account_id_from(access_key_id_of(request)),
            method=request.method,
            path=request.path + query,
            data={},
            body=body,
            headers=request.headers,
            action=operation,
        )
        self.region = self._region
        self.session = session_of(self.account_id, self._region, access_key_id_of(request))
        self.external_id = None
        self.check_signature()
        if self.session and self.session.expiration <= utcnow():
            raise Refusal("ExpiredToken", "The security token included in the request is expired")

    @property
    def arn(self):
        return self._access_key.arn

    def may(self, action, resource="*", external_id=None):
        """Raises unless policies allow the action, and the policy of the session too if there is one."""
        self._action, self.external_id = action, external_id
        self.check_action_permitted(resource)
        policy = self.session and self.session.policy
        if policy and IAMPolicy(policy).is_action_permitted(action, resource) != PermissionResult.PERMITTED:
            self._raise_access_denied()

    def names(self):
        """Everything by which a trust policy can mean this caller."""
        root = f"arn:{get_partition(self.region)}:iam::{self.account_id}:root"
        role = {self.session.role_arn} if self.session else set()
        return {self.arn, root, self.account_id, "*"} | role

    @staticmethod
    def _check_signed_parts(request, body):
        headers = request.headers
        authorization = headers.get("Authorization", "")
        if not authorization.startswith("AWS4-HMAC-SHA256 ") or "X-Amz-Date" not in headers:
            raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token")
        signed = set(re.search(r"SignedHeaders=([^,]*)", authorization).group(1).split(";"))
        optional = {"x-amz-target", "x-amz-security-token"}
        needed = {"host", "x-amz-date"} | {name for name in optional if name in headers}
        if not needed <= signed:
            missing = ", ".join(sorted(needed - signed))
            raise Refusal("SignatureDoesNotMatch", f"'{missing}' must be a 'SignedHeader' in the Authorization.")
        digest = hashlib.sha256(body).hexdigest()
        if headers.get("X-Amz-Content-SHA256", digest) != digest:
            raise Refusal("SignatureDoesNotMatch", "The digest of the body is not the one that was signed.")
        check_date(headers["X-Amz-Date"])

    def _is_assuming_role_operation(self, resource_arn):
        return self._action == "sts:AssumeRole"

    def _check_role_trust_relationship(self, role_arn):
        context = {"sts:ExternalId": self.external_id} if self.external_id else {}
        return trusts(find_role(role_arn), "sts:AssumeRole", {"AWS": self.names()}, context)

    def _raise_signature_does_not_match(self):
        raise Refusal(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )

    def _raise_invalid_access_key(self, _reason):
        raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.")

    def _raise_access_denied(self):
        raise Refusal("AccessDenied", f"User: {self.arn} is not authorized to perform: {self._action}")


def access_key_id_of(request):
    return (credential_scope(request) or [""])[0]


def credential_scope(request):
    """Key, date, region, service and a constant; empty for a request that is not signed."""
    found = re.search(r"Credential=([^,\s]*)", request.headers.get("Authorization", ""))
    scope = found.group(1).split("/") if found else []
    return scope if len(scope) == 5 else []


def check_date(text):
    try:
        date = datetime.strptime(text, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise Refusal("SignatureDoesNotMatch", "Date must be in ISO-8601 'basic format'.") from None
    if abs(utcnow() - date) > SKEW:
        word = "expired" if date < utcnow() else "not yet current"
        raise Refusal("SignatureDoesNotMatch", f"Signature {word}: {text} is more than 15 min. away from now.")


def session_of(account, region, access_key_id):
    return sts_backends[account][get_partition(region)].get_assumed_role_from_access_key(access_key_id)


# Roles and sessions.


def find_role(arn):
    """The role of this ARN in whichever account it is; none if there is no such role."""
    found = re.fullmatch(r"arn:([^:]+):iam::(\d{12}):role/.+", arn)
    if not found or found.group(1) not in HOME_REGIONS:
        return None
    try:
        return iam_backends[found.group(2)][found.group(1)].get_role_by_arn(arn)
    except NotFoundException:
        return None


def trusts(role, action, principals, context):
    """Whether a statement of the role's trust policy lets one of these principals in; no role trusts nobody."""
    statements = json.loads(role.assume_role_policy_document)["Statement"] if role else []
    return any(
        action in listed(statement["Action"])
        and any(principals.get(kind, set()) & set(listed(named)) for kind, named in statement["Principal"].items())
        and all(
            context.get(key) in listed(wanted)
            for key, wanted in statement.get("Condition", {}).get("StringEquals", {}).items()
        )
        for statement in statements
    )


def listed(value):
    return value if isinstance(value, list) else [value]


def new_session(role_arn, session_name, duration, policy=None, external_id=None):
    """A session that moto knows, so that its keys verify from now on."""
    partition = role_arn.split(":")[1]
    region = HOME_REGIONS[partition]
    session = sts_backends[role_arn.split(":")[4]][partition].assume_role(
        region_name=region,
        role_session_name=session_name,
        role_arn=role_arn,
        policy=policy,
        duration=duration,
        external_id=external_id,
    )
    if STATE.session_life is not None:
        session.expiration = utcnow() + timedelta(seconds=STATE.session_life)
    return session


def check_session_request(form):
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", "")):
        raise Refusal("ValidationError", "RoleSessionName must be 2 to 64 of letters, digits and +=,.@-")
    if not re.fullmatch(r"[\w+=,.@:/-]{2,1224}", form.get("ExternalId", "none")):
        raise Refusal("ValidationError", "ExternalId must be 2 to 1224 of letters, digits and +=,.@:/-")
    duration = int(form.get("DurationSeconds", SESSION_MAX))
    if not SESSION_MIN <= duration <= SESSION_MAX:
        raise Refusal("ValidationError", "DurationSeconds is not within what the role allows, or a chain")
    return duration


# STS.


def sts(request, body):
    form = dict(parse_qsl(body.decode(), keep_blank_values=True)) or request.args.to_dict()
    operation = form.get("Action", "")
    call = begin_call("sts", operation, request)
    call.update(
        role_arn=form.get("RoleArn"),
        role_session_name=form.get("RoleSessionName"),
        external_id=form.get("ExternalId"),
        policy=form.get("Policy"),
        duration_seconds=int(form["DurationSeconds"]) if "DurationSeconds" in form else None,
    )
    try:
        answer = {
            "AssumeRole": assume_role,
            "AssumeRoleWithWebIdentity": assume_role_with_web_identity,
            "GetCallerIdentity": get_caller_identity,
        }.get(operation, unknown_operation)(request, body, form)
    except Refusal as refusal:
        call["error"] = refusal.code
        return xml_refusal(refusal)
    inner = xml(f"{operation}Result", answer) + xml("ResponseMetadata", {"RequestId": secrets.token_hex(8)})
    return xml_response(200, f'<{operation}Response xmlns="{STS_NAMESPACE}">{inner}</{operation}Response>')


def unknown_operation(_request, _body, form):
    raise Refusal("InvalidAction", f"Could not find operation {form.get('Action')}")


def signed_caller(request, body, service, operation):
    scope = credential_scope(request)
    if scope and scope[3] != service:
        raise Refusal("SignatureDoesNotMatch", f"Credential should be scoped to correct service: '{service}'.")
    return Caller(request, body, operation)


def assume_role(request, body, form):
    caller = signed_caller(request, body, "sts", "AssumeRole")
    duration = check_session_request(form)
    caller.may("sts:AssumeRole", form.get("RoleArn", ""), form.get("ExternalId"))
    session = new_session(
        form["RoleArn"], form["RoleSessionName"], duration, form.get("Policy"), form.get("ExternalId")
    )
    return session_answer(session)


def get_caller_identity(request, body, _form):
    caller = signed_caller(request, body, "sts", "GetCallerIdentity")
    user_id = caller.session.user_id if caller.session else access_key_id_of(request)
    return {"Arn": caller.arn, "UserId": user_id, "Account": caller.account_id}


def assume_role_with_web_identity(_request, _body, form):
    duration = check_session_request(form)
    claims = verified_claims(form.get("WebIdentityToken", ""))
    role_arn = form.get("RoleArn", "")
    issuer = claims["iss"].removeprefix("https://")
    provider = ":".join(role_arn.split(":")[:5] + ["oidc-provider/" + issuer])
    context = {f"{issuer}:sub": claims.get("sub"), f"{issuer}:aud": AUDIENCE}
    action = "sts:AssumeRoleWithWebIdentity"
    if not trusts(find_role(role_arn), action, {"Federated": {provider}}, context):
        raise Refusal("AccessDenied", f"Not authorized to perform {action}")
    session = new_session(role_arn, form["RoleSessionName"], duration, form.get("Policy"))
    return session_answer(session) | {
        "SubjectFromWebIdentityToken": claims.get("sub", ""),
        "Audience": AUDIENCE,
        "Provider": provider,
    }


def verified_claims(token):
    """The claims of a token that an issuer known here has signed for STS and that is valid now."""
    try:
        return claims_of(token, STATE.issuers, AUDIENCE)
    except Unverified as reason:
        code, words = {
            "issuer": ("InvalidIdentityToken", "No OpenIDConnect provider found in your account for the issuer"),
            "key": ("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider"),
            "audience": ("InvalidIdentityToken", "Incorrect token audience"),
            "expired": ("ExpiredTokenException", "Token expired: the current time is past its expiration"),
        }.get(str(reason), ("InvalidIdentityToken", "The token cannot be verified"))
        raise Refusal(code, words) from None


def session_answer(session):
    return {
        "Credentials": {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "SessionToken": session.session_token,
            "Expiration": iso(session.expiration),
        },
        "AssumedRoleUser": {"AssumedRoleId": session.user_id, "Arn": session.arn},
    }


def iso(naive):
    return naive.strftime("%Y-%m-%dT%H:%M:%SZ")


# ECR and ECR Public.


def ecr(request, body):
    """`AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken`: a list, one entry for each account asked for."""

    def answer(caller):
        caller.may("ecr:GetAuthorizationToken")
        accounts = json.loads(body or b"{}").get("registryIds") or [caller.account_id]
        host = f"dkr.ecr.{caller.region}.{suffix_of(caller.region)}"
        return [
            new_password("ecr", caller, account) | {"proxyEndpoint": f"https://{account}.{host}"}
            for account in accounts
        ]

    return registry_token(request, body, "ecr", answer)


def ecr_public(request, body):
    """`SpencerFrontendService.GetAuthorizationToken`: one object, and only in one region."""

    def answer(caller):
        if caller.region != "us-east-1":
            raise Refusal("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
        caller.may("ecr-public:GetAuthorizationToken")
        caller.may("sts:GetServiceBearerToken")
        return new_password("ecr-public", caller, caller.account_id)

    return registry_token(request, body, "ecr-public", answer)


def registry_token(request, body, service, answer):
    call = begin_call(service, "GetAuthorizationToken", request)
    try:
        data = answer(signed_caller(request, body, service, "GetAuthorizationToken"))
    except Refusal as refusal:
        code = JSON_CODES.get(refusal.code, refusal.code)
        call["error"] = code
        return json_response({"__type": code, "message": refusal.message}, 400)
    return json_response({"authorizationData": data})


def new_password(service, caller, account):
    """A password that was never given out before; short enough for bcrypt, which reads 72 bytes."""
    now = time.time()
    password = secrets.token_urlsafe(32)
    expires = round(now + STATE.password_life, 3)
    STATE.issued.append(
        {
            "service": service,
            "password": password,
            "at": now,
            "expires": expires,
            "principal": caller.arn,
            "account": account,
            "region": caller.region,
        }
    )
    token = base64.b64encode(f"AWS:{password}".encode()).decode()
    return {"authorizationToken": token, "expiresAt": expires}


def suffix_of(region):
    return next((end for start, end in SUFFIXES.items() if region.startswith(start)), "amazonaws.com")


# Where pods and machines find keys.


def pod_credentials(request, _body):
    """EKS Pod Identity: the agent of the node, which knows the pod by its token."""
    call = begin_call("pod-identity", "GetCredentials", request)
    role_arn = STATE.pods.get(request.headers.get("Authorization", ""))
    if not trusts(find_role(role_arn or ""), "sts:AssumeRole", {"Service": {"pods.eks.amazonaws.com"}}, {}):
        call["error"] = "AccessDenied"
        return json_response({"message": "the token is not the one of a pod with a role"}, 403)
    call["role_arn"] = role_arn
    session = new_session(role_arn, "eks-pod", WORKLOAD_SESSION)
    return json_response(found_keys(session) | {"AccountId": role_arn.split(":")[4]})


def metadata_token(request, _body):
    life = request.headers.get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "")
    if not life.isdigit() or not 1 <= int(life) <= METADATA_TOKEN_MAX:
        return Response("", 400)
    token = secrets.token_urlsafe(32)
    STATE.metadata_tokens[token] = time.time() + int(life)
    return Response(token, 200, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": life}, content_type="text/plain")


def metadata(request, _body):
    """The instance metadata service, version 2 only."""
    token = request.headers.get("X-Aws-Ec2-Metadata-Token", "")
    if STATE.metadata_tokens.get(token, 0) < time.time():
        return Response("", 401)
    role_arn = STATE.machine_role
    name = role_arn.split("/")[-1] if role_arn else None
    asked = request.path.removeprefix("/latest/meta-data/")
    if asked == "placement/region":
        return Response(HOME_REGIONS["aws"], content_type="text/plain")
    if name and asked in ("iam/security-credentials", "iam/security-credentials/"):
        return Response(name, content_type="text/plain")
    if name and asked == f"iam/security-credentials/{name}":
        return machine_credentials(request, role_arn)
    return Response("", 404)


def machine_credentials(request, role_arn):
    call = begin_call("instance-metadata", "GetCredentials", request)
    call["role_arn"] = role_arn
    if not trusts(find_role(role_arn), "sts:AssumeRole", {"Service": {"ec2.amazonaws.com"}}, {}):
        call["error"] = "AssumeRoleUnauthorizedAccess"
        return json_response({"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"})
    session = new_session(role_arn, "i-0123456789abcdef0", WORKLOAD_SESSION)
    return json_response({"Code": "Success", "LastUpdated": iso(utcnow()), "Type": "AWS-HMAC"} | found_keys(session))


def found_keys(session):
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.session_token,
        "Expiration": iso(session.expiration),
    }


# What tests set and read.


def make_user(asked):
    iam = iam_backends[asked["account"]][asked["partition"]]
    user = iam.create_user(HOME_REGIONS[asked["partition"]], asked["name"])
    iam.put_user_policy(user.name, "allowed", allowing(asked["allowed"]))
    key = iam.create_access_key(user.name)
    keys = {"access_key_id": key.access_key_id, "secret_key": key.secret_access_key}
    return {"arn": user.arn, "keys": keys}


def make_role(asked):
    iam = iam_backends[asked["account"]][asked["partition"]]
    role = iam.create_role(asked["name"], json.dumps(asked["trust"]), "/", None, "", [], None)
    iam.put_role_policy(role.name, "allowed", allowing(asked["allowed"]))
    return {"arn": role.arn}


def allowing(actions):
    # IAM knows no statement without actions; this one allows what no service has.
    statement = {"Effect": "Allow", "Action": actions or ["none:Nothing"], "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def set_issuer(asked):
    STATE.issuers[asked["issuer"]] = asked["keys"]


def set_pod(asked):
    STATE.pods[asked["authorization"]] = asked["role"]


def set_machine(asked):
    STATE.machine_role = asked["role"]


def set_password_life(asked):
    STATE.password_life = asked["seconds"]


def set_session_life(asked):
    STATE.session_life = asked["seconds"]


def expire_session(asked):
    key = asked["access_key_id"]
    account = get_account_id_from(key)
    sessions = [session_of(account, region, key) for region in HOME_REGIONS.values()]
    next(session for session in sessions if session).expiration = utcnow()


def revoke(asked):
    key = asked["access_key_id"]
    for partition in HOME_REGIONS:
        for user in iam_backends[get_account_id_from(key)][partition].users.values():
            user.access_keys[:] = [known for known in user.access_keys if known.access_key_id != key]


CONTROLS = {
    "users": make_user,
    "roles": make_role,
    "issuers": set_issuer,
    "pods": set_pod,
    "machine": set_machine,
    "password-life": set_password_life,
    "session-life": set_session_life,
    "expire": expire_session,
    "revoke": revoke,
    "calls": lambda _asked: STATE.calls,
    "issued": lambda _asked: STATE.issued,
}


# Requests and answers.

TARGETS = {
    "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken": ecr,
    "SpencerFrontendService.GetAuthorizationToken": ecr_public,
}
PATHS = {
    ("GET", "/v1/credentials"): pod_credentials,
    ("PUT", "/latest/api/token"): metadata_token,
}


def route(request):
    if request.path.startswith("/-/"):
        return lambda request, body: serving.control(CONTROLS, request, body)
    if request.path.startswith("/latest/meta-data/") and request.method == "GET":
        return metadata
    if (request.method, request.path) in PATHS:
        return PATHS[request.method, request.path]
    if "X-Amz-Target" in request.headers:
        return TARGETS.get(request.headers["X-Amz-Target"], unknown_target)
    return sts


def unknown_target(_request, _body):
    return json_response({"__type": "UnknownOperationException"}, 400)


def answer(request, body):
    # One at a time: moto's tables are not made for threads.
    with STATE.lock:
        return route(request)(request, body)


def begin_call(service, operation, request):
    """Notes a call before it is judged; what is wrong with it is added later."""
    scope = credential_scope(request)
    call = {
        "at": time.time(),
        "service": service,
        "operation": operation,
        "access_key_id": scope[0] if scope else None,
        "region": scope[2] if scope else None,
        "error": None,
    }
    STATE.calls.append(call)
    return call


def json_response(value, status=200):
    return Response(json.dumps(value), status, content_type="application/x-amz-json-1.1")


def xml_response(status, text):
    return Response(text, status, content_type="text/xml")


def xml_refusal(refusal):
    error = xml("Error", {"Type": "Sender", "Code": refusal.code, "Message": refusal.message})
    inner = error + xml("RequestId", secrets.token_hex(8))
    status = 400 if refusal.code in MALFORMED else 403
    return xml_response(status, f'<ErrorResponse xmlns="{STS_NAMESPACE}">{inner}</ErrorResponse>')


def xml(tag, value):
    inner = "".join(xml(*item) for item in value.items()) if isinstance(value, dict) else escape(str(value))
    return f"<{tag}>{inner}</{tag}>"


if __name__ == "__main__":
    serving.serve(answer)
