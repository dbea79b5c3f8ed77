// Hears from the broker what has changed. Server-sent events are read by fetch, since an
// EventSource cannot show a token.

import { address, headers, problemOf } from "./api.js";

// The broker says something at least every 15 seconds; three times that is silence.
const silence = 45_000;
const soonest = 500;
const latest = 15_000;
// A browser has few connections to a broker for all of its tabs, and a broker few for one person:
// a tab that nobody has looked at for so long gives its own back.
const unseen = 30_000;

/**
 * follow calls heard with each event, state with {live, since, why} whenever that changes, and
 * refused where the broker does not know who asks (then it asks no more). It returns what stops
 * it.
 */
export function follow({ heard, state, refused }) {
  const stopped = new AbortController();
  let live, reason;
  const tell = (now, why = "") => {
    if (now === live && why === reason) return;
    live = now;
    reason = why;
    state({ live, since: new Date(), why });
  };
  run();
  return () => stopped.abort();

  async function run() {
    for (let wait = soonest; !stopped.signal.aborted; wait = Math.min(2 * wait, latest)) {
      if (document.hidden) {
        tell(false);
        await seen(stopped.signal);
        if (stopped.signal.aborted) return;
        wait = soonest;
      }
      let why = "";
      try {
        await listen(stopped.signal, (event) => {
          wait = soonest;
          tell(true);
          if (event) heard(event);
        });
      } catch (error) {
        if (error.status === 401) {
          tell(false);
          refused(error);
          return;
        }
        why = reasons[error.status] ?? "";
      }
      // A connection that ends is no news if the next one stands at once.
      if (wait > soonest || why) tell(false, why);
      if (!document.hidden) await pause(wait, stopped.signal);
    }
  }
}

const reasons = { 403: "you may not watch", 429: "too many tabs are open" };

async function listen(signal, heard) {
  const cut = new AbortController();
  const end = () => cut.abort();
  signal.addEventListener("abort", end, { once: true });
  let timer = setTimeout(end, silence);
  let left;
  const looked = () => {
    clearTimeout(left);
    if (document.hidden) left = setTimeout(end, unseen);
  };
  document.addEventListener("visibilitychange", looked);
  // A page that was left may be kept to be shown again, frozen, with a stream that no timer ends.
  addEventListener("pagehide", end);
  try {
    const response = await fetch(address("watch"), {
      headers: { ...headers(), Accept: "text/event-stream" }, signal: cut.signal, cache: "no-store", credentials: "omit",
    });
    if (!response.ok) throw await problemOf(response);
    const read = reader(heard);
    const stream = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await stream.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(end, silence);
      read(value);
    }
  } finally {
    clearTimeout(timer);
    clearTimeout(left);
    document.removeEventListener("visibilitychange", looked);
    removeEventListener("pagehide", end);
    signal.removeEventListener("abort", end);
  }
}

/** reader takes a stream in pieces and calls heard with the data of each event; with nothing for a comment. */
export function reader(heard) {
  let rest = "";
  let data = [];
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
      else if (line.startsWith(":")) heard(null);
      else if (line === "" && data.length > 0) {
        heard(JSON.parse(data.join("\n")));
        data = [];
      }
    }
  };
}

/** seen waits until somebody looks at the page. */
function seen(signal) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      done.abort();
      resolve();
    };
    document.addEventListener("visibilitychange", look, { signal: done.signal });
    signal.addEventListener("abort", look, { signal: done.signal });
    look();
  });
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
