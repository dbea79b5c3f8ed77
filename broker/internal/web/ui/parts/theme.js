// Light or dark: as the system says, until somebody says otherwise here. That is no secret,
// and is kept for the next time.

import { h } from "./dom.js";

const KEY = "ebbtide-theme";
const order = ["auto", "light", "dark"];
const names = { auto: "As the system", light: "Light", dark: "Dark" };
const signs = { auto: "◐", light: "○", dark: "●" };

const chosen = () => (order.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "auto");

export function dress() {
  const theme = chosen();
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** themeSwitch is the button that goes from one to the next. */
export function themeSwitch() {
  const button = h("button", { class: "quiet", type: "button", on: { click: next } });
  const name = () => {
    const theme = chosen();
    button.textContent = signs[theme];
    button.title = `Colours: ${names[theme].toLowerCase()}`;
    button.setAttribute("aria-label", `Colours: ${names[theme].toLowerCase()}. Change`);
  };
  function next() {
    localStorage.setItem(KEY, order[(order.indexOf(chosen()) + 1) % order.length]);
    dress();
    name();
  }
  name();
  return button;
}
