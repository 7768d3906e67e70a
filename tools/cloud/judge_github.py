"""PyJWT as GitHub's documentation uses it, as the judge of the emulated GitHub. See `judging.py` for its steps.

- `{"endpoint", "issuer", "key", "owner", "kind"}`: a token of the installation that `owner` has, `orgs` or `users`;
- with `installation` in place of the owner: of that one. `permissions` are asked for if there are some.
"""

import time

import jwt
import requests

from judging import preside


def ask(step, recorder):
    now = int(time.time())
    # As GitHub says: signed a minute ago, good for ten at most.
    claims = {"iat": now - 60, "exp": now + 540, "iss": step["issuer"]}
    token = jwt.encode(claims, step["key"], algorithm="RS256")
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "X-GitHub-Api-Version": "2022-11-28",
    }

    def call(method, path, body=None):
        answer = requests.request(method, step["endpoint"] + path, headers=headers, json=body, timeout=60)
        sent = answer.request
        recorder.note(method, sent.url, sent.headers, sent.body, answer.status_code)
        answer.raise_for_status()
        return answer.json()

    installation = step.get("installation") or call("GET", f"/{step['kind']}/{step['owner']}/installation")["id"]
    permissions = {"permissions": step["permissions"]} if "permissions" in step else None
    return call("POST", f"/app/installations/{installation}/access_tokens", permissions)


if __name__ == "__main__":
    preside(ask)
