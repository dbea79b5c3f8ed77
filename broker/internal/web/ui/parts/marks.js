// Letters, patterns and colours: what each stands for, everywhere on the page. No meaning
// is in a colour alone.

import { h } from "./dom.js";
import { count } from "./format.js";

/** uses of a unit, in the order of bars. Together they are the capacity. */
export const uses = [
  { id: "own", letter: "O", title: "own" },
  { id: "lent", letter: "L", title: "lent" },
  { id: "free", letter: "F", title: "free" },
  { id: "broken", letter: "X", title: "broken" },
];

/** bar is a row of parts, {id, letter, title, n}, as wide as their share of the whole. */
export function bar(label, parts, whole) {
  const shown = parts.filter((p) => p.n > 0);
  const text = shown.map((p) => `${p.title} ${count(p.n)}`).join(", ") || "nothing";
  const rest = Math.max(0, whole - shown.reduce((sum, p) => sum + p.n, 0));
  return h("div", { class: "bar", role: "img", "aria-label": `${label}: ${text}, of ${count(whole)}` },
    shown.map((p) => h("span", { class: `part ${p.id}`, title: `${p.title}: ${count(p.n)} of ${count(whole)}`, style: { "flex-grow": String(p.n) } },
      h("b", {}, p.letter), h("i", {}, count(p.n)))),
    rest > 0 && h("span", { class: "part rest", style: { "flex-grow": String(rest) } }));
}

/** legend explains patterns. */
export const legend = (parts) => h("ul", { class: "legend" }, parts.map((p) =>
  h("li", {}, h("span", { class: `swatch ${p.id}`, "aria-hidden": "true" }, p.letter), p.title)));

/** states of a loan, by the broker's word for each. */
export const states = {
  Pending: { id: "pending", letter: "+", title: "Pending" },
  Active: { id: "lent", letter: "L", title: "Active" },
  Shedding: { id: "asked", letter: "s", title: "Shedding" },
  Reclaiming: { id: "asked", letter: "r", title: "Reclaiming" },
  Quarantined: { id: "broken", letter: "!", title: "Quarantined" },
  Returned: { id: "free", letter: "x", title: "Returned" },
};

/** state is a loan's state as a mark and a word. */
export function state(name) {
  const known = states[name] ?? { id: "free", letter: "?", title: name || "unknown" };
  return h("span", { class: "state" }, h("span", { class: `swatch ${known.id}`, "aria-hidden": "true" }, known.letter), known.title);
}

/** tag is a short word about a thing, such as paused. */
export const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);

/** ends of a loan, by the mark that the timeline has for each. */
export const ends = {
  x: "returned", "]": "ended by itself", p: "taken by the scheduler", "!": "lost", ">": "runs on",
};
