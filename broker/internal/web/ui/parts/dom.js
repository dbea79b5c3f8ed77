// Elements, and how a part of the page is brought up to date without losing what somebody
// has focused, selected or opened in it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * h makes an element. Of its attributes, `on` has listeners by event, `style` custom
 * properties and styles (set one by one, as the policy forbids style attributes), `key` tells
 * it apart from its neighbours; false and null are left out. Children are nodes, texts and
 * lists of them.
 */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** s is h for a picture. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "on") listen(element, value);
    else if (name === "style") dress(element, value);
    else if (name === "key") element.key = value;
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

function dress(element, styles) {
  for (const [name, value] of Object.entries(styles)) {
    if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
  }
}

// One listener for each event calls what the element has at that time, so that an element
// that is kept gets the handlers of the one that it stands for.
function listen(element, handlers) {
  for (const type of Object.keys(handlers)) {
    element.addEventListener(type, (event) => element.handlers[type]?.(event));
  }
  element.handlers = handlers;
}

/** fill makes the children of an element those given, keeping the elements that it can. */
export function fill(element, ...children) {
  const fresh = document.createDocumentFragment();
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) fresh.append(child);
  }
  morphChildren(element, fresh);
}

/** morph makes an element like a fresh one, and returns which of the two stands there now. */
export function morph(old, fresh) {
  if (old === fresh) return old;
  if (old.nodeName !== fresh.nodeName || old.key !== fresh.key || sameEvents(old, fresh) === false) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return old;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "style") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  dress(old, Object.fromEntries([...fresh.style].map((name) => [name, fresh.style.getPropertyValue(name)])));
  if (fresh.handlers) old.handlers = fresh.handlers;
  if (old !== document.activeElement && "value" in old && old.value !== fresh.value) old.value = fresh.value;
  morphChildren(old, fresh);
  return old;
}

const sameEvents = (old, fresh) => Object.keys(old.handlers ?? {}).join() === Object.keys(fresh.handlers ?? {}).join();

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) if (child.key !== undefined) keyed.set(child.key, child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.key !== undefined ? keyed.get(child.key) : undefined;
    if (known && known !== at) old.insertBefore(known, at);
    const target = known ?? (at && at.key === undefined && child.key === undefined ? at : null);
    if (!target) {
      old.insertBefore(child, at);
      continue;
    }
    if (target === at) at = at.nextSibling;
    morph(target, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** link is an anchor to a place within the page. */
export const link = (to, ...text) => h("a", { href: to }, ...text);
