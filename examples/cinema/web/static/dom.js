// @ts-check

/**
 * `h("a", {href: "#/"}, "Home")`: an element. Text is always text: nothing that was fetched is parsed as HTML.
 * @template {keyof HTMLElementTagNameMap} N
 * @param {N} name
 * @param {Record<string, unknown>} attributes
 * @param {...any} children
 * @returns {HTMLElementTagNameMap[N]}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} id */
export const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

/**
 * A place in the page that is filled when its content is there, and stays empty when that never comes.
 * @template T
 * @param {Promise<T>} coming
 * @param {(value: T) => any} make
 */
export function slot(coming, make) {
  const place = h("div", { class: "slot", "aria-busy": "true" });
  const fill = (/** @type {any} */ content) => {
    // Not replaced: it may not be in the page yet.
    place.className = "filled";
    place.removeAttribute("aria-busy");
    place.replaceChildren(...[content].flat().filter(Boolean));
  };
  coming.then((value) => fill(make(value)), () => fill(null));
  return place;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let talking;

/** @param {string} text */
export function say(text) {
  const line = $("say");
  line.textContent = text;
  clearTimeout(talking);
  talking = setTimeout(() => (line.textContent = ""), 6000);
}
