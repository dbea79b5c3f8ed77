// The services that lend: their load between the marks, what they need, and what they lend.

import { count, percent, words } from "../parts/format.js";
import { list } from "../parts/list.js";
import { bar, legend, tag } from "../parts/marks.js";
import { links } from "../parts/route.js";
import { h } from "../parts/dom.js";

/** gauge is a load between its water marks; the number stands beside it. */
export function gauge(l) {
  const known = l.utilization >= 0;
  const at = (share) => `${Math.min(100, Math.max(0, share * 100))}%`;
  const side = !known ? "?" : l.utilization >= l.highWater ? "▲" : l.utilization < l.lowWater ? "▼" : "◆";
  const text = !known ? "load unknown" : `load ${percent(l.utilization)}, ${side === "▲" ? "above high water" : side === "▼" ? "below low water" : "between the marks"}`;
  return h("span", { class: "gauge", role: "img", "aria-label": text, title: `${text}; low water ${percent(l.lowWater)}, high water ${percent(l.highWater)}` },
    h("span", { class: "scale" },
      h("span", { class: "fill", style: { width: known ? at(l.utilization) : "0%" } }),
      l.lowWater !== undefined && h("span", { class: "low", style: { left: at(l.lowWater) } }),
      l.highWater !== undefined && h("span", { class: "high", style: { left: at(l.highWater) } })),
    h("span", { class: "num" }, known ? `${percent(l.utilization)} ${side}` : "unknown"));
}

/** shares of what a lender owns. What it holds beyond its need and headroom is not lent yet. */
export function shares(l) {
  const need = Math.min(l.need, l.owned);
  const headroom = Math.max(0, Math.min(l.headroom, l.owned - need));
  const lent = Math.min(l.lent, Math.max(0, l.owned - need - headroom));
  const over = Math.max(0, l.lent - lent);
  return [
    { id: "own", letter: "N", title: "needed", n: need - Math.min(over, need) },
    { id: "warm", letter: "H", title: "headroom", n: headroom },
    { id: "lent", letter: "L", title: "lent", n: l.lent },
    { id: "free", letter: "F", title: "neither", n: Math.max(0, l.owned - need - headroom - lent) },
  ];
}

export const sharesLegend = [
  { id: "own", letter: "N", title: "needed" }, { id: "warm", letter: "H", title: "headroom" },
  { id: "lent", letter: "L", title: "lent" }, { id: "free", letter: "F", title: "neither" },
];

const columns = [
  { id: "name", title: "Lender", cell: (l) => l.name, sort: (l) => l.name },
  { id: "tags", title: "Mode", width: 92, tier: 3, cell: (l) => h("span", {}, l.paused && tag("paused"), l.advise && tag("advises"), l.recall && tag("recalled", "warm")) },
  { id: "flavor", title: "Flavor", width: 110, tier: 3, cell: (l) => l.flavor, sort: (l) => l.flavor },
  { id: "load", title: "Load", width: 150, cell: gauge, sort: (l) => l.utilization, num: false },
  { id: "units", title: "Units", width: 210, tier: 2, cell: (l) => bar(l.name, shares(l), l.owned), sort: (l) => l.owned },
  { id: "lent", title: "Lent", num: true, width: 60, cell: (l) => count(l.lent), sort: (l) => l.lent },
  { id: "lendable", title: "Lendable", num: true, width: 84, tier: 3, cell: (l) => count(l.lendable), sort: (l) => l.lendable },
  { id: "why", title: "Why", width: 160, tier: 2, cell: (l) => h("span", { title: l.message }, words(l.reason)), sort: (l) => l.reason },
];

const sum = (rows, of) => count(rows.reduce((n, l) => n + (of(l) ?? 0), 0));

export const lenders = list({
  title: "Lenders", field: "lenders", on: ["lenders", "loans"], columns, key: (l) => l.name, href: (l) => links.lender(l.name),
  hint: "name, reason", empty: "No service lends that passes the filters.",
  choices: [
    { id: "tenant", label: "Tenant", of: (l) => l.tenant },
    { id: "reason", label: "Reason", of: (l) => l.reason, word: words },
  ],
  texts: (l) => [l.name, l.tenant, l.flavor, l.reason, l.message],
  noun: "lender", tally: (rows) => `${sum(rows, (l) => l.owned)} units owned, ${sum(rows, (l) => l.lent)} lent, ${sum(rows, (l) => l.lendable)} lendable`,
  beside: () => [legend(sharesLegend)],
});
