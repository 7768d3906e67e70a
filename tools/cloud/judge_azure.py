"""The official clients of Azure, as the judges of the emulated Azure. See `judging.py` for their steps.

Who asks is an `identity`: `{"tenant", "client", "secret"}`, or with an `assertion`, the token of a workload, in place
of the secret; `{"machine": client or null}`; or `{"bearer"}`, a token that was fetched before.

- `{"identity", "scope"}`: a token of Entra ID;
- `{"identity", "registry", "image"}`: the digest of an image, `repository:tag`, by a token of the registry;
- `{"identity", "endpoint", "service", "scopes"}`: only the exchange for that, at another endpoint.
"""

import logging

from azure.containerregistry import ContainerRegistryClient
from azure.containerregistry._exchange_client import ACRExchangeClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientAssertionCredential, ClientSecretCredential, ManagedIdentityCredential

from judging import preside


class Recording(RequestsTransport):
    """The official transport, which tells what goes over it."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def send(self, request, **options):
        answer = super().send(request, **options)
        body = getattr(request, "data", None) or getattr(request, "content", None)
        self.recorder.note(request.method, request.url, request.headers, body, answer.status_code)
        return answer


class Bearer:
    """A token that was fetched before."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, 2**33)


# A refusal is what is asked for here, so asking again is in vain, and telling of it too.
ONCE = {"retry_total": 0}
logging.disable()


def ask(step, recorder):
    options = {"transport": Recording(recorder)} | ONCE
    identity = identity_of(step["identity"], options)
    if "scope" in step:
        token = identity.get_token(step["scope"])
        return {"token": token.token, "expires": token.expires_on}
    if "registry" in step:
        client = ContainerRegistryClient(step["registry"], identity, **options)
        repository, _, tag = step["image"].partition(":")
        return {"digest": client.get_manifest(repository, tag).digest}
    client = ACRExchangeClient(step["endpoint"], identity, credential_scopes=step["scopes"], **options)
    challenge = f'Bearer realm="{step["endpoint"]}/oauth2/token",service="{step["service"]}",scope="{step["access"]}"'
    token = client.get_acr_access_token(challenge)
    return {"token": token, "refresh": client._refresh_token, "expires": client._expiration_time}


def identity_of(about, options):
    if "machine" in about:
        return ManagedIdentityCredential(client_id=about["machine"], **options)
    if "bearer" in about:
        return Bearer(about["bearer"])
    if "assertion" in about:
        return ClientAssertionCredential(about["tenant"], about["client"], lambda: about["assertion"], **options)
    return ClientSecretCredential(about["tenant"], about["client"], about["secret"], **options)


if __name__ == "__main__":
    preside(ask)
