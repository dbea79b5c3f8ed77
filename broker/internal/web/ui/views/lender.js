// One service that lends: its verdict, the arithmetic behind that, what it lends to whom,
// and what would end if it wanted its units back.

import { ask } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { age, at, count, percent, plural, span, time, words } from "../parts/format.js";
import { figure, plain } from "../parts/figure.js";
import { bar, legend, tag } from "../parts/marks.js";
import { card, facts, heading, notice, waitingFor } from "../parts/page.js";
import { past, pastCard } from "../parts/past.js";
import { links, to } from "../parts/route.js";
import { Table } from "../parts/table.js";
import { gauge, shares, sharesLegend } from "./lenders.js";
import { columns } from "./loans.js";

export const lender = {
  title: "Lender",
  sources: ({ about }) => ({
    lenders: { load: (signal) => ask("lenders", { namespace: about.split("/")[0] }, signal), on: ["lenders", "loans"] },
    loans: { load: (signal) => ask("loans", { lender: about }, signal), on: ["loans"] },
    timeline: past({ lender: about }),
  }),
  build({ root, about }) {
    const verdict = h("div", { class: "stack" }, waitingFor(about));
    const units = figure({ title: "What it owns", legend: legend(sharesLegend) });
    const detail = card("Load and rules");
    const recall = recallCard(about);
    const loans = new Table({ label: "What it lends", columns: columns.filter((c) => c.id !== "lender"), key: (l) => l.name, href: (l) => links.loan(l.name), empty: "It lends nothing now." });
    const before = pastCard("The last day", { lender: about });
    root.append(heading(about), verdict, h("div", { class: "columns" }, units.element, detail),
      card("Lent now", loans.element), before.element, recall.element);
    return {
      leave: () => before.end(),
      draw({ lenders, loans: open, timeline }, now) {
        const l = lenders?.lenders.find((one) => one.name === about);
        if (lenders && !l) fill(verdict, notice(`There is no lender ${about}, or you may not see it.`));
        if (l) {
          fill(verdict, said(l, now));
          drawUnits(units, l);
          fill(detail, h("h2", {}, "Load and rules"), rules(l, now));
          recall.about(l);
        }
        if (open) loans.set(open.loans, now);
        before.draw(timeline);
      },
    };
  },
};

const said = (l, now) => h("p", { class: "sentence" }, h("b", {}, words(l.reason) || "no verdict yet"), l.message ? `: ${l.message}` : "",
  at(l.since) && h("span", { class: "soft" }, " since ", age(l.since, now), " "), l.paused && tag("paused"), l.advise && tag("advises"), l.recall && tag("recalled", "warm"));

function drawUnits(frame, l) {
  const list = shares(l);
  frame.show(
    h("div", { class: "bars" }, h("span", { class: "name" }, l.flavor), h("div", { class: "track" }, bar(l.name, list, l.owned)), h("span", { class: "num" }, count(l.owned))),
    {
      columns: [{ title: "Units" }, { title: l.flavor, num: true }],
      rows: [["Owned", l.owned], ["Held by its pods", l.held], [`Needed${l.needBy ? `, by ${l.needBy}` : ""}`, l.need], ["Headroom", l.headroom], ["Lent", l.lent], ["Lendable now", l.lendable]].map(([name, n]) => [name, count(n)]),
    },
    `It needs ${count(l.need)}${l.needBy ? ` (by ${l.needBy})` : ""}, keeps ${count(l.headroom)} warm, lends ${count(l.lent)} and may lend ${count(l.lendable)} more.`);
}

function rules(l, now) {
  const seconds = (n) => (n === undefined ? undefined : span(n));
  return facts(
    ["Load", gauge(l)],
    ["Water marks", l.lowWater !== undefined && `low ${percent(l.lowWater)}, high ${percent(l.highWater)}`],
    ["Requests in flight", l.load?.known && count(l.load.requests)],
    ["Heard", l.load?.known ? [age(l.load.observedAt, now), " ago"] : l.load?.unknown || "nothing"],
    ["Replicas", `${count(l.ready)} ready of ${count(l.running)}, ${count(l.desired)} wanted${l.pending ? `, ${count(l.pending)} wait` : ""}`],
    ["Units per replica", count(l.unitsPerPod)],
    ["Dwell, cooldown", l.dwellSeconds !== undefined && `${seconds(l.dwellSeconds)}, ${seconds(l.cooldownSeconds)}`],
    ["Longest grace", seconds(l.maxGraceSeconds)],
    ["Low since", at(l.lowSince) && age(l.lowSince, now)],
    ["Last asked back", at(l.lastReclaim) && age(l.lastReclaim, now)],
    ["Recalled", l.recall && ["keeps ", count(l.recall.keep), " until ", time(l.recall.until, now)]],
    ["Times it keeps units", (l.floors ?? []).length > 0 && h("span", {}, l.floors.map((f) => [h("span", {}, `${f.name}: ${count(f.keep)}, `, time(f.from, now, false), " to ", time(f.until, now, false)), h("br")])), true],
    ["Tenant", h("a", { href: to("loans", "", { tenant: l.tenant }) }, l.tenant)],
  );
}

// What a recall would end is asked for by hand: it takes the core a decision each.
function recallCard(about) {
  const keep = h("input", { type: "number", min: 0, step: 1, id: "keep" });
  const answer = h("div", { "aria-live": "polite" });
  const form = h("form", { class: "filters", on: { submit: (event) => { event.preventDefault(); look(); } } },
    h("label", {}, h("span", {}, "Units to keep"), keep), h("button", { type: "submit" }, "What would end?"));
  async function look() {
    fill(answer, waitingFor("what would end"));
    try {
      fill(answer, ended(await ask("counterfactual", { lender: about, keep: keep.value })));
    } catch (problem) {
      fill(answer, notice(problem.message, problem.advice));
    }
  }
  return {
    element: card("If it wanted units back now", h("p", { class: "soft" }, "This only asks. To do it: kubectl ebbtide reclaim lender/", about), form, answer),
    about: (l) => { keep.placeholder = `all ${count(l.owned)}`; },
  };
}

function ended(r) {
  return [
    h("p", {}, `${plural(r.loans.length + (r.others ?? 0), "loan")} would end and give back ${plural(r.units, "unit")}`, r.by ? [", the last by ", time(r.by)] : "", ".",
      r.leaving > 0 ? ` ${plural(r.leaving, "unit")} ${r.leaving === 1 ? "is" : "are"} on the way already.` : "", r.short > 0 ? ` ${plural(r.short, "unit")} would still be missing.` : "",
      r.others > 0 ? ` ${plural(r.others, "loan")} of them you may not see.` : ""),
    r.loans.length > 0 && plain({
      label: "Loans that would end", columns: [{ title: "Loan" }, { title: "Borrower" }, ...["Units", "Grace", "Work lost, GPU-hours"].map((title) => ({ title, num: true }))],
      rows: r.loans.map((l) => [h("a", { href: links.loan(l.loan) }, l.job || l.loan), l.borrower, `${count(l.units)}${l.part ? ", a part" : ""}`, span(l.graceSeconds), (l.lostWorkSeconds / 3600).toFixed(1)]),
    }),
  ];
}
