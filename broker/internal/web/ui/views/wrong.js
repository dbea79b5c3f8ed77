// What is wrong now: findings from what the views read anyway. Each is {grave, text, href}. Of
// which reason somebody has to do something the broker says, by `warning` in its rows.

import { at, count, plural, span, words } from "../parts/format.js";
import { links } from "../parts/route.js";

/** findings looks at whatever of {nodes, lenders, loans, queue, gained} has been read. */
export function findings({ nodes, lenders, loans, queue, gained }, now) {
  return [
    ...(nodes?.totals ?? []).flatMap(ofUnits),
    ...(nodes?.nodes ?? []).flatMap(ofNode),
    ...(lenders?.lenders ?? []).flatMap(ofLender),
    ...(loans?.loans ?? []).flatMap((loan) => ofLoan(loan, now)),
    ...(queue?.jobs ?? []).filter((job) => job.warning).map((job) => ({ text: `Job ${job.job} waits: ${words(job.reason)}`, href: links.job(job.job) })),
    ...(gained?.late > 0 ? [{
      grave: true, text: `${plural(gained.late, "loan")} came back after the deadline today`,
      href: gained.slowestLoan ? links.loan(gained.slowestLoan) : "#/picture",
    }] : []),
  ].sort((a, b) => Number(Boolean(b.grave)) - Number(Boolean(a.grave)));
}

function ofUnits(u) {
  if (u.capacity === undefined) return [];
  const sum = u.own + u.lent + u.free + u.broken;
  return sum === u.capacity ? [] : [{ grave: true, text: `Of ${u.flavor}, ${count(sum)} units are counted where there are ${count(u.capacity)}`, href: "#/nodes" }];
}

function ofNode(node) {
  const found = [];
  const href = links.node(node.name);
  const broken = (node.units ?? []).reduce((sum, u) => sum + (u.broken ?? 0), 0);
  if (broken > 0) found.push({ grave: true, text: `Node ${node.name} has ${plural(broken, "broken unit")}`, href });
  if (node.silent) found.push({ grave: true, text: `Node ${node.name} is not heard from`, href });
  else if (node.schedulable === false) found.push({ text: `Node ${node.name} takes no new pods`, href });
  for (const change of node.reshapes ?? []) {
    if (change.stuck) found.push({ text: `A card of node ${node.name} is stuck in a change: ${change.stuck}`, href });
  }
  return found;
}

function ofLender(lender) {
  const found = [];
  const href = links.lender(lender.name);
  if (lender.warning) found.push({ text: `Lender ${lender.name}: ${words(lender.reason)}`, href });
  if (lender.pending > 0) found.push({ grave: true, text: `${plural(lender.pending, "pod")} of ${lender.name} wait${lender.pending === 1 ? "s" : ""} for units`, href });
  return found;
}

function ofLoan(loan, now) {
  const href = links.loan(loan.name);
  if (loan.state === "Quarantined") return [{ grave: true, text: `The units of ${loan.job} do not come free: they are in quarantine`, href }];
  const by = at(loan.reclaimBy);
  if (by && now - by > 5000) return [{ grave: true, text: `${loan.job} is ${span((now - by) / 1000)} over its grace`, href }];
  return loan.warning ? [{ text: `Loan of ${loan.job}: ${words(loan.reason)}`, href }] : [];
}
