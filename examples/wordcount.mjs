// A task in JavaScript: counts the words of a text, sent as the request's body.
import { createInterface } from "node:readline";

const count = (text) => {
  const words = new Map();
  for (const word of text.toLowerCase().match(/\p{L}+/gu) ?? []) words.set(word, (words.get(word) ?? 0) + 1);
  return Object.fromEntries([...words].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)));
};

console.log('{"ready":true}');
for await (const line of createInterface({ input: process.stdin })) {
  const { id, payload_base64 = "" } = JSON.parse(line);
  console.log(JSON.stringify({ id, result: count(Buffer.from(payload_base64, "base64").toString()) }));
}
