// What the views have in common: titles, facts, notes and problems.

import { fill, h } from "./dom.js";

/** heading of a view, with what stands beside it. */
export const heading = (title, ...beside) => h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), ...beside);

/** facts is a list of names and values; those without a value are left out. */
export const facts = (...pairs) => h("dl", { class: "facts" }, pairs
  .filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
  .map(([name, value, wide]) => h("div", { class: wide ? "wide" : null }, h("dt", {}, name), h("dd", {}, value))));

/** stat is one large number. */
export const stat = (title, value, note) => h("div", { class: "stat" },
  h("dt", {}, title), h("dd", { class: "big" }, value), h("dd", { class: "soft" }, note ?? ""));

/** card is a part of a view with a title. */
export const card = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), ...content);

/** notice says what is wrong with a part of the page. */
export const notice = (title, text, kind = "") => h("div", { class: `notice ${kind}` },
  h("p", {}, h("strong", {}, title)), text && h("p", {}, text));

/** problems shows what could not be read; each once, though several parts asked. */
export function problems(root, found) {
  const seen = new Set();
  const distinct = Object.values(found).filter((p) => !seen.has(p.message) && seen.add(p.message));
  fill(root, distinct.map((p) => notice(p.message, p.advice, p.status === 403 ? "" : "bad")));
}

/** waitingFor is what a part shows until it has been read. */
export const waitingFor = (what) => h("p", { class: "soft loading" }, `Reading ${what} …`);
