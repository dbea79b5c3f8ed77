// One node: who has its units, how each of its cards is cut, and the loans on it.

import { ask, askAll } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { drawing, holds, rowsOf } from "../parts/cards.js";
import { figure } from "../parts/figure.js";
import { count } from "../parts/format.js";
import { bar, legend, uses } from "../parts/marks.js";
import { card, facts, heading, notice, waitingFor } from "../parts/page.js";
import { links } from "../parts/route.js";
import { Table } from "../parts/table.js";
import { columns } from "./loans.js";
import { notes, unitsBar } from "./nodes.js";

export const node = {
  title: "Node",
  sources: ({ about }) => ({
    nodes: { load: (signal) => ask("nodes", { name: about }, signal), on: ["loans", "lenders"] },
    loans: { load: (signal) => askAll("loans", "loans", {}, signal), on: ["loans"] },
  }),
  build({ root, about }) {
    const now = h("div", { class: "stack" }, waitingFor(about));
    const units = figure({ title: "Units", legend: legend(uses) });
    const cards = figure({ title: "Cards", legend: cardLegend() });
    const loans = new Table({ label: "Loans on this node", columns: columns.filter((c) => c.id !== "node"), key: (l) => l.name, href: (l) => links.loan(l.name), empty: "No loan of which you may see something is on it." });
    root.append(heading(about), now, units.element, cards.element, card("Loans on it", loans.element));
    [units.element.hidden, cards.element.hidden] = [true, true];
    return {
      draw({ nodes, loans: open }, moment) {
        const n = nodes?.nodes.find((one) => one.name === about);
        if (nodes && !n) fill(now, notice(`There is no node ${about} with units that you may see.`));
        if (n) {
          fill(now, state(n));
          units.element.hidden = false;
          drawUnits(units, n);
          cards.element.hidden = !(n.cards ?? []).length;
          drawCards(cards, n);
        }
        if (open) loans.set(open.loans.filter((l) => (l.grants ?? []).some((g) => g.node === about)), moment);
      },
    };
  },
};

function state(n) {
  const said = n.silent ? "Not heard from" : n.schedulable === false ? "Takes no new pods" : n.part ? "You see what concerns you" : "Ready";
  return [
    h("p", { class: "sentence" }, h("b", {}, said), n.unlendable ? `: nothing new is lent on it, ${n.unlendable}` : "", " ", notes(n)),
    (n.reshapes ?? []).length > 0 && facts(...n.reshapes.map((r) => [`Change of ${r.gpu.slice(0, 12)}`, `${count(r.count)} × ${r.from} into ${count(r.made)} × ${r.to}, for ${r.lender}: ${r.state}${r.stuck ? `, stuck: ${r.stuck}` : ""}`, true])),
  ];
}

function drawUnits(frame, n) {
  const cell = (u, id) => count(u[id] ?? 0);
  if (n.part) {
    frame.show(unitsBar(n), { columns: [{ title: "Flavor" }, ...["Lent", "Borrowed", "Training"].map((title) => ({ title, num: true }))], rows: n.units.map((u) => [u.flavor, cell(u, "lent"), cell(u, "borrowed"), cell(u, "training")]) });
    return;
  }
  frame.show(
    h("div", { class: "bars" }, n.units.map((u) => [h("span", { class: "name" }, u.flavor), h("div", { class: "track" }, bar(u.flavor, uses.map((use) => ({ ...use, n: u[use.id] ?? 0 })), u.capacity)), h("span", { class: "num" }, count(u.capacity))])),
    {
      columns: [{ title: "Flavor" }, ...["Own", "of services", "of training", "of others", "Lent", "Free", "Broken", "Capacity"].map((title) => ({ title, num: true }))],
      rows: n.units.map((u) => [u.flavor, cell(u, "own"), cell(u, "services"), cell(u, "training"), cell(u, "other"), cell(u, "lent"), cell(u, "free"), cell(u, "broken"), cell(u, "capacity")]),
    });
}

function drawCards(frame, n) {
  frame.show(
    (n.cards ?? []).map((c) => h("section", { class: "gpu", key: c.uuid }, h("h3", {}, c.uuid.slice(0, 12), " ", h("span", { class: "soft" }, c.board)), drawing(c), c.fixed && h("p", { class: "soft" }, `Its layout is fixed: ${c.fixed}`))),
    { columns: [{ title: "Card" }, { title: "Slice" }, { title: "First slot", num: true }, { title: "Slots", num: true }, { title: "Who" }, { title: "Holder" }], rows: rowsOf(n.cards ?? []) });
}

const cardLegend = () => h("ul", { class: "legend" }, Object.entries(holds).filter(([letter]) => letter !== "h").map(([letter, hold]) =>
  h("li", {}, h("span", { class: `swatch ${hold.id}`, "aria-hidden": "true" }, letter), hold.title)));
