// All open loans, with filters. Ten thousand are no more than a long table.

import { age, at, count, plural, span, words } from "../parts/format.js";
import { list } from "../parts/list.js";
import { state, tag } from "../parts/marks.js";
import { links } from "../parts/route.js";
import { h } from "../parts/dom.js";

const ownQuota = "own quota";

/** lendersOf a loan, by name; what has no lender is the borrower's own quota. */
export const lendersOf = (loan) => [...new Set((loan.grants ?? []).map((g) => g.lender || ownQuota))];
export const nodesOf = (loan) => [...new Set((loan.grants ?? []).map((g) => g.node))];
export const flavorsOf = (loan) => [...new Set((loan.grants ?? []).map((g) => g.flavor))];

const some = (list) => (list.length > 1 ? `${list[0]} +${list.length - 1}` : list[0] ?? "–");

/** grace is what is left of it while the loan is asked back, and the whole of it otherwise. */
export function grace(loan, now) {
  const by = at(loan.reclaimBy);
  if (!by) return loan.graceSeconds ? span(loan.graceSeconds) : "–";
  return by > now ? `${span((by - now) / 1000)} left` : `${span((now - by) / 1000)} over`;
}

// Those that are asked back come first, by their deadline; the others by their whole grace.
const never = 1e15;
const urgency = (loan) => at(loan.reclaimBy)?.getTime() ?? never + (loan.graceSeconds ?? never);

/** columns of a table of loans. */
export const columns = [
  { id: "job", title: "Job", cell: (l) => l.job || l.name, sort: (l) => l.job },
  { id: "borrower", title: "Borrower", width: 110, tier: 4, cell: (l) => l.borrower, sort: (l) => l.borrower },
  { id: "units", title: "Units", num: true, width: 64, cell: (l) => count(l.units), sort: (l) => l.units },
  { id: "flavor", title: "Flavor", width: 108, tier: 4, cell: (l) => some(flavorsOf(l)), sort: (l) => flavorsOf(l)[0] },
  { id: "lender", title: "Lender", width: 170, tier: 2, cell: (l) => some(lendersOf(l)), sort: (l) => lendersOf(l)[0] },
  { id: "node", title: "Nodes", width: 136, tier: 3, cell: (l) => some(nodesOf(l)), sort: (l) => nodesOf(l)[0] },
  { id: "state", title: "State", width: 128, cell: (l) => h("span", {}, state(l.state), l.part && tag("part")), sort: (l) => l.state },
  { id: "grace", title: "Grace", num: true, width: 96, tier: 3, cell: grace, sort: urgency },
  { id: "reason", title: "Why", width: 130, tier: 3, cell: (l) => words(l.reason), sort: (l) => l.reason },
  { id: "age", title: "Age", num: true, width: 80, tier: 2, cell: (l, now) => age(l.since, now), sort: (l) => -(at(l.since) ?? 0) },
];

export const loans = list({
  title: "Loans", field: "loans", on: ["loans"], columns, key: (l) => l.name, href: (l) => links.loan(l.name),
  hint: "job, node, reason", empty: "No loan is open that passes the filters.",
  choices: [
    { id: "tenant", label: "Tenant", of: (l) => l.borrower },
    { id: "lender", label: "Lender", of: lendersOf },
    { id: "state", label: "State", of: (l) => l.state },
  ],
  texts: (l) => [l.name, l.job, l.borrower, l.queue, l.reason, ...lendersOf(l), ...nodesOf(l), ...flavorsOf(l)],
  noun: "loan", tally: (rows) => plural(rows.reduce((sum, l) => sum + l.units, 0), "unit"),
});
