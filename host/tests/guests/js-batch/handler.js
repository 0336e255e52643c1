// Counts the words of each batch; `throw` and `reject` in a message fail it, `fail` the batch, and `trap` traps.
import { Reject, Reply, bytesOf, failures, textOf } from "../../../../guest-sdk/javascript/shardwright-guest.js";

// The text of a batch of one message.
const only = (batch) => (batch.dataEnds.length === 1 ? textOf(batch.data) : undefined);

const count = failures((batch) => {
  if (only(batch) === "fail") throw new RangeError("the whole batch failed");
  const reply = new Reply(batch);
  const counts = new Map();
  reply.each(batch, (message) => {
    const text = textOf(message.data);
    if (text === "throw") throw new TypeError(`thrown for ${message.key} ${message.sequenceNumber}`);
    if (text === "reject") throw new Reject("never");
    for (const word of text.split(/\s+/)) {
      if (word !== "") counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  });
  for (const [word, n] of counts) {
    reply.emit(null, bytesOf(JSON.stringify({ word, count: n })), { key: word });
  }
  return reply.finish();
});

export const batchHandler = {
  handle(batch) {
    if (only(batch) === "trap") throw new Error("thrown around the wrapper");
    return count(batch);
  },
};
