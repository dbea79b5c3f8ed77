// What a view has read, and reads again when the broker says that it changed.

import { Problem } from "../api.js";

// Nothing is read again sooner than this after the last time, however often it changes.
const between = 1000;
// Nor while somebody scrolls: reading ten thousand rows takes longer than a frame.
const calm = 150;

let scrolled = 0;
addEventListener("scroll", () => (scrolled = performance.now()), { capture: true, passive: true });

/**
 * Feed reads the sources of one view: {name: {load(signal), on: [what changes it]}}. draw is
 * called with all that is known, {name: answer}, and the problems, {name: Problem}.
 */
export class Feed {
  constructor(sources, draw) {
    this.sources = sources;
    this.draw = draw;
    this.data = {};
    this.problems = {};
    this.dirty = new Set(Object.keys(sources));
    this.ended = new AbortController();
    this.last = 0;
  }

  /** changed says what the broker said has changed: lenders, queue, loans, ledger. */
  changed(what) {
    for (const [name, source] of Object.entries(this.sources)) {
      if (source.on.some((cause) => what.includes(cause))) this.dirty.add(name);
    }
    this.soon();
  }

  /** again reads everything anew, after something about the sources changed. */
  again() {
    for (const name of Object.keys(this.sources)) this.dirty.add(name);
    this.last = 0;
    return this.read();
  }

  soon() {
    if (this.timer || this.ended.signal.aborted || this.dirty.size === 0) return;
    const now = performance.now();
    const wait = Math.max(this.last + between - now, scrolled + calm - now, document.hidden ? between : 0, 0);
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (document.hidden || performance.now() < scrolled + calm) this.soon();
      else this.read();
    }, wait);
  }

  async read() {
    if (this.reading) return this.reading;
    const names = [...this.dirty];
    this.dirty.clear();
    this.last = performance.now();
    this.reading = Promise.all(names.map((name) => this.one(name)));
    await this.reading;
    this.reading = null;
    if (this.ended.signal.aborted) return;
    this.draw(this.data, this.problems);
    if (this.dirty.size > 0) this.soon();
  }

  async one(name) {
    try {
      this.data[name] = await this.sources[name].load(this.ended.signal);
      delete this.problems[name];
    } catch (error) {
      if (this.ended.signal.aborted) return;
      this.problems[name] = error instanceof Problem ? error : new Problem(0, `The answer cannot be read: ${error.message}`, "");
      // What cannot be read for now is read again when anything changes, or after a while.
      if (this.problems[name].status !== 403 && this.problems[name].status !== 404) this.retry(name);
    }
  }

  retry(name) {
    setTimeout(() => {
      this.dirty.add(name);
      this.soon();
    }, 5000);
  }

  end() {
    this.ended.abort();
    clearTimeout(this.timer);
  }
}
