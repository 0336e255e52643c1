// Shardwright stream handlers in JavaScript: what is thrown becomes a verdict instead of a trap.
//
// `failures` wraps the `handle` of a message-handler; `messages` and `Reply` are what a batch-handler needs.

const WHOLE_CALL = 0xffffffff;

/** Permanent: trying again cannot help. The message goes to the dead-letter sink. */
export class Reject extends Error {}

/** Transient: try the message again, no sooner than after `afterMs` milliseconds where that is given. */
export class Retry extends Error {
  constructor(reason, afterMs) {
    super(reason);
    this.afterMs = afterMs;
  }
}

/** The failure that a thrown value stands for: `Reject` rejects, and everything else is tried again. */
export function failureOf(thrown) {
  if (thrown?.tag === "retry" || thrown?.tag === "reject") return thrown;
  if (thrown instanceof Reject) return { tag: "reject", val: thrown.message };
  const reason = thrown instanceof Retry ? thrown.message : String(thrown);
  return { tag: "retry", val: { afterMs: thrown?.afterMs, reason } };
}

/** Wraps a `handle` or `flush` so that what it throws fails the call instead of trapping. */
export function failures(handle) {
  return (argument) => {
    try {
      return handle(argument);
    } catch (thrown) {
      throw failureOf(thrown);
    }
  };
}

/** The messages of a batch, in order. What `describe` did not ask for is empty or undefined. */
export function* messages(batch) {
  const data = new Column(batch.data, batch.dataEnds);
  const keys = new Column(batch.keys, batch.keyEnds);
  const sequenceNumbers = new Column(batch.sequenceNumbers, batch.sequenceNumberEnds);
  for (let index = 0; index < batch.dataEnds.length; index++) {
    yield {
      index,
      data: data.next(),
      key: textOf(keys.next()),
      sequenceNumber: textOf(sequenceNumbers.next()),
      subSequenceNumber: batch.subSequenceNumbers[index],
      arrivalTime: batch.arrivalTimes[index],
    };
  }
}

/** Collects what a call answers. A message of which nothing is said is acked. */
export class Reply {
  #messages;
  #failures = new Map();
  #holds = [];
  #releases = [];
  #data = new Bytes();
  #dataEnds = [];
  #keys = new Bytes();
  #keyEnds = [];
  #sources = [];
  #outputs = [];
  #outputNames = [];

  constructor(batch) {
    this.#messages = batch ? batch.dataEnds.length : 0;
  }

  /**
   * Emits from a message, from what `release` returned, or, with null, from the whole call.
   * Without a key it goes under that of its source.
   */
  emit(source, data, { key = "", output = "default" } = {}) {
    this.#dataEnds.push(this.#data.append(data));
    this.#keyEnds.push(this.#keys.append(bytesOf(key)));
    this.#sources.push(source === null ? WHOLE_CALL : (source.index ?? source));
    if (!this.#outputNames.includes(output)) this.#outputNames.push(output);
    this.#outputs.push(this.#outputNames.indexOf(output));
  }

  /** Fails one message; its first failure counts. */
  fail(message, thrown) {
    if (!this.#failures.has(message.index)) this.#failures.set(message.index, failureOf(thrown));
  }

  /** Handles the messages of a batch one by one; what is thrown fails that message, and the batch goes on. */
  each(batch, handle) {
    for (const message of messages(batch)) {
      try {
        handle(message);
      } catch (thrown) {
        this.fail(message, thrown);
      }
    }
    return this;
  }

  /** Keeps a message un-acked past this call, under a name (a BigInt) that is unique among those held. */
  hold(message, id) {
    this.#holds.push({ index: message.index, id });
  }

  /** Settles a message that an earlier call held, and returns it as a source of emissions. */
  release(id, thrown) {
    this.#releases.push({ id, failure: thrown === undefined ? undefined : failureOf(thrown) });
    return this.#messages + this.#releases.length - 1;
  }

  /** The reply as the contract wants it. */
  finish() {
    return {
      failures: [...this.#failures].map(([index, failure]) => ({ index, failure })),
      holds: this.#holds,
      releases: this.#releases,
      emissions: {
        data: this.#data.bytes(),
        dataEnds: this.#dataEnds,
        keys: this.#keys.bytes(),
        keyEnds: this.#keyEnds,
        // A plain array would turn the whole call's number into 2147483647 on its way out.
        sources: Uint32Array.from(this.#sources),
        outputs: this.#outputs,
        outputNames: this.#outputNames,
      },
    };
  }
}

/** UTF-8 to text: QuickJS has no TextDecoder. */
export function textOf(bytes) {
  let escaped = "";
  for (const byte of bytes) {
    // A plain letter or digit needs no escape, and most bytes are one.
    const plain = (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);
    escaped += plain ? String.fromCharCode(byte) : "%" + byte.toString(16).padStart(2, "0");
  }
  return decodeURIComponent(escaped);
}

/** Text to UTF-8: QuickJS has no TextEncoder. */
export function bytesOf(text) {
  const escaped = encodeURIComponent(text);
  const bytes = [];
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] === "%") {
      bytes.push(parseInt(escaped.slice(i + 1, i + 3), 16));
      i += 2;
    } else {
      bytes.push(escaped.charCodeAt(i));
    }
  }
  return Uint8Array.from(bytes);
}

class Column {
  #bytes;
  #ends;
  #next = 0;
  #start = 0;

  constructor(bytes, ends) {
    this.#bytes = bytes;
    this.#ends = ends;
  }

  next() {
    if (this.#next === this.#ends.length) return this.#bytes.subarray(0, 0);
    const start = this.#start;
    this.#start = this.#ends[this.#next++];
    return this.#bytes.subarray(start, this.#start);
  }
}

class Bytes {
  #buffer = new Uint8Array(1024);
  #length = 0;

  append(bytes) {
    const length = this.#length + bytes.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = length;
    return length;
  }

  bytes() {
    return this.#buffer.slice(0, this.#length);
  }
}
