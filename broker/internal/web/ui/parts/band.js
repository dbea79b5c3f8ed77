// The picture: loads with their water marks above the loans, on one time axis.

import { ask } from "../api.js";
import { fill, h, s } from "./dom.js";
import { at, clockOf, count, dayOf, percent, time } from "./format.js";
import { Axis } from "./axis.js";
import { grid, lane, story } from "./lanes.js";
import { dashes, letterOf, loadAt, loadLines, most } from "./lines.js";
import { ends } from "./marks.js";
import { plain } from "./figure.js";
import { links } from "./route.js";
import { Table } from "./table.js";
import { tips } from "./tip.js";

// The loads' axis begins where the loans' bars do: after the columns of names and units.
const names = () => (matchMedia("(max-width: 640px)").matches ? 112 : 240);
const unitsWidth = 56;
// What is left free at the right of the axis.
const edge = 10;

/**
 * Band draws a timeline. chosen(from, to) is told when somebody marks a part of the axis.
 */
export class Band {
  constructor({ chosen = () => {}, tall = true, empty = "No loan was open in this time." } = {}) {
    this.chosen = chosen;
    this.key = h("ul", { class: "key" });
    this.chart = h("div", { class: "chart", on: { pointerdown: (e) => this.press(e), pointermove: (e) => this.move(e), pointerup: (e) => this.release(e), pointerleave: () => this.point(null) } });
    this.table = new Table({ label: "Loans on the time axis", columns: this.bars(), key: (l) => `${l.loan} ${l.from}`, href: (l) => links.loan(l.loan), empty });
    this.loads = h("div", { class: "numbers", hidden: true });
    this.button = h("button", { type: "button", class: "quiet", "aria-expanded": "false", on: { click: () => this.flip() } }, "Table");
    this.picture = h("div", { class: "above" }, this.key, this.chart);
    this.element = h("figure", { class: tall ? "band tall" : "band" },
      h("figcaption", {}, h(tall ? "h2" : "h3", {}, "Load and loans"), marksLegend(), this.button), this.picture, this.loads, this.table.element);
    tips(this.table.body, "tr", (line, again) => this.about(line, again));
    this.sized = new ResizeObserver(() => this.data && this.resize());
    this.sized.observe(this.chart);
  }

  end() {
    this.sized.disconnect();
  }

  about(line, again) {
    const loan = this.table.rows[line.index];
    if (!loan || !this.data) return null;
    const known = this.verdicts.get(loan.loan);
    if (!loan.to && !loan.reason && !known) this.inquire(loan.loan, again);
    return story({ ...loan, ...known }, at(this.data.to));
  }

  // The past says why a loan was asked back or ended. Why one runs is asked for when somebody
  // points at it, and again after there is news.
  async inquire(name, again) {
    this.verdicts.set(name, {});
    const { loans } = await ask("loans", { name }).catch(() => ({ loans: [] })); // then there is nothing to add
    const found = loans.find((loan) => loan.name === name);
    if (!found) return;
    this.verdicts.set(name, { reason: found.reason, message: found.message });
    again();
  }

  /** set shows what GET /timeline answered; of many lenders those that are lent from most. */
  set(data, marked) {
    this.data = data;
    this.verdicts = new Map();
    this.axis = new Axis(at(data.from), at(data.to));
    this.shown = data.loads.slice(0, most);
    this.marked = data.loads.length === 1 ? data.loads[0] : data.loads.find((l) => l.lender === marked) ?? common(this.shown);
    this.resize();
    this.said(this.axis.to);
    fill(this.loads, this.loadTable());
  }

  resize() {
    // As wide as the rows are, whatever a scroll bar takes of them.
    const width = this.table.element.clientWidth - edge;
    if (width <= edge) return;
    this.width = width;
    const gutter = names() + unitsWidth;
    this.ticks = grid(this.axis, Math.max(2, Math.floor((width - gutter) / 72)));
    fill(this.chart, loadLines(this.axis, this.shown, { width, height: 150, marked: this.marked, gutter }), h("span", { class: "cursor", hidden: true, "aria-hidden": "true" }));
    this.table.set(this.data.spans, at(this.data.to));
  }

  bars() {
    return [
      { id: "job", title: "Loan", width: names(), cell: (l) => l.job || l.loan, sort: (l) => l.job },
      { id: "units", title: "Units", num: true, width: unitsWidth, cell: (l) => count(l.units), sort: (l) => l.units },
      { id: "bar", title: "Time", hint: "By when they began", class: "lanes", sort: (l) => at(l.from)?.getTime(), cell: (l) => (this.axis ? lane(l, this.axis, this.ticks) : "") },
    ];
  }

