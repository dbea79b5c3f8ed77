// The picture that explains Ebbtide, live or for any time that the ledger knows.

import { ask } from "../api.js";
import { h } from "../parts/dom.js";
import { distinct, filters } from "../parts/filters.js";
import { at, plural } from "../parts/format.js";
import { Band } from "../parts/band.js";
import { heading } from "../parts/page.js";
import { set } from "../parts/route.js";

const hour = 3_600_000;
const ranges = { "1h": hour, "6h": 6 * hour, "12h": 12 * hour, "24h": 24 * hour, "7d": 168 * hour, "30d": 720 * hour };
const usual = "12h";
const shortest = 60_000;
const longest = 400 * 24 * hour;

/** spanOf is what time the parameters name: one until now, or one of the past. */
function spanOf(query, now = Date.now()) {
  const [from, to] = [at(query.get("from")), at(query.get("to"))];
  if (from && to && to > from) return { from: from.getTime(), to: to.getTime(), live: false };
  return { from: now - (ranges[query.get("range")] ?? ranges[usual]), to: now, live: true };
}

export const picture = {
  title: "Picture",
  fills: true,
  sources: ({ query }) => ({
    lenders: { load: (signal) => ask("lenders", {}, signal), on: [] },
    timeline: {
      load(signal) {
        const { from, to, live } = spanOf(query);
        const parameters = { from: new Date(from).toISOString(), to: live ? "" : new Date(to).toISOString(), lender: query.get("lender"), tenant: query.get("tenant"), points: 500 };
        return ask("timeline", parameters, signal);
      },
      on: ["ledger", "lenders"],
    },
  }),
  build({ root, query, again }) {
    let data;
    let known = [];
    const band = new Band({ chosen: (from, to) => move(from.getTime(), to.getTime()) });
    const chosen = filters(query, [
      { id: "lender", label: "Lender", options: () => distinct(known, (l) => l.name) },
      { id: "tenant", label: "Tenant", options: () => distinct([...known, ...(data?.spans ?? [])], (row) => row.tenant ?? row.borrower) },
    ], () => change(chosen.values()));
    const range = h("select", { on: { change: () => change({ range: range.value, from: "", to: "" }) } },
      h("option", { value: "", hidden: true }, "chosen"), Object.keys(ranges).map((name) => h("option", { value: name }, `last ${name}`)));
    const fields = ["from", "to"].map(() => h("input", { class: "moment", type: "text", inputmode: "numeric", placeholder: "2026-01-31 12:00", spellcheck: "false", autocomplete: "off", on: { change: () => typed() } }));
    chosen.element.append(
      h("label", {}, h("span", {}, "Time"), range),
      h("label", {}, h("span", {}, "From, UTC"), fields[0]), h("label", {}, h("span", {}, "To, UTC"), fields[1]),
      h("div", { class: "buttons", role: "group", "aria-label": "Zoom and move" },
        key("◀", "Earlier (left arrow)", () => shift(-0.5)), key("▶", "Later (right arrow)", () => shift(0.5)),
        key("−", "Zoom out (minus)", () => zoom(2)), key("+", "Zoom in (plus)", () => zoom(0.5)), key("Now", "Up to now (0)", () => live())));
    const note = h("p", { class: "soft" });
    root.append(heading("Picture", note), chosen.element, band.element);
    document.addEventListener("keydown", press);

    function change(changes) {
      for (const [name, value] of Object.entries(changes)) {
        if (value) query.set(name, value);
        else query.delete(name);
      }
      set(changes);
      mark();
      again();
    }
    const live = () => change({ from: "", to: "" });
    function move(from, to) {
      const length = Math.min(longest, Math.max(shortest, to - from));
      const end = Math.min(Date.now(), to);
      change({ from: new Date(end - length).toISOString(), to: new Date(end).toISOString(), range: "" });
    }
    function zoom(factor) {
      const { from, to } = spanOf(query);
      const half = ((to - from) * factor) / 2;
      const middle = (from + to) / 2;
      move(middle - half, middle + half);
    }
    function shift(share) {
      const { from, to } = spanOf(query);
      move(from + share * (to - from), to + share * (to - from));
    }
    function typed() {
      const [from, to] = fields.map((field) => Date.parse(`${field.value.trim().replace(" ", "T")}Z`));
      for (const [i, moment] of [from, to].entries()) fields[i].setAttribute("aria-invalid", String(Number.isNaN(moment)));
      if (to > from) move(from, to);
    }
    // Keys work wherever they are not needed for typing or choosing.
    function press(event) {
      if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const does = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => shift(-0.5), ArrowRight: () => shift(0.5), 0: live }[event.key];
      if (!does) return;
      event.preventDefault();
      does();
    }
    function mark() {
      const span = spanOf(query);
      range.value = span.live ? query.get("range") || usual : "";
      fields.forEach((field, i) => {
        if (document.activeElement !== field) field.value = new Date([span.from, span.to][i]).toISOString().slice(0, 16).replace("T", " ");
      });
    }
    mark();
    return {
      leave() {
        band.end();
        document.removeEventListener("keydown", press);
      },
      draw({ timeline, lenders }) {
        known = lenders?.lenders ?? known;
        if (!timeline) return;
        data = timeline;
        chosen.refresh();
        mark();
        band.set(ordered(timeline), query.get("lender"));
        const notes = [...(timeline.notes ?? []), ...timeline.loads.map((l) => l.note && `${l.lender}: ${l.note}`).filter(Boolean).slice(0, 2)];
        if (timeline.omitted > 0) notes.unshift(`${plural(timeline.omitted, "loan")} that began first are left out.`);
        note.textContent = `${plural(timeline.spans.length, "loan")}. ${notes.join(" ")}`;
      },
    };
  },
};

const key = (sign, name, does) => h("button", { type: "button", title: name, "aria-label": name, on: { click: does } }, sign);

// Of the lenders, those from which most is lent come first.
function ordered(timeline) {
  const units = new Map();
  for (const span of timeline.spans) for (const lender of span.lenders ?? []) units.set(lender, (units.get(lender) ?? 0) + span.units);
  return {
    ...timeline,
    loads: [...timeline.loads].sort((a, b) => (units.get(b.lender) ?? 0) - (units.get(a.lender) ?? 0)),
  };
}
