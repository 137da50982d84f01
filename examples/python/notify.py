#!/usr/bin/env python3
"""Posts a text into a conversation by an incoming webhook.

python3 notify.py http://127.0.0.1:8080/api/v1/hooks/TOKEN "the build is green"
"""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid

ATTEMPTS_MAX = 5


def post(url, text):
    """Posts the text once, though it may take several attempts; the position that it got."""
    # The same in every attempt: the server stores it once.
    body = json.dumps({"text": text, "id": str(uuid.uuid4())}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["position"]
        except urllib.error.HTTPError as error:
            message = f"{error.code} {error.read().decode()}"
            # 429 and 5xx mean: not now. With everything else there is no use in trying again.
            if error.code != 429 and error.code < 500:
                sys.exit(f"refused: {message}")
            wait = float(error.headers.get("Retry-After", 2**attempt))
        except OSError as error:
            message, wait = str(error), 2**attempt
        print(f"attempt {attempt} failed: {message}", file=sys.stderr)
        if attempt < ATTEMPTS_MAX:
            time.sleep(wait)
    sys.exit("given up")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: notify.py URL TEXT")
    print(f"stored at position {post(sys.argv[1], sys.argv[2])}")
