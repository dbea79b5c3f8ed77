// One job: where it waits and why, what would admit it, when it is likely to start, and
// what it has while it runs.

import { ask } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { age, at, count, plural, time, words } from "../parts/format.js";
import { card, facts, heading, notice, waitingFor } from "../parts/page.js";
import { links, to } from "../parts/route.js";
import { Table } from "../parts/table.js";
import { columns } from "./loans.js";
import { start } from "./queue.js";

export const job = {
  title: "Job",
  sources: ({ about }) => ({
    queue: { load: (signal) => ask("queue", { job: about }, signal), on: ["queue"] },
    loans: { load: (signal) => ask("loans", { job: about }, signal), on: ["loans"] },
    why: { load: (signal) => why(about, signal), on: ["queue"] },
  }),
  build({ root, about }) {
    const now = h("div", { class: "stack" }, waitingFor(about));
    const chain = h("div");
    const loans = new Table({ label: "Its loans", columns: columns.filter((c) => c.id !== "borrower"), key: (l) => l.name, href: (l) => links.loan(l.name), empty: "It has no loan." });
    const has = card("What it has", loans.element);
    root.append(heading(about), now, chain, has);
    return {
      draw({ queue, loans: open, why: answer }, moment) {
        const waits = queue?.jobs[0];
        if (waits) fill(now, waiting(waits, moment));
        else if (queue && open) fill(now, open.loans.length > 0 ? running(open.loans, moment) : notice(`Job ${about} neither waits nor has units.`, "It has ended, is new, is not in a queue, or you may not see it."));
        if (open) loans.set(open.loans, moment);
        if (answer !== undefined) fill(chain, answer ? explained(answer, moment) : "");
      },
    };
  },
};

// Only of a job that waits there is something to be asked; the first look says whether it does.
async function why(about, signal) {
  const { jobs } = await ask("queue", { job: about }, signal);
  return jobs.length > 0 ? ask("counterfactual", { job: about }, signal) : null;
}

const running = (loans, now) => h("p", { class: "sentence" }, h("b", {}, "Admitted"), `: it has ${plural(loans.reduce((sum, l) => sum + l.units, 0), "unit")}`, h("span", { class: "soft" }, " since ", age(loans[0].since, now)));

function waiting(j, now) {
  return [
    h("p", { class: "sentence" }, h("b", {}, words(j.reason) || "waits"), j.message ? `: ${j.message}` : "", at(j.since) && h("span", { class: "soft" }, " since ", age(j.since, now))),
    facts(["Queue", h("a", { href: to("queue", "", { queue: j.queue }) }, j.queue)], ["Place", count(j.position)], ["Tenant", j.tenant], ["Priority", count(j.priority)],
      ["Wants", `${plural(j.pods, "pod")} of ${count(j.unitsPerPod)} ${j.flavor}`], ["Waits since", [time(j.created, now), " (", age(j.created, now), ")"]],
      ["Admitted before", j.attempt > 0 && count(j.attempt)], ["Starts in", at(j.estimatedStart) && start(j, now)]),
  ];
}

function explained(a, now) {
  return h("div", { class: "columns" },
    card("Why it waits", h("p", {}, a.sentence), h("ol", { class: "chain" }, (a.chain ?? []).map((v) => h("li", {},
      h("span", { class: "soft" }, `${v.kind} `), linkOf(v), ": ", v.reason ? h("b", {}, words(v.reason)) : "", v.reason && v.message ? ", " : "", v.message,
      at(v.since) && h("span", { class: "soft" }, " since ", age(v.since, now)))))),
    card("What would admit it",
      (a.nearest ?? []).length > 0 ? h("ul", { class: "changes" }, a.nearest.map((c) => h("li", {}, c.text))) : h("p", {}, "None of the changes that were tried."),
      a.complete === false && h("p", { class: "soft" }, "Not all changes were tried: that takes too many decisions."),
      h("h3", {}, "When"), whenOf(a, now)));
}

function whenOf(a, now) {
  if (!a.when) return h("p", {}, a.whenUnknown ? `Not known: ${a.whenUnknown}.` : "Not known.");
  const { earliest, latest, returns, message } = a.when;
  return [
    h("p", {}, "Between ", time(earliest, now, false), " and ", at(latest) ? time(latest, now, false) : "some time that cannot be said", "."),
    h("p", { class: "soft" }, message, returns ? ` (${plural(returns, "return")})` : ""),
  ];
}

function linkOf(v) {
  if (v.kind === "Lender") return h("a", { href: links.lender(v.subject) }, v.subject);
  if (v.kind === "Queue") return h("a", { href: to("queue", "", { queue: v.subject }) }, v.subject);
  return v.subject;
}
