// Answers every text that is sent to a bot in a direct conversation with the same text.
//
// MPIM_API_KEY=mpk_... node echo_bot.mjs http://127.0.0.1:8080
//
// The key needs the scopes READ and WRITE. The bot asks once a second which of its conversations moved (`sync`), and reads what is
// new there (`history`). What was said before it was started is not answered.

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const EVERY_MS = 1_000;
const [server, key] = [process.argv[2]?.replace(/\/$/, ""), process.env.MPIM_API_KEY];
if (!server || !key) {
  console.error("usage: MPIM_API_KEY=mpk_... node echo_bot.mjs URL");
  process.exit(1);
}

// A request of the protocol over HTTP: POST /api/v1/NAME.
async function ask(name, fields = {}) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  for (;;) {
    let wait = EVERY_MS;
    try {
      const options = { method: "POST", headers, body: JSON.stringify(fields), signal: AbortSignal.timeout(30_000) };
      const answer = await fetch(`${server}/api/v1/${name}`, options);
      if (answer.ok) return await answer.json();
      const refusal = await answer.text();
      // 429 and 5xx mean: not now. As everything that is sent bears an id, asking again does nothing twice.
      if (answer.status !== 429 && answer.status < 500) {
        console.error(`${name}: ${answer.status} ${refusal}`);
        process.exit(1);
      }
      wait = Number(answer.headers.get("retry-after") ?? 1) * 1_000;
    } catch (error) {
      console.error(`${name}: ${error.message}; trying again`);
    }
    await sleep(wait);
  }
}

// The conversations that moved since a cursor, and the next cursor.
async function moved(cursor) {
  const heads = [];
  let [page, next] = ["", undefined];
  do {
    const answer = await ask("sync", { cursor, page });
    heads.push(...(answer.heads ?? []));
    next ??= answer.cursor ?? "";
    page = answer.nextPage ?? "";
  } while (page);
  return [heads, next];
}

// The entries of a conversation after a position, to the end.
async function* entries(conversation, after) {
  for (;;) {
    const page = await ask("history", { conversation, after, limit: 100 });
    if (!page.entries?.length) return;
    yield* page.entries;
    after = page.entries.at(-1).position;
  }
}

// A UUID made from a name (version 8): the same name, the same UUID.
function uuid(name) {
  const bytes = createHash("sha256").update(name).digest().subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// Sends back a text that somebody else has written.
async function answer(me, conversation, entry) {
  const text = entry.content?.text?.body;
  if (entry.sender === me || text === undefined) return;
  // The id is made from the entry that is answered: however often this runs, it is answered once.
  const id = uuid(`echo:${conversation}:${entry.position}`);
  await ask("send", { conversation, id, content: { text: { body: text }, replyTo: entry.position } });
}

const me = (await ask("get_account")).user.id;
let [heads, cursor] = await moved("");
// Numbers of 64 bits are texts in JSON; those that are 0 are left out.
const done = new Map(heads.map((head) => [head.conversation.id, head.lastPosition ?? "0"]));
console.log("ready");
for (;;) {
  let next;
  [heads, next] = await moved(cursor);
  for (const { conversation } of heads) {
    // Two bots that answer each other would never end.
    if (conversation.kind !== "DIRECT" || conversation.peer.bot) continue;
    for await (const entry of entries(conversation.id, done.get(conversation.id) ?? "0")) {
      await answer(me, conversation.id, entry);
      done.set(conversation.id, entry.position);
    }
  }
  cursor = next;
  await sleep(EVERY_MS);
}
