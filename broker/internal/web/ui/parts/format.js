// How numbers, times and names are written. What is not known is written so, and never as 0.

import { h } from "./dom.js";

export const unknown = "unknown";
export const none = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });

const isNumber = (n) => typeof n === "number" && Number.isFinite(n);

export const count = (n) => (isNumber(n) ? whole.format(n) : none);
/** hours, to a tenth: 312.4. */
export const hours = (n) => (isNumber(n) ? tenth.format(n) : none);
/** billed hours have three places, as in statements. */
export const billed = (n) => exact.format(n ?? 0);
/** share of 1 as a percentage; below 0 it is not known. */
export const percent = (n) => (isNumber(n) && n >= 0 ? `${whole.format(n * 100)} %` : unknown);

/** plural: 1 loan, 2 loans. */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** span shows seconds in the coarsest form that still says something: 41s, 12m, 3h20m, 2d4h. */
export function span(seconds) {
  if (!isNumber(seconds)) return none;
  const n = Math.max(0, Math.round(seconds));
  if (n < 60) return `${n}s`;
  const minutes = Math.floor(n / 60);
  if (minutes < 10) return n % 60 ? `${minutes}m${n % 60}s` : `${minutes}m`;
  if (minutes < 60) return `${minutes}m`;
  const h = Math.floor(minutes / 60);
  if (h < 24) return minutes % 60 ? `${h}h${minutes % 60}m` : `${h}h`;
  const days = Math.floor(h / 24);
  return days < 10 && h % 24 ? `${days}d${h % 24}h` : `${days}d`;
}

/** latency shows a short time to the tenth. */
export const latency = (seconds) => (isNumber(seconds) && seconds < 120 ? `${tenth.format(Math.max(0, seconds))} s` : span(seconds));

/** at reads a time; undefined if there is none. The zero time of the broker is none. */
export function at(text) {
  if (!text || text.startsWith("0001-")) return undefined;
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

const two = (n) => String(n).padStart(2, "0");
export const dayOf = (t) => `${t.getUTCFullYear()}-${two(t.getUTCMonth() + 1)}-${two(t.getUTCDate())}`;
export const clockOf = (t, seconds = true) =>
  `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}${seconds ? `:${two(t.getUTCSeconds())}` : ""}`;

/** localOf is a time as this machine's clock has it, for whoever points at one in UTC. */
export const localOf = (t) => `${local.format(t)} here`;

// Made once: making one takes longer than a row of a table.
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

/** time is a moment in UTC: the clock alone on the day of `now`, with the date otherwise. */
export function time(text, now = new Date(), seconds = true) {
  const t = text instanceof Date ? text : at(text);
  if (!t) return document.createTextNode(none);
  const shown = dayOf(t) === dayOf(now) ? clockOf(t, seconds) : `${dayOf(t)} ${clockOf(t, false)}`;
  return h("time", { datetime: t.toISOString(), title: localOf(t) }, `${shown}Z`);
}

/** age is how long ago a moment was; the moment itself is to be seen by pointing at it. */
export function age(text, now = new Date()) {
  const t = text instanceof Date ? text : at(text);
  if (!t) return document.createTextNode(none);
  return h("time", { datetime: t.toISOString(), title: `${dayOf(t)} ${clockOf(t)} UTC, ${localOf(t)}` }, span((now - t) / 1000));
}

/** words splits a reason: NoRoomForGang is "no room for gang". */
export const words = (reason) =>
  (reason ?? "").replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[A-Z](?=[a-z])/g, (c) => c.toLowerCase());
