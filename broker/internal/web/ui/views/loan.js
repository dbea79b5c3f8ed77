// One loan: who has whose units where, why it stands as it does, and its course by the ledger.

import { ask } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { age, at, count, latency, span, time, words } from "../parts/format.js";
import { plain } from "../parts/figure.js";
import { state, tag } from "../parts/marks.js";
import { card, facts, heading, notice, waitingFor } from "../parts/page.js";
import { past, pastCard } from "../parts/past.js";
import { links, to } from "../parts/route.js";
import { grace } from "./loans.js";

export const loan = {
  title: "Loan",
  sources: ({ about }) => ({
    loans: { load: (signal) => ask("loans", { name: about }, signal), on: ["loans"] },
    ledger: { load: (signal) => ask("ledger", { loan: about, limit: 200 }, signal), on: ["ledger"] },
    reclaims: { load: (signal) => ask("ledger/reclaims", { loan: about }, signal), on: ["ledger"] },
    timeline: past({ loan: about }),
  }),
  build({ root, about }) {
    const now = h("div", { class: "stack" }, waitingFor(about));
    const back = h("div");
    const course = card("Its course, by the ledger", waitingFor("the ledger"));
    const before = pastCard("The last day", { loan: about });
    root.append(heading(about), now, back, before.element, course);
    return {
      leave: () => before.end(),
      draw({ loans, ledger, reclaims, timeline }, moment) {
        const l = loans?.loans.find((one) => one.name === about);
        if (l) fill(now, present(l, moment));
        else if (loans) fill(now, ended(about, ledger, moment));
        if (reclaims) fill(back, reclaims.reclaims.length > 0 && returned(reclaims.reclaims));
        if (ledger) fill(course, h("h2", {}, "Its course, by the ledger"), entries(ledger.entries, moment));
        before.draw(timeline);
      },
    };
  },
};

function present(l, now) {
  return [
    h("p", { class: "sentence" }, state(l.state), " ", l.reason !== l.state && h("b", {}, words(l.reason), l.message ? ": " : ""), l.message ?? "", h("span", { class: "soft" }, " since ", age(l.reasonSince ?? l.since, now))),
    l.part && notice("You see the part that your services lend.", "The rest of this loan is others'."),
    h("div", { class: "columns" },
      card("Loan", facts(
        ["Job", h("a", { href: links.job(l.job) }, l.job)],
        ["Borrower", h("a", { href: to("loans", "", { tenant: l.borrower }) }, l.borrower)],
        ["Queue", l.queue], ["Priority", l.priority !== undefined && count(l.priority)],
        ["Units", `${count(l.units)}${l.pods ? ` in ${count(l.pods)} pods` : ""}`],
        ["Lent since", [time(l.since, now), " (", age(l.since, now), ")"]],
        ["Work saved", at(l.checkpoint) && [age(l.checkpoint, now), " ago"]],
        ["Grace", grace(l, now)],
        ["To be back by", at(l.reclaimBy) && time(l.reclaimBy, now)],
        ["Admitted before", l.attempt > 0 && count(l.attempt)],
        ["", l.preempted && tag("taken back by the scheduler", "warm")])),
      card("Units", plain({
        label: "Granted units", columns: [{ title: "Node" }, { title: "Flavor" }, { title: "Lender" }, { title: "Units", num: true }],
        rows: l.grants.map((g) => [h("a", { href: links.node(g.node) }, g.node), g.flavor, lenderLink(g.lender), count(g.count)]),
      }))),
  ];
}

// A cohort's unused quota has no page of its own.
const lenderLink = (name) => (!name ? "own quota" : name.startsWith("cohort:") ? name : h("a", { href: links.lender(name) }, name));

function ended(about, ledger, now) {
  const last = ledger?.entries.at(-1);
  if (!last) return notice(`No loan ${about} is open.`, "It has ended, or you may not see it.");
  return h("p", { class: "sentence" }, h("b", {}, "Not open any more"), ": ", last.message || words(last.reason) || last.kind, h("span", { class: "soft" }, " ", time(last.time, now)));
}

function returned(reclaims) {
  const step = (s) => (s ? latency(s.seconds) : "–");
  return card("How it was asked back", plain({
    label: "Reclaims", columns: [{ title: "Asked" }, { title: "Why" }, ...["Units", "May take", "Told after", "Stopped after", "Killed after", "Ended after"].map((title) => ({ title, num: true })), { title: "End" }],
    rows: reclaims.map((r) => [time(r.asked), words(r.reason), count(r.units), r.boundSeconds ? span(r.boundSeconds) : "–", step(r.told), step(r.stopped), step(r.killed), step(r.ended), r.end ? words(kindOf(r.end)) : "not yet"]),
  }));
}

/** kindOf the ledger's words for a kind makes one that reads: RECLAIM_DONE is ReclaimDone. */
const kindOf = (kind) => kind.toLowerCase().replace(/(^|_)(.)/g, (_, __, c) => c.toUpperCase());

const entries = (list, now) => plain({
  label: "Entries", empty: "The ledger says nothing about it that you may see.",
  columns: [{ title: "Entry", num: true }, { title: "Time" }, { title: "What" }, { title: "Why" }],
  rows: list.map((e) => [count(e.seq), time(e.at ?? e.time, now), words(kindOf(e.kind)), e.message || words(e.reason)]),
});
