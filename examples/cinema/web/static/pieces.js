// @ts-check
// What the pages are put together from.
import * as api from "./api.js";
import { h, say } from "./dom.js";
import { loggedIn } from "./dialogs.js";

/** @typedef {import("./api.js").Card} Card */
/** @typedef {import("./api.js").Details} Details */
/** @typedef {import("./api.js").Members} Members */

/**
 * @param {string} title
 * @param {Card[]} films
 * @param {string | null} [more] where all of them are
 * @param {number} [eager] how many posters are seen at once
 */
export function shelf(title, films, more, eager = 0) {
  const id = `shelf-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return h(
    "section",
    { "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id }, title), more && h("a", { href: more, "aria-label": `All of ${title}` }, "All →")),
    h("ul", { class: "shelf", tabindex: "0", "aria-labelledby": id }, films.map((film, index) => card(film, index < eager))),
  );
}

/** @param {Card} film @param {boolean} [eager] */
export function card(film, eager = false) {
  return h(
    "li",
    {},
    h(
      "a",
      { class: "card", href: `#/film/${film.id}` },
      h("img", { class: "poster", src: film.poster, alt: "", width: 200, height: 300, loading: eager ? "eager" : "lazy" }),
      h("span", { class: "title" }, film.title),
      h("span", { class: "facts" }, `${film.year} · ★ ${film.rating.toFixed(1)}`),
    ),
  );
}

/**
 * Where the visitor stopped.
 * @param {import("./api.js").GoingOn | null} found
 */
export function goingOn(found) {
  if (!found) return null;
  const { film } = found;
  return h(
    "p",
    { class: "going-on" },
    "Go on where you stopped: ",
    h("a", { href: `#${found.path}` }, `tickets for ${film.title} (${film.year})`),
  );
}

const WAY = ["Home", "Film", "Tickets"];

/**
 * The way to tickets, and how far along it one is.
 * @param {number} here
 */
export function way(here) {
  const step = (/** @type {string} */ text, /** @type {number} */ index) =>
    h("li", { class: index < here ? "done" : null, "aria-current": index === here ? "step" : null }, text);
  return h("ol", { class: "way", "aria-label": "On the way to tickets" }, WAY.map(step));
}

/** @param {number[]} spread */
export function histogram(spread) {
  const most = Math.max(...spread, 1);
  const bars = spread.map((share) => {
    const bar = h("span");
    bar.style.blockSize = `${Math.max(3, (share / most) * 100)}%`;
    return bar;
  });
  const best = spread.indexOf(Math.max(...spread)) + 1;
  return h("div", { class: "spread", role: "img", "aria-label": `Most people gave ${best} of 10 stars` }, bars);
}

/** @param {Details} film @param {(members: Members) => void} said */
export function stars(film, said) {
  const row = h("div", { class: "stars" });
  const show = (/** @type {number} */ given) => {
    for (const [index, button] of [...row.children].entries()) {
      button.classList.toggle("on", index < given);
      button.setAttribute("aria-pressed", String(index + 1 === given));
    }
  };
  for (let value = 1; value <= 10; value += 1) {
    const label = `${value} of 10`;
    const button = h("button", { type: "button", "aria-label": label, "aria-pressed": "false", title: label }, "★");
    button.onclick = async () => {
      if (!(await loggedIn())) return;
      try {
        const members = await api.rate(film.id, value);
        show(value);
        said(members);
        say(`You gave ${film.title} ${value} of 10.`);
      } catch (problem) {
        say(api.said(problem));
      }
    };
    row.append(button);
  }
  if (api.me.member) api.myRating(film.id).then(show, () => {});
  return h("div", { role: "group", "aria-label": "Your rating" }, h("p", { class: "label" }, "Your rating"), row);
}

/** @param {number} minutes */
export const duration = (minutes) => (minutes >= 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes} min`);
