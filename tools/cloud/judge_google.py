"""The official client of Google, as the judge of the emulated Google Cloud. See `judging.py` for its steps.

- `{"account": {…}, "endpoint", "scopes"}`: a key file of a service account, asked at another endpoint;
- `{"external": {…}, "scopes"}`: a configuration of workload identity federation;
- `{"machine": "host:port", "scopes"}`: the metadata server.
"""

from google.auth import compute_engine, identity_pool
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from judging import preside


class Recording(Request):
    """The official transport, which tells what goes over it."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def __call__(self, url, method="GET", body=None, headers=None, timeout=60, **options):
        answer = super().__call__(url, method=method, body=body, headers=headers, timeout=timeout, **options)
        self.recorder.note(method, url, headers, body, answer.status)
        return answer


def ask(step, recorder):
    credentials = credentials_of(step)
    credentials.refresh(Recording(recorder))
    return {"token": credentials.token, "expires": credentials.expiry.timestamp() if credentials.expiry else None}


def credentials_of(step):
    scopes = step.get("scopes", ["https://www.googleapis.com/auth/cloud-platform"])
    if "account" in step:
        info = step["account"] | {"token_uri": step["endpoint"]}
        return service_account.Credentials.from_service_account_info(info, scopes=scopes)
    if "external" in step:
        return identity_pool.Credentials.from_info(step["external"], scopes=scopes)
    _metadata._GCE_METADATA_HOST = step["machine"]
    return compute_engine.Credentials(scopes=step.get("scopes"))


if __name__ == "__main__":
    preside(ask)
