// Upper-cases each message; `throw` throws through the wrapper, `reject` rejects, and `trap` throws around it.
import { Reject, Retry, bytesOf, failures, textOf } from "../../../../guest-sdk/javascript/shardwright-guest.js";

const upper = failures((message) => {
  const text = textOf(message.data);
  switch (text) {
    case "throw":
      throw new TypeError("thrown in the handler");
    case "retry":
      throw new Retry("not yet", 250);
    case "reject":
      throw new Reject("never");
    case "key":
      return [{ data: bytesOf("KEY"), key: "own", output: "late" }];
  }
  return [{ data: bytesOf(text.toUpperCase()) }];
});

export const messageHandler = {
  handle(message) {
    if (textOf(message.data) === "trap") throw new Error("thrown around the wrapper");
    return upper(message);
  },
};
