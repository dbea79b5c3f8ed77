// The nodes: who has their units, and how each card in MIG mode is cut.

import { count, plural } from "../parts/format.js";
import { strip } from "../parts/cards.js";
import { list } from "../parts/list.js";
import { bar, legend, tag, uses } from "../parts/marks.js";
import { links } from "../parts/route.js";
import { h } from "../parts/dom.js";

const units = (node) => node.units ?? [];
const total = (node, of) => units(node).reduce((sum, u) => sum + (u[of] ?? 0), 0);

/** notes on a node, as tags. */
export const notes = (node) => [
  node.silent ? tag("silent", "bad") : node.schedulable === false && tag("cordoned", "warm"),
  node.unlendable && tag("not lendable"),
  (node.reshapes ?? []).length > 0 && tag("changing", "warm"),
  node.part && tag("part"),
];

/** unitsBar is a bar for each flavor of a node; of a part of one, what concerns the caller. */
export function unitsBar(node) {
  return h("span", { class: units(node).length > 1 ? "stackbars several" : "stackbars" }, units(node).map((u) => (node.part
    ? bar(u.flavor, [
      { id: "lent", letter: "L", title: "lent by your services", n: u.lent ?? 0 },
      { id: "borrowed", letter: "B", title: "borrowed by your jobs", n: u.borrowed ?? 0 },
      { id: "own", letter: "T", title: "your training on own quota", n: u.training ?? 0 },
    ], (u.lent ?? 0) + (u.borrowed ?? 0) + (u.training ?? 0))
    : bar(u.flavor, uses.map((use) => ({ ...use, n: u[use.id] ?? 0 })), u.capacity))));
}

const columns = [
  { id: "name", title: "Node", cell: (n) => n.name, sort: (n) => n.name },
  { id: "flavors", title: "Flavors", width: 140, tier: 4, cell: (n) => units(n).map((u) => u.flavor).join(", "), sort: (n) => units(n)[0]?.flavor },
  { id: "units", title: "Units", width: 220, cell: unitsBar, sort: (n) => total(n, "capacity") },
  { id: "cards", title: "Cards", width: 160, tier: 3, cell: (n) => h("span", { class: "strips" }, (n.cards ?? []).map(strip)) },
  { id: "lent", title: "Lent", num: true, width: 60, tier: 2, cell: (n) => count(total(n, "lent")), sort: (n) => total(n, "lent") },
  { id: "free", title: "Free", num: true, width: 60, tier: 2, cell: (n) => count(total(n, "free")), sort: (n) => total(n, "free") },
  { id: "broken", title: "Broken", num: true, width: 72, tier: 3, cell: (n) => count(total(n, "broken")), sort: (n) => total(n, "broken") },
  { id: "state", title: "State", width: 130, tier: 2, cell: (n) => h("span", {}, notes(n).some(Boolean) ? notes(n).filter(Boolean) : "ready"), sort: (n) => (n.silent ? 2 : n.schedulable === false ? 1 : 0) },
];

const stateOf = (n) => (n.silent ? "silent" : n.schedulable === false ? "cordoned" : "ready");

export const nodes = list({
  title: "Nodes", field: "nodes", on: ["loans", "lenders"], columns, key: (n) => n.name, href: (n) => links.node(n.name),
  hint: "name, product", empty: "No node has units of yours that passes the filters.",
  choices: [
    { id: "flavor", label: "Flavor", of: (n) => units(n).map((u) => u.flavor) },
    { id: "state", label: "State", of: stateOf },
  ],
  texts: (n) => [n.name, n.unlendable, ...units(n).map((u) => u.flavor), ...(n.cards ?? []).flatMap((c) => [c.board, c.uuid])],
  noun: "node", tally: (rows) => `${plural(rows.reduce((sum, n) => sum + total(n, "lent"), 0), "unit")} lent, ${count(rows.reduce((sum, n) => sum + total(n, "free"), 0))} free`,
  beside: (who) => [who.all && legend(uses)],
});
