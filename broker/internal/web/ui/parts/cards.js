// GPUs in MIG mode, drawn slot by slot: each slice as wide as its slots, with the letter of
// who has it.

import { h } from "./dom.js";

/** holds are the letters of the broker for who has a slice. */
export const holds = {
  "-": { id: "free", title: "free" },
  p: { id: "kept", title: "free, kept for services" },
  S: { id: "own", title: "held by a service" },
  P: { id: "own", title: "held by a service, kept for services" },
  L: { id: "lent", title: "held on a loan" },
  h: { id: "own", title: "held, by whom cannot be read" },
  x: { id: "broken", title: "foreign, a remnant, or going" },
  "?": { id: "unknown", title: "not known" },
};

const of = (hold) => holds[hold] ?? holds["?"];

// cells are the slices of a card and the slots between them that have none.
function cells(card) {
  const list = [];
  let next = 0;
  for (const slice of [...(card.slices ?? [])].sort((a, b) => a.start - b.start)) {
    if (slice.start > next) list.push({ size: slice.start - next });
    list.push(slice);
    next = slice.start + slice.size;
  }
  if (next < card.slots) list.push({ size: card.slots - next });
  return list;
}

const spoken = (card) => cells(card).map((c) => (c.profile ? `${c.profile} ${of(c.hold).title}${c.holder ? ` (${c.holder})` : ""}` : `${c.size} without a slice`)).join("; ");

/** strip is a card in a row of a table: its slots in a line. */
export function strip(card) {
  return h("span", { class: "strip", role: "img", "aria-label": `Card ${card.uuid}: ${spoken(card)}`, title: spoken(card), style: { "--slots": String(card.slots) } },
    cells(card).map((c) => h("span", { class: `slot ${c.profile ? of(c.hold).id : "bare"}`, style: { "grid-column": `span ${c.size}` } }, c.profile ? c.hold : "")));
}

/** drawing is a card on its own page: its slots numbered, each slice with its profile and holder. */
export function drawing(card) {
  const slots = Array.from({ length: card.slots }, (_, i) => h("span", { class: "number" }, String(i)));
  return h("div", { class: "drawing", role: "img", "aria-label": `Slots of card ${card.uuid}: ${spoken(card)}`, style: { "--slots": String(card.slots) } },
    cells(card).map((c) => h("span", { class: `slot ${c.profile ? of(c.hold).id : "bare"}`, title: c.profile ? `${c.profile}: ${of(c.hold).title}` : "no slice", style: { "grid-column": `span ${c.size}` } },
      h("b", {}, c.profile ? c.hold : "·"), h("i", {}, c.profile ?? ""), c.holder && h("i", { class: "holder" }, c.holder))), slots);
}

/** rowsOf are the numbers of a drawing. */
export const rowsOf = (cards) => cards.flatMap((card) => cells(card).map((c) => [card.uuid, c.profile ?? "no slice", String(c.start ?? "–"), String(c.size), c.profile ? of(c.hold).title : "–", c.holder ?? "–"]));
