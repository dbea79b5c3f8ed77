// The jobs that wait, in the order in which they are considered, each with the reason in
// words and when it is likely to start.

import { age, at, count, none, plural, span, words } from "../parts/format.js";
import { list } from "../parts/list.js";
import { links } from "../parts/route.js";
import { h } from "../parts/dom.js";

/** start is in how long a job is likely to start. */
export function start(job, now) {
  const when = at(job.estimatedStart);
  return when ? `~${span(Math.max(60, (when - now) / 1000))}` : none;
}

const columns = [
  { id: "job", title: "Job", cell: (j) => j.job, sort: (j) => j.job },
  { id: "position", title: "Place", hint: "Place in its queue", num: true, width: 62, cell: (j) => count(j.position), sort: (j) => j.position },
  { id: "queue", title: "Queue", width: 150, tier: 4, cell: (j) => j.queue, sort: (j) => j.queue },
  { id: "priority", title: "Priority", num: true, width: 76, tier: 3, cell: (j) => count(j.priority), sort: (j) => j.priority },
  { id: "units", title: "Units", num: true, width: 64, cell: (j) => count(j.pods * j.unitsPerPod), sort: (j) => j.pods * j.unitsPerPod },
  { id: "shape", title: "Shape", width: 110, tier: 3, cell: (j) => `${j.pods} × ${j.unitsPerPod} ${j.flavor}` },
  { id: "why", title: "Why it waits", width: 340, tier: 2, cell: (j) => h("span", { title: j.message }, h("b", {}, words(j.reason)), j.message ? `: ${j.message}` : ""), sort: (j) => j.reason },
  { id: "start", title: "Starts in", num: true, width: 78, cell: start, sort: (j) => at(j.estimatedStart)?.getTime() },
  { id: "age", title: "Waits", num: true, width: 80, tier: 2, cell: (j, now) => age(j.created, now), sort: (j) => -(at(j.created) ?? 0) },
];

export const queue = list({
  title: "Queue", field: "jobs", on: ["queue"], columns, key: (j) => j.uid, href: (j) => links.job(j.job),
  hint: "job, reason", empty: "No job waits that passes the filters.",
  choices: [
    { id: "tenant", label: "Tenant", of: (j) => j.tenant },
    { id: "queue", label: "Queue", of: (j) => j.queue },
    { id: "reason", label: "Reason", of: (j) => j.reason, word: words },
  ],
  texts: (j) => [j.job, j.queue, j.tenant, j.flavor, j.reason, j.message],
  noun: "job", tally: (rows) => plural(rows.reduce((sum, j) => sum + j.pods * j.unitsPerPod, 0), "unit"),
});
