// A note beside what somebody points at or has focused. It goes by Escape, and stays while
// the pointer is on it.

import { h, fill } from "./dom.js";

const id = "tip";
let note;
let owner;
let leaving;

/**
 * tips shows say(element, again) beside elements within root that match the selector; again shows
 * it anew, if it is still there, after more is known.
 */
export function tips(root, selector, say) {
  const over = (event) => {
    const target = event.target.closest?.(selector);
    if (!target || !root.contains(target)) return;
    const again = () => target === owner && fill(note, say(target, () => {}));
    show(target, say(target, again), event.type === "pointerover" ? event : null);
  };
  const out = (event) => {
    const target = event.target.closest?.(selector);
    if (target && target === owner && !target.contains(event.relatedTarget)) later();
  };
  root.addEventListener("pointerover", over);
  root.addEventListener("focusin", over);
  root.addEventListener("pointerout", out);
  root.addEventListener("focusout", out);
}

function show(target, content, pointer) {
  clearTimeout(leaving);
  if (!content) return;
  if (!note) {
    note = h("div", { id, class: "tip", role: "tooltip", on: { pointerover: () => clearTimeout(leaving), pointerout: later } });
    document.body.append(note);
    addEventListener("keydown", (event) => event.key === "Escape" && hide());
    addEventListener("scroll", follow, { capture: true, passive: true });
  }
  if (owner !== target) {
    owner?.removeAttribute("aria-describedby");
    owner = target;
    owner.setAttribute("aria-describedby", id);
  }
  fill(note, content);
  note.hidden = false;
  beside(pointer);
}

// What has the focus keeps its note while it moves, as it does where keys move it into sight.
function follow() {
  if (!owner?.contains(document.activeElement)) hide();
  else beside(null);
}

function beside(pointer) {
  const box = owner.getBoundingClientRect();
  place(pointer ? pointer.clientX : box.left + Math.min(box.width / 3, 240), box);
}

// Below what it is about if there is room, above it otherwise, and within the window.
function place(x, box) {
  const { offsetWidth: width, offsetHeight: height } = note;
  const left = Math.max(8, Math.min(x + 12, innerWidth - width - 8));
  const below = box.bottom + 8 + height < innerHeight;
  note.style.left = `${left}px`;
  note.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - height - 6)}px`;
}

function later() {
  clearTimeout(leaving);
  leaving = setTimeout(hide, 120);
}

export function hide() {
  if (!note) return;
  note.hidden = true;
  owner?.removeAttribute("aria-describedby");
  owner = undefined;
}
