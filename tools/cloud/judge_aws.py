"""The official SDK, as the judge of the emulated AWS: botocore signs and reads.

Reads one step a line from standard input, as JSON, and prints one line of JSON for each:

- `{"mint": …}` is a web identity, see `judging.py`;
- anything else is a call. It names `service`, `region`, `operation` and `params`, and either `endpoint` and `keys`, or
  `env`, where the SDK finds them. It may do wrong: `tamper` changes headers after they were signed and `body` the
  body, `unsigned` leaves headers out of the signature, `claim` adds some, `skew` signs for another time, by seconds,
  and `scope` for another service.
  After `patience`, in seconds, it waits no longer for an answer.
"""

import datetime
import json
import os
import sys

import botocore.auth
import botocore.loaders
import botocore.session
import botocore.utils
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from judging import mint

# Reading the models of services takes longer than all calls.
LOADER = botocore.loaders.create_loader()
# A refusal is what is asked for here, so waiting before asking again is in vain.
botocore.utils.ContainerMetadataFetcher.SLEEP_TIME = 0
NOW = botocore.auth.get_current_datetime


def call(step):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}, **step.get("env", {}))
    skew = datetime.timedelta(seconds=step.get("skew", 0))
    botocore.auth.get_current_datetime = lambda *arguments, **options: NOW(*arguments, **options) + skew
    try:
        client = client_of(step)
        misbehave(client.meta.events, step)
        answer = getattr(client, step["operation"])(**step.get("params", {}))
        answer.pop("ResponseMetadata")
        return {"ok": answer}
    except ClientError as error:
        response = error.response
        return {
            "error": response["Error"].get("Code"),
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            "headers": response["ResponseMetadata"]["HTTPHeaders"],
        }
    except (BotoCoreError, ValueError, KeyError) as error:
        return {"exception": type(error).__name__, "text": str(error)}


def client_of(step):
    session = botocore.session.Session()
    session.register_component("data_loader", LOADER)
    keys = step.get("keys", {})
    return session.create_client(
        step["service"],
        region_name=step.get("region", "eu-central-1"),
        endpoint_url=step.get("endpoint"),
        aws_access_key_id=keys.get("access_key_id"),
        aws_secret_access_key=keys.get("secret_key"),
        aws_session_token=keys.get("session_token"),
        config=Config(retries={"total_max_attempts": 1}, read_timeout=step.get("patience", 60)),
    )


def misbehave(events, step):
    left_out = {}

    def before_sign(request, **_):
        for name, value in step.get("claim", {}).items():
            request.headers[name] = value
        if "scope" in step:
            request.context.setdefault("signing", {})["signing_name"] = step["scope"]
        for name in step.get("unsigned", []):
            left_out[name] = request.headers[name]
            del request.headers[name]

    def before_send(request, **_):
        for name, value in {**left_out, **step.get("tamper", {})}.items():
            request.headers.pop(name, None)
            if value is not None:
                request.headers[name] = value
        if "body" in step:
            request.body = step["body"].encode()
            request.headers["Content-Length"] = str(len(request.body))

    events.register("before-sign", before_sign)
    events.register("before-send", before_send)


def main():
    for line in sys.stdin:
        step = json.loads(line)
        result = mint(step["mint"]) if "mint" in step else call(step)
        print(json.dumps(result, default=lambda value: value.timestamp()), flush=True)


if __name__ == "__main__":
    main()
