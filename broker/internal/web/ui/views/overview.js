// The overview: what there is and who has it, what was gained today, what is wrong now.

import { ask, askAll } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { figure } from "../parts/figure.js";
import { at, count, hours, latency, plural, time } from "../parts/format.js";
import { Axis } from "../parts/axis.js";
import { area, tide } from "../parts/lines.js";
import { bar, legend, uses } from "../parts/marks.js";
import { card, heading, stat, waitingFor } from "../parts/page.js";
import { links, to } from "../parts/route.js";
import { gauge } from "./lenders.js";
import { findings } from "./wrong.js";

const day = 86_400_000;
const shown = 8;

export const overview = {
  title: "Overview",
  sources: () => ({
    nodes: { load: (signal) => askAll("nodes", "nodes", {}, signal), on: ["loans", "lenders"] },
    lenders: { load: (signal) => ask("lenders", {}, signal), on: ["lenders"] },
    loans: { load: (signal) => askAll("loans", "loans", {}, signal), on: ["loans"] },
    queue: { load: (signal) => ask("queue", { limit: 1000 }, signal), on: ["queue"] },
    gained: { load: (signal) => ask("gained", {}, signal), on: ["ledger"] },
    timeline: { load: (signal) => ask("timeline", { from: new Date(Date.now() - day).toISOString(), points: 1 }, signal), on: ["ledger"] },
  }),
  build({ root, who }) {
    const stats = h("dl", { class: "stats" });
    const capacity = figure({ title: who.all ? "Capacity" : "Your part of the capacity", legend: legend(who.all ? uses : parts(false)) });
    const wrong = card("Wrong now", waitingFor("what is wrong"));
    const services = card("Lenders", waitingFor("the lenders"));
    const lent = figure({ title: "Units lent, the last 24 hours" });
    root.append(heading("Overview"), stats, h("div", { class: "columns" }, h("div", {}, capacity.element, lent.element), h("div", {}, wrong, services)));
    capacity.show(waitingFor("the nodes"), { columns: [], rows: [] });
    let last;
    const sized = new ResizeObserver(() => last && drawTide(lent, last));
    sized.observe(lent.element);
    return {
      leave: () => sized.disconnect(),
      draw(data, now) {
        if (data.nodes) drawCapacity(capacity, data.nodes.totals ?? [], who.all);
        fill(stats, numbers(data));
        drawWrong(wrong, data, now);
        if (data.lenders) drawLenders(services, data.lenders.lenders);
        last = data.timeline;
        if (last) drawTide(lent, last);
      },
    };
  },
};

function numbers({ nodes, loans, queue, gained }) {
  const lent = (nodes?.totals ?? []).reduce((sum, u) => sum + (u.lent ?? 0), 0);
  const all = (nodes?.totals ?? []).reduce((sum, u) => sum + (u.capacity ?? 0), 0);
  const waiting = queue?.jobs.length;
  return [
    stat("Lent now", nodes ? count(lent) : "–", [all > 0 ? `of ${plural(all, "unit")}, ` : "", loans ? plural(loans.loans.length, "open loan") : ""]),
    stat("Gained today", gained ? hours(gained.lentGPUHours) : "–", gained?.complete === false ? "GPU-hours, so far counted" : "GPU-hours since 00:00 UTC"),
    stat("Reclaims today", gained ? count(gained.reclaims) : "–", gained ? `${plural(gained.evictions, "eviction")}, ${count(gained.killed)} killed, ${count(gained.late)} late` : ""),
    stat("Slowest return", gained?.slowestReturnSeconds !== undefined ? latency(gained.slowestReturnSeconds) : "–", against(gained, loans)),
    stat("Jobs waiting", queue ? count(waiting) + (queue.next ? " or more" : "") : "–", h("a", { href: "#/queue" }, "The queue")),
  ];
}

// The slowest return against the grace that it had, where the answer says it.
function against(gained, loans) {
  if (gained?.slowestReturnSeconds === undefined) return "nothing came back today";
  const grace = gained.slowestBoundSeconds ?? loans?.loans.find((l) => l.name === gained.slowestLoan)?.graceSeconds;
  const what = gained.slowestLoan ? h("a", { href: links.loan(gained.slowestLoan) }, "that loan") : "";
  return grace !== undefined ? [`of ${latency(grace)} grace, `, what] : [gained.late > 0 ? "" : "within its grace, ", what];
}

