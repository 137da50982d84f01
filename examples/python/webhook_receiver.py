#!/usr/bin/env python3
"""Receives what an outgoing webhook posts, checks that it comes from the server, and prints it.

MPIM_WEBHOOK_SECRET=whsec_... python3 webhook_receiver.py [PORT]
"""

import base64
import collections
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

# A request that is older was perhaps recorded by somebody, who sends it again.
AGE_SECONDS_MAX = 300
BODY_BYTES_MAX = 1024 * 1024
# Deliveries that are remembered, to pass over those that come twice.
SEEN_MAX = 10_000

if not os.environ.get("MPIM_WEBHOOK_SECRET"):
    sys.exit("usage: MPIM_WEBHOOK_SECRET=whsec_... webhook_receiver.py [PORT]")
SECRET = base64.b64decode(os.environ["MPIM_WEBHOOK_SECRET"].removeprefix("whsec_"))
seen = collections.OrderedDict()


def is_genuine(headers, body):
    """Whether the body was signed with the secret, of late."""
    identifier, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > AGE_SECONDS_MAX:
        return False
    signed = f"{identifier}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    # There may be several, apart by spaces; compared in a time that tells nothing.
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in given)


def is_new(identifier):
    """Whether a delivery has not come before."""
    if identifier in seen:
        return False
    seen[identifier] = True
    while len(seen) > SEEN_MAX:
        seen.popitem(last=False)
    return True


def show(delivery):
    """What one would do with a delivery."""
    sender, entry = delivery["from"].get("name", delivery["entry"]["sender"]), delivery["entry"]
    text = entry["content"].get("text", {}).get("body")
    print(f"{sender}: {text if text is not None else json.dumps(entry['content'])}", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    # Connections are kept between deliveries.
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers, body):
            return self.answer(401)
        if is_new(self.headers["webhook-id"]):
            show(json.loads(body))
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing is logged."""


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
