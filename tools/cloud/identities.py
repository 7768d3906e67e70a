"""Signatures: tokens of the workloads of clusters, and what the emulated clouds sign themselves."""

import secrets
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class Unverified(Exception):
    """Why a token is not worth anything: `issuer`, `key`, `audience`, `expired` or `token`."""


def claims_of(token, issuers, audiences):
    """The claims of a token that is valid now, signed by one of these issuers for one of these audiences.

    Issuers are known by their key sets. ES256 is taken too, which not every cloud does, as that is what a control plane
    with small keys signs with.
    """
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if issuer not in issuers:
            raise Unverified("issuer")
        return jwt.decode(
            token,
            key_of(token, issuers[issuer]),
            algorithms=["RS256", "ES256"],
            audience=audiences,
            issuer=issuer,
            options={"require": ["exp", "iat", "sub"]},
        )
    except jwt.ExpiredSignatureError:
        raise Unverified("expired") from None
    except jwt.InvalidAudienceError:
        raise Unverified("audience") from None
    except jwt.PyJWTError:
        raise Unverified("token") from None


def key_of(token, key_set):
    wanted = jwt.get_unverified_header(token).get("kid")
    for key in jwt.PyJWKSet.from_dict(key_set).keys:
        if key.key_id == wanted:
            return key
    raise Unverified("key")


def self_signed(token, keys):
    """The claims of a token that one of these public keys has signed, which is that of its header if it names one.

    Times are the caller's to judge, who has rules of its own for them. Raises `jwt.PyJWTError`.
    """
    header = jwt.get_unverified_header(token)
    candidates = [key for name, key in keys.items() if header.get("kid") in (None, name)]
    unchecked = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    for key in candidates:
        try:
            return jwt.decode(token, key, algorithms=["RS256"], options=unchecked)
        except jwt.InvalidSignatureError:
            continue
    raise jwt.InvalidSignatureError("no key fits")


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key, form):
    """A private key as text, in a form of `PrivateFormat`."""
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


class Signer:
    """Signs tokens that look like those of the cloud."""

    def __init__(self):
        self.key = new_key()
        self.key_id = secrets.token_hex(8)

    def sign(self, claims, headers=None):
        now = int(time.time())
        claims = {"iat": now, "nbf": now, "jti": secrets.token_hex(16)} | claims
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.key_id} | (headers or {}))
