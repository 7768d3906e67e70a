"""What the emulated clouds share: a server on loopback, and the paths beginning with `/-/` by which tests steer it.

The only argument of a cloud is a file, which gets `host:port` once it listens.
"""

import json
import os
import sys
import threading
import time
import traceback

from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server


class Refusal(Exception):
    """What a cloud answers instead of what was asked for; the code is for the journal."""

    def __init__(self, code, status, body, headers=None):
        super().__init__(code)
        self.code = code
        self.response = json_response(body, status, headers)


class Cloud:
    """Paths and what answers at them, with a journal of calls and of tokens."""

    def __init__(self, lives):
        self.lock = threading.Lock()
        self.calls = []
        self.issued = []
        # How long each kind of token lives that is given out from now on, in seconds.
        self.lives = lives
        self.routes = []
        self.controls = {
            "calls": lambda _asked: self.calls,
            "issued": lambda _asked: self.issued,
            "life": self._set_life,
            "expire": self._expire,
        }

    def route(self, method, pattern, operation):
        """Lets a function answer what matches; it gets the request, the call to complete, and what was matched."""

        def add(function):
            self.routes.append((method, pattern, operation, function))
            return function

        return add

    def control(self, name):
        def add(function):
            self.controls[name] = function
            return function

        return add

    def give_out(self, kind, token, principal, **about):
        """Notes a token and returns how long it lives, in whole seconds."""
        now, life = time.time(), self.lives[kind]
        entry = {"kind": kind, "token": token, "at": now, "expires": now + life, "principal": principal}
        self.issued.append(entry | about)
        return int(life)

    def find(self, kind, token):
        """The entry of a token that was given out and has not expired."""
        for entry in self.issued:
            if entry["kind"] == kind and entry["token"] == token and entry["expires"] > time.time():
                return entry
        return None

    def serve(self):
        serve(self._answer)

    def _answer(self, request, body):
        if request.path.startswith("/-/"):
            return control(self.controls, request, body)
        for method, pattern, operation, function in self.routes:
            found = pattern.fullmatch(request.path)
            if found and method == request.method:
                return self._answer_call(operation, function, request, found)
        return json_response({"error": "not_found"}, 404)

    def _answer_call(self, operation, function, request, found):
        call = {"at": time.time(), "operation": operation, "principal": None, "error": None}
        self.calls.append(call)
        try:
            # One at a time: the tables are not made for threads.
            with self.lock:
                return function(request, call, *found.groups())
        except Refusal as refusal:
            call["error"] = refusal.code
            return refusal.response

    def _set_life(self, asked):
        assert asked["of"] in self.lives
        self.lives[asked["of"]] = asked["seconds"]

    def _expire(self, asked):
        entry = next(entry for entry in self.issued if entry["token"] == asked["token"])
        entry["expires"] = time.time()


def control(controls, request, body):
    """What tests set and read: JSON in, JSON out."""
    steer = controls.get(request.path.removeprefix("/-/"))
    return json_response(steer(json.loads(body or b"null")) if steer else None, 200 if steer else 404)


def json_response(value, status=200, headers=None):
    return Response(json.dumps(value), status, headers, content_type="application/json; charset=utf-8")


class Handler(WSGIRequestHandler):
    """Speaks HTTP/1.1, where a body may come in chunks, and prints only what goes wrong."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def serve(answer):
    """Serves until it is ended; `answer` gets each request and its body."""

    @Request.application
    def application(request):
        # Before anything reads the form, so that both are there.
        body = request.get_data(cache=True, parse_form_data=False)
        try:
            return answer(request, body)
        except Exception:
            traceback.print_exc()
            return Response(traceback.format_exc(limit=-1), 500)

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    address, file = f"127.0.0.1:{server.port}", sys.argv[1]
    # By a rename, so that nobody reads half of it.
    with open(file + ".new", "w", encoding="utf-8") as out:
        out.write(address)
    os.rename(file + ".new", file)
    server.serve_forever()
