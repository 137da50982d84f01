// Receives what an outgoing webhook posts, checks that it comes from the server, and prints it.
//
// MPIM_WEBHOOK_SECRET=whsec_... node webhook_receiver.mjs [PORT]

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// A request that is older was perhaps recorded by somebody, who sends it again.
const AGE_SECONDS_MAX = 300;
const BODY_BYTES_MAX = 1024 * 1024;
// Deliveries that are remembered, to pass over those that come twice.
const SEEN_MAX = 10_000;

if (!process.env.MPIM_WEBHOOK_SECRET) {
  console.error("usage: MPIM_WEBHOOK_SECRET=whsec_... node webhook_receiver.mjs [PORT]");
  process.exit(1);
}
const secret = Buffer.from(process.env.MPIM_WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set();

// Whether a body was signed with the secret, of late.
function isGenuine(headers, body) {
  const [id, timestamp] = [headers["webhook-id"] ?? "", headers["webhook-timestamp"] ?? ""];
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1_000 - Number(timestamp)) > AGE_SECONDS_MAX) return false;
  const mac = createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${mac}`);
  // There may be several, apart by spaces; compared in a time that tells nothing.
  const given = (headers["webhook-signature"] ?? "").split(" ").map((signature) => Buffer.from(signature));
  return given.some((signature) => signature.length === expected.length && timingSafeEqual(signature, expected));
}

// Whether a delivery has not come before.
function isNew(id) {
  if (seen.has(id)) return false;
  seen.add(id);
  // A set keeps the order in which it grew.
  if (seen.size > SEEN_MAX) seen.delete(seen.values().next().value);
  return true;
}

// What one would do with a delivery.
function show({ from, entry }) {
  const text = entry.content.text?.body ?? JSON.stringify(entry.content);
  console.log(`${from.name ?? entry.sender}: ${text}`);
}

// A request's body; undefined if it is too long.
async function read(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

const server = createServer(async (request, response) => {
  try {
    const body = await read(request);
    if (body === undefined) return response.writeHead(413, { connection: "close" }).end();
    if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
    if (isNew(request.headers["webhook-id"])) show(JSON.parse(body));
    response.writeHead(204).end();
  } catch (error) {
    console.error(error.message);
    response.destroy();
  }
});
server.listen(Number(process.argv[2] ?? 8090), "127.0.0.1", () => {
  console.log(`listening http://127.0.0.1:${server.address().port}/`);
});
