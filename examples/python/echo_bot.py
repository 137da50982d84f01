#!/usr/bin/env python3
"""Answers every text that is sent to a bot in a direct conversation with the same text.

MPIM_API_KEY=mpk_... python3 echo_bot.py http://127.0.0.1:8080

The key needs the scopes READ and WRITE. The bot asks once a second which of its conversations moved (`sync`), and reads what is
new there (`history`). What was said before it was started is not answered.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

EVERY_SECONDS = 1.0


class Refused(Exception):
    """The server refused for good: asking again would not help."""


class Server:
    """Requests of the protocol over HTTP: POST /api/v1/NAME."""

    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/"), key

    def ask(self, name, **fields):
        request = urllib.request.Request(
            f"{self.url}/api/v1/{name}",
            data=json.dumps(fields).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                # 429 and 5xx mean: not now. As everything that is sent bears an id, asking again does nothing twice.
                if error.code != 429 and error.code < 500:
                    raise Refused(f"{name}: {error.code} {error.read().decode()}") from None
                time.sleep(float(error.headers.get("Retry-After", EVERY_SECONDS)))
            except OSError as error:
                print(f"{name}: {error}; trying again", file=sys.stderr)
                time.sleep(EVERY_SECONDS)

    def moved(self, cursor):
        """The conversations that moved since the cursor, and the next cursor."""
        heads, page, next_cursor = [], "", None
        while True:
            answer = self.ask("sync", cursor=cursor, page=page)
            heads += answer.get("heads", [])
            next_cursor = next_cursor or answer.get("cursor", "")
            page = answer.get("nextPage", "")
            if not page:
                return heads, next_cursor

    def entries(self, conversation, after):
        """The entries of a conversation after a position, to the end."""
        while True:
            page = self.ask("history", conversation=conversation, after=str(after), limit=100)
            entries = page.get("entries", [])
            if not entries:
                return
            yield from entries
            after = int(entries[-1]["position"])


def answer(server, me, conversation, entry):
    """Sends back a text that somebody else has written."""
    text = entry.get("content", {}).get("text", {}).get("body")
    if entry["sender"] == me or text is None:
        return
    # Made from the entry that is answered: however often this runs, it is answered once.
    name = f"echo:{conversation}:{entry['position']}"
    server.ask(
        "send",
        conversation=conversation,
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        content={"text": {"body": text}, "replyTo": entry["position"]},
    )


def main():
    key = os.environ.get("MPIM_API_KEY")
    if len(sys.argv) != 2 or not key:
        sys.exit("usage: MPIM_API_KEY=mpk_... echo_bot.py URL")
    server = Server(sys.argv[1], key)
    me = server.ask("get_account")["user"]["id"]
    heads, cursor = server.moved("")
    # Numbers of 64 bits are texts in JSON; those that are 0 are left out.
    done = {head["conversation"]["id"]: int(head.get("lastPosition", "0")) for head in heads}
    print("ready", flush=True)
    while True:
        heads, next_cursor = server.moved(cursor)
        for head in heads:
            conversation = head["conversation"]
            # Two bots that answer each other would never end.
            if conversation["kind"] != "DIRECT" or conversation["peer"].get("bot"):
                continue
            for entry in server.entries(conversation["id"], done.get(conversation["id"], 0)):
                answer(server, me, conversation["id"], entry)
                done[conversation["id"]] = int(entry["position"])
        cursor = next_cursor
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