// Who sees not everything is told what his services lend and his jobs have.
const parts = (all) => (all ? uses : [
  { id: "lent", letter: "L", title: "lent by your services" },
  { id: "borrowed", letter: "B", title: "borrowed by your jobs" },
  { id: "own", letter: "T", title: "your training on own quota", field: "training" },
]);

function drawCapacity(frame, totals, all) {
  const list = parts(all);
  const value = (u, part) => u[part.field ?? part.id] ?? 0;
  const whole = (u) => (all ? u.capacity : list.reduce((sum, part) => sum + value(u, part), 0));
  frame.show(
    totals.length === 0 ? h("p", { class: "empty" }, "No node has units that you may see.")
      : h("div", { class: "bars" }, totals.map((u) => [
        h("span", { class: "name" }, u.flavor),
        h("div", { class: "track" }, bar(u.flavor, list.map((part) => ({ ...part, n: value(u, part) })), whole(u))),
        h("span", { class: "num" }, count(whole(u))),
      ])),
    {
      columns: [{ title: "Flavor" }, ...list.map((part) => ({ title: part.title, num: true })), { title: "capacity", num: true }].slice(0, all ? undefined : -1),
      rows: totals.map((u) => [u.flavor, ...list.map((part) => count(value(u, part))), count(u.capacity)].slice(0, all ? undefined : -1)),
    });
}

function drawWrong(root, data, now) {
  const read = ["nodes", "lenders", "loans", "gained"].filter((name) => data[name]);
  const found = findings(data, now);
  fill(root, h("h2", {}, "Wrong now"),
    found.length === 0
      ? h("p", { class: "fine" }, h("span", { class: "sign", "aria-hidden": "true" }, "✓"), read.length === 4 ? "Nothing." : "Nothing of what could be read.")
      : h("ul", { class: "findings" }, found.slice(0, shown).map((f) => h("li", { class: f.grave ? "grave" : "" },
        h("span", { class: "letter", "aria-hidden": "true" }, f.grave ? "!" : "?"), h("a", { href: f.href }, f.text)))),
    found.length > shown && h("p", { class: "soft" }, `And ${count(found.length - shown)} more.`),
    h("p", { class: "soft" }, "! needs somebody now, ? should be looked at."));
}

// Those that lend most, and how far their loads are from taking it back.
function drawLenders(root, lenders) {
  const list = [...lenders].sort((a, b) => b.lent - a.lent || (a.name < b.name ? -1 : 1));
  fill(root, h("h2", {}, "Lenders"),
    list.length === 0 ? h("p", { class: "empty" }, "No service lends of which you may see something.")
      : h("ul", { class: "services" }, list.slice(0, shown).map((l) => h("li", { key: l.name },
        h("a", { href: links.lender(l.name) }, l.name), gauge(l), h("span", { class: "num" }, count(l.lent), h("span", { class: "soft" }, ` of ${count(l.owned)}`))))),
    h("p", { class: "soft" }, list.length > shown ? h("a", { href: "#/lenders" }, `All ${count(list.length)} lenders`) : "Load between the water marks, and units lent of those owned."));
}

function drawTide(frame, timeline) {
  const axis = new Axis(at(timeline.from), at(timeline.to));
  const points = tide(timeline.spans.filter((span) => (span.lenders ?? []).some(Boolean)), axis);
  const width = Math.max(240, frame.element.clientWidth - 34);
  frame.show(
    area(axis, points, { width, height: 130, label: "Units lent over the last 24 hours" }),
    { columns: [{ title: "Since" }, { title: "Units lent", num: true }], rows: points.slice(-200).reverse().map((p) => [time(new Date(p.at)), count(p.units)]) },
    [h("a", { href: to("picture", "", { range: "24h" }) }, "The picture of that time"), timeline.omitted > 0 ? `, here without ${plural(timeline.omitted, "loan")} that began first` : ""]);
}
