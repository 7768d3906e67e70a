"""What the judges of the emulated clouds share.

A judge reads one step a line from standard input, as JSON, and prints one line of JSON for each. These it knows in any
court; all others are the official client's:

- `{"mint": {"issuer", "subject", "audience", "lives", "stranger"}}`: an identity of a workload, and the public keys of
  its issuer;
- `{"send": {"method", "url", "headers", "body"}, "change": {…}}`: a request that an official client has sent, with
  something changed: fields of its `form`, `json`, `query` or `headers`, where null takes one away, or `claims` of the
  token `in` a form field or in the header `Authorization`, signed again by `key`. `chunked` sends the body in chunks.

What it prints of an official client is `{"ok", "sent"}` or `{"exception", "text", "sent"}`.
"""

import functools
import json
import os
import sys
import time
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from urllib3.util import SKIP_HEADER

KEY_ID = "key-1"


@functools.cache
def key_of(_name):
    """The private key of somebody. It takes a moment, so only who needs one waits for it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def mint(asked):
    """A token as the API server of a cluster makes it; a stranger signs it with a key that has the same name."""
    now = int(time.time())
    claims = {
        "iss": asked["issuer"],
        "sub": asked["subject"],
        "aud": [asked["audience"]],
        "iat": now + min(asked["lives"], 0) - 1,
        "exp": now + asked["lives"],
    }
    key = key_of("stranger" if asked.get("stranger") else "issuer")
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key_of("issuer").public_key(), as_dict=True)
    public |= {"kid": KEY_ID, "use": "sig"}
    return {
        "token": jwt.encode(claims, key, algorithm="RS256", headers={"kid": KEY_ID}),
        "keys": {"keys": [public]},
    }


class Recorder:
    """What an official client has sent, and what it was answered."""

    def __init__(self):
        self.sent = []

    def note(self, method, url, headers, body, status):
        body = body.decode() if isinstance(body, bytes) else body
        if isinstance(body, dict):
            body = urlencode({name: getattr(value, "value", value) for name, value in body.items()})
        entry = {"method": method, "url": url, "headers": dict(headers or {}), "body": body, "status": status}
        self.sent.append(entry)


def send(request, change, chunked=False):
    headers, body, url = dict(request["headers"]), request["body"] or "", request["url"]
    parts = urlsplit(url)
    if "query" in change:
        parts = parts._replace(query=urlencode(changed(dict(parse_qsl(parts.query)), change["query"])))
        url = urlunsplit(parts)
    if "form" in change or change.get("in", "Authorization") != "Authorization":
        form = changed(dict(parse_qsl(body)), change.get("form", {}))
        if "claims" in change:
            form[change["in"]] = signed_again(form[change["in"]], change)
        body = urlencode(form)
    elif "claims" in change:
        headers["Authorization"] = "Bearer " + signed_again(headers["Authorization"].split(" ")[1], change)
    if "json" in change:
        body = json.dumps(changed(json.loads(body), change["json"]))
    headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    for name, value in change.get("headers", {}).items():
        headers = {known: other for known, other in headers.items() if known.lower() != name.lower()}
        if value is not None:
            headers[name] = value
        elif name.lower() == "user-agent":
            # The client adds it by itself unless it is told not to.
            headers[name] = SKIP_HEADER
    session = requests.Session()
    content = iter([body.encode()[:7], body.encode()[7:]]) if chunked else body.encode()
    answer = session.request(request["method"], url, headers=headers, data=content or None, allow_redirects=False)
    try:
        said = answer.json()
    except ValueError:
        said = answer.text
    return {"status": answer.status_code, "headers": {k.lower(): v for k, v in answer.headers.items()}, "body": said}


def changed(fields, changes):
    return {name: value for name, value in (fields | changes).items() if value is not None}


def signed_again(token, change):
    claims = changed(jwt.decode(token, options={"verify_signature": False}), change["claims"])
    header = changed(jwt.get_unverified_header(token), change.get("header", {}))
    algorithm = header.pop("alg")
    return jwt.encode(claims, change["key"], algorithm=algorithm, headers=header)


def preside(client):
    """Takes steps until there are no more; `client` gets those for the official client, and a recorder."""
    surroundings = dict(os.environ)
    for line in sys.stdin:
        step = json.loads(line)
        os.environ.clear()
        os.environ.update(surroundings | step.get("env", {}))
        print(json.dumps(take(client, step), default=str), flush=True)


def take(client, step):
    if "mint" in step:
        return mint(step["mint"])
    if "send" in step:
        return send(step["send"], step.get("change", {}), step.get("chunked", False))
    recorder = Recorder()
    try:
        return {"ok": client(step, recorder), "sent": recorder.sent}
    except Exception as error:
        return {"exception": type(error).__name__, "text": str(error), "sent": recorder.sent}