  cells() {
    const moment = (text) => time(text, at(this.data.to));
    return [
      { id: "job", title: "Loan", cell: (l) => l.job || l.loan, sort: (l) => l.job },
      { id: "units", title: "Units", num: true, width: 60, cell: (l) => count(l.units), sort: (l) => l.units },
      { id: "from", title: "From", num: true, width: 128, cell: (l) => moment(l.from), sort: (l) => at(l.from)?.getTime() },
      { id: "asked", title: "Asked back", num: true, width: 128, tier: 2, cell: (l) => moment(l.reclaimAt), sort: (l) => at(l.reclaimAt)?.getTime() },
      { id: "to", title: "Until", num: true, width: 128, tier: 2, cell: (l) => moment(l.to), sort: (l) => at(l.to)?.getTime() },
      { id: "end", title: "End", width: 150, tier: 3, cell: (l) => (l.to ? ends[l.mark] ?? "ended" : "runs on"), sort: (l) => l.mark ?? "" },
      { id: "lender", title: "Lender", width: 160, tier: 3, cell: (l) => (l.lenders ?? []).join(", ") || "own quota", sort: (l) => l.lenders?.[0] },
    ];
  }

  flip() {
    this.numbers = !this.numbers;
    this.picture.hidden = this.numbers;
    this.loads.hidden = !this.numbers;
    this.button.textContent = this.numbers ? "Picture" : "Table";
    this.button.setAttribute("aria-expanded", String(this.numbers));
    this.table.reshape(this.numbers ? this.cells() : this.bars());
    if (!this.numbers) this.resize();
  }

  // The loads as numbers: no more moments than can be read, each the highest since the one before.
  loadTable() {
    const many = 24;
    const rows = Array.from({ length: many }, (_, i) => {
      const [from, to] = [this.axis.moment(i / many), this.axis.moment((i + 1) / many)];
      return [time(from, at(this.data.to), false), ...this.shown.map((load) => percent(highest(load, from, to) ?? -1))];
    });
    return this.shown.length === 0 ? null : plain({ label: "Loads", columns: [{ title: "From" }, ...this.shown.map((load) => ({ title: load.lender, num: true }))], rows });
  }

  share(event) {
    const box = this.chart.getBoundingClientRect();
    const gutter = names() + unitsWidth;
    return Math.min(1, Math.max(0, (event.clientX - box.left - gutter) / (this.width - gutter)));
  }

  press(event) {
    if (event.button !== 0 || !this.axis) return;
    this.started = this.share(event);
    this.chart.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.axis) return;
    this.point(this.share(event));
  }

  release(event) {
    if (this.started === undefined) return;
    const [a, b] = [this.started, this.share(event)].sort((x, y) => x - y);
    this.started = undefined;
    this.point(null);
    if (b - a > 0.01) this.chosen(this.axis.moment(a), this.axis.moment(b));
  }

  // What the loads were where the pointer is, and the part that is being marked.
  point(share) {
    const line = this.chart.querySelector(".cursor");
    if (!line) return;
    const gutter = names() + unitsWidth;
    const x = (at) => `${gutter + at * (this.width - gutter)}px`;
    line.hidden = share === null;
    this.said(share === null ? this.axis.to : this.axis.moment(share), share !== null);
    if (share === null) return;
    const from = this.started ?? share;
    line.style.left = x(Math.min(from, share));
    line.style.width = `${Math.abs(share - from) * (this.width - gutter)}px`;
  }

  // The lenders whose loads are drawn, and what those were at a moment.
  said(moment, pointed = false) {
    const value = (load) => percent((pointed ? loadAt(load, moment) : load.utilization.findLast((v) => v !== null)) ?? -1);
    fill(this.key,
      this.shown.map((load, i) => h("li", {},
        s("svg", { width: 26, height: 10, "aria-hidden": "true" }, s("line", { class: `load line${i}`, x1: 0, x2: 26, y1: 5, y2: 5, "stroke-dasharray": dashes[i] })),
        h("b", {}, letterOf(i)), h("a", { class: "name", href: links.lender(load.lender) }, load.lender), h("span", {}, value(load)))),
      h("li", { class: "when" }, pointed ? `${dayOf(moment)} ${clockOf(moment)}Z` : this.data.loads.length > most ? `and ${count(this.data.loads.length - most)} more: choose a lender` : ""));
  }
}


// The marks that all have, if all have the same.
const common = (loads) => (loads.length > 0 && loads.every((l) => l.lowWater === loads[0].lowWater && l.highWater === loads[0].highWater) ? loads[0] : null);

function highest(load, from, to) {
  const start = new Date(load.from).getTime();
  const step = load.stepSeconds * 1000;
  const part = load.utilization.slice(Math.max(0, Math.floor((from - start) / step)), Math.max(0, Math.ceil((to - start) / step))).filter((v) => v !== null);
  return part.length > 0 ? Math.max(...part) : null;
}

const marksLegend = () => h("ul", { class: "legend" },
  h("li", {}, h("span", { class: "swatch lent", "aria-hidden": "true" }, "L"), "lent"),
  h("li", {}, h("span", { class: "swatch asked", "aria-hidden": "true" }, "r"), "asked back"),
  Object.entries(ends).filter(([mark]) => mark !== ">").map(([mark, text]) => h("li", {}, h("b", { class: "mark" }, mark), text)));
