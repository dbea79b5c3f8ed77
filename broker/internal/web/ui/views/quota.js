// The quota tree: of each cohort and tenant what is nominally its own, what it uses of that,
// what it has lent, and what it has borrowed.

import { ask } from "../api.js";
import { h } from "../parts/dom.js";
import { figure } from "../parts/figure.js";
import { count, percent } from "../parts/format.js";
import { distinct, filters } from "../parts/filters.js";
import { legend } from "../parts/marks.js";
import { heading } from "../parts/page.js";
import { to } from "../parts/route.js";

const marks = [
  { id: "own", letter: "U", title: "used of its own" },
  { id: "lent", letter: "L", title: "lent to others" },
  { id: "rest", letter: "", title: "nominal, unused" },
  { id: "borrowed", letter: "B", title: "borrowed" },
];

export const quota = {
  title: "Quota",
  sources: () => ({ quota: { load: (signal) => ask("quota", {}, signal), on: ["loans", "queue", "lenders"] } }),
  build({ root, query, who }) {
    let rows = [];
    const chosen = filters(query, [
      { id: "text", label: "Search", hint: "tenant or cohort" },
      { id: "flavor", label: "Flavor", options: () => distinct(rows, (row) => (row.flavors ?? []).map((f) => f.flavor)) },
    ], () => show());
    const tree = figure({ title: "Who has what of whose", legend: legend(marks), note: "A bar is as long as the nominal quota; a line at its end marks that, and what is borrowed stands beyond it." });
    function show() {
      const { text, flavor } = chosen.values();
      const part = rows.filter((row) => !text || row.name.toLowerCase().includes(text.toLowerCase()));
      chosen.count(`${count(part.length)} of ${count(rows.length)}`);
      const flavors = flavor ? [flavor] : distinct(rows, (row) => (row.flavors ?? []).map((f) => f.flavor));
      tree.show(part.length === 0 ? h("p", { class: "empty" }, "There is no tenant that you may see.") : flavors.map((name) => drawn(part, name, who)), table(part, flavors));
    }
    root.append(heading("Quota"), chosen.element, tree.element);
    return {
      draw({ quota: answer }) {
        if (!answer) return;
        rows = answer.rows;
        chosen.refresh();
        show();
      },
    };
  },
};

// One tree for each flavor, all bars of which have one scale.
function drawn(rows, name, who) {
  const of = (row) => (row.flavors ?? []).find((f) => f.flavor === name);
  const shown = rows.filter((row) => of(row) || !(row.flavors ?? []).length);
  if (!shown.some(of)) return null;
  const longest = Math.max(1, ...shown.map((row) => (of(row) ? extent(of(row)) : 0)));
  return h("section", { class: "tree" }, h("div", { class: "head" }, h("h3", {}, name), h("span", { class: "soft num" }, "used / nominal")), h("ul", {}, shown.map((row) => h("li", { key: row.name, style: { "--depth": String(row.depth ?? 0) } },
    h("span", { class: "name" }, row.kind === "Cohort" ? h("b", {}, row.name) : h("a", { href: to("loans", "", { tenant: row.name }) }, row.name),
      row.weight > 1 && h("span", { class: "soft" }, ` weight ${count(row.weight)}`)),
    of(row) ? quotaBar(row.name, of(row), longest) : h("span", { class: "soft" }, who.all ? "no quota of its own" : "not yours to see"),
    of(row) && h("span", { class: "num" }, `${count(of(row).used)} / ${count(of(row).nominal)}`)))));
}

const home = (f) => Math.max(0, Math.min(f.used - (f.borrowed ?? 0), f.nominal));
const extent = (f) => Math.max(f.nominal, home(f) + (f.lent ?? 0)) + (f.borrowed ?? 0);

function quotaBar(name, f, longest) {
  const own = home(f);
  const lent = f.lent ?? 0;
  const rest = Math.max(0, f.nominal - own - lent);
  const parts = [{ id: "own", letter: "U", n: own }, { id: "lent", letter: "L", n: lent }, { id: "rest", letter: "", n: rest }, { id: "borrowed", letter: "B", n: f.borrowed ?? 0 }];
  const text = `${name}: nominal ${count(f.nominal)}, used ${count(f.used)}, lent ${count(lent)}, borrowed ${count(f.borrowed ?? 0)}`;
  return h("span", { class: "quota", role: "img", "aria-label": text, title: text },
    parts.filter((p) => p.n > 0).map((p) => h("span", { class: `part ${p.id}`, style: { width: `${(100 * p.n) / longest}%` } }, p.letter && h("b", {}, p.letter), p.letter && h("i", {}, count(p.n)))),
    h("span", { class: "nominal", style: { left: `${(100 * Math.max(f.nominal, 0)) / longest}%` } }));
}

function table(rows, flavors) {
  const limit = (n) => (n === undefined || n === null ? "no limit" : count(n));
  return {
    columns: [{ title: "Name" }, { title: "Kind" }, { title: "Flavor" }, ...["Nominal", "Used", "Lent", "Borrowed", "May have more", "Borrowing limit", "Lending limit", "Share"].map((title) => ({ title, num: true }))],
    rows: rows.flatMap((row) => (row.flavors ?? []).filter((f) => flavors.includes(f.flavor)).map((f) => [
      `${" ".repeat(2 * (row.depth ?? 0))}${row.name}`, row.kind.toLowerCase(), f.flavor, count(f.nominal), count(f.used), count(f.lent ?? 0), count(f.borrowed ?? 0),
      count(f.available), limit(f.borrowingLimit), limit(f.lendingLimit), row.share === undefined ? "–" : percent(row.share / 1000),
    ])),
  };
}
