// Posts a text into a conversation by an incoming webhook.
//
// node notify.mjs http://127.0.0.1:8080/api/v1/hooks/TOKEN "the build is green"

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const ATTEMPTS_MAX = 5;

// Posts a text once, though it may take several attempts; the position that it got.
async function post(url, text) {
  // The id is the same in every attempt: the server stores it once.
  const body = JSON.stringify({ text, id: randomUUID() });
  const options = { method: "POST", headers: { "content-type": "application/json" }, body };
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    let [message, wait] = ["", 2 ** attempt];
    try {
      const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(10_000) });
      if (answer.ok) return (await answer.json()).position;
      message = `${answer.status} ${await answer.text()}`;
      // 429 and 5xx mean: not now. With everything else there is no use in trying again.
      if (answer.status !== 429 && answer.status < 500) throw new Refused(message);
      wait = Number(answer.headers.get("retry-after") ?? wait);
    } catch (error) {
      if (error instanceof Refused) throw error;
      message = error.message;
    }
    console.error(`attempt ${attempt} failed: ${message}`);
    if (attempt < ATTEMPTS_MAX) await sleep(wait * 1_000);
  }
  throw new Error("given up");
}

class Refused extends Error {}

const [url, text] = process.argv.slice(2);
if (text === undefined) {
  console.error("usage: notify.mjs URL TEXT");
  process.exit(2);
}
try {
  console.log(`stored at position ${await post(url, text)}`);
} catch (error) {
  console.error(`${error instanceof Refused ? "refused: " : ""}${error.message}`);
  process.exit(1);
}
