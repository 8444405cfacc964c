// @ts-check
// The pages: each returns the elements of <main>, and sets the title.
import * as api from "./api.js";
import { buy, loggedIn } from "./dialogs.js";
import { h, say, slot } from "./dom.js";
import { card, duration, goingOn, histogram, shelf, stars, way } from "./pieces.js";

const GENRES = ["Action", "Animation", "Comedy", "Documentary", "Drama", "Romance", "Short"];
const { me } = api;

/** @typedef {(signal: AbortSignal, query: URLSearchParams, id: string) => Promise<(HTMLElement | null)[]>} Page */

/** @type {Page} */
async function homePage(signal) {
  document.title = "Cinema";
  const { top, genres, loved } = api.home(signal);
  // The best films as soon as they are there; the rest comes after, each shelf by itself.
  const best = shelf("The best films", await top, null, 4);
  return [
    h("h1", { class: "hidden" }, "Cinema"),
    slot(api.resumed.then(() => me.goingOn ?? api.goOn()), goingOn),
    best,
    slot(loved, (films) => (films.length ? shelf("Loved by our members", films) : null)),
    slot(genres, (rows) => rows.map(({ genre, films }) => shelf(genre, films, `#/search?genre=${genre}`))),
  ];
}

/** @type {Page} */
async function searchPage(signal, query) {
  const q = query.get("q") ?? "";
  const genre = query.get("genre") ?? "";
  document.title = q ? `${q} – Cinema` : `${genre || "All films"} – Cinema`;
  const page = await api.search(q, genre, null, signal);
  const list = h("ul", { class: "grid" }, page.films.map((film) => card(film)));
  const more = h("button", { type: "button", class: "more", hidden: !page.cursor }, "More films");
  let { cursor } = page;
  more.onclick = async () => {
    more.disabled = true;
    try {
      const next = await api.search(q, genre, cursor);
      const added = next.films.map((film) => card(film));
      list.append(...added);
      cursor = next.cursor;
      more.hidden = !cursor;
      added[0]?.querySelector("a")?.focus();
    } catch (problem) {
      say(api.said(problem));
    }
    more.disabled = false;
  };
  const chip = (/** @type {string} */ name) => {
    const to = new URLSearchParams(Object.entries({ q, genre: name }).filter(([, value]) => value));
    return h("a", { href: `#/search?${to}`, "aria-current": name === genre ? "true" : null }, name || "All");
  };
  return [
    h("h1", {}, q ? `“${q}”` : genre || "All films"),
    h("nav", { class: "chips", "aria-label": "Genres" }, ["", ...GENRES].map(chip)),
    page.films.length ? list : h("p", { class: "empty" }, "No film is called anything like that."),
    more,
  ];
}

/** @type {Page} */
async function filmPage(signal, query, id) {
  const { details, similar, members_say } = api.film(Number(id), signal);
  const film = await details;
  document.title = `${film.title} (${film.year}) – Cinema`;
  const facts = [film.year, duration(film.minutes), film.mpaa, film.budget && `budget $${film.budget.toLocaleString("en")}`];
  const ours = h("p", { class: "ours" });
  const said = (/** @type {api.Members | null} */ members) => {
    ours.textContent = members?.votes
      ? `Our members: ${members.average} of 10, from ${members.votes} ${members.votes === 1 ? "rating" : "ratings"}`
      : "None of our members has rated it yet.";
  };
  members_say.then(said, () => {});
  const watching = h("button", { type: "button", class: "quiet", "aria-pressed": "false" });
  const showWatching = () => {
    const on = me.watchlist.has(film.id);
    watching.textContent = on ? "✓ On your watchlist" : "+ Watchlist";
    watching.setAttribute("aria-pressed", String(on));
  };
  showWatching();
  watching.onclick = async () => {
    if (!(await loggedIn())) return;
    try {
      await api.watch(film.id, !me.watchlist.has(film.id));
      showWatching();
    } catch (problem) {
      say(api.said(problem));
    }
  };
  let steps = way(1);
  const receipt = h("div", { class: "receipt", "aria-live": "polite" });
  const buying = h("button", { type: "button" }, "Buy tickets");
  buying.onclick = async () => {
    if (!(await buy(film, receipt))) return;
    const done = way(2);
    steps.replaceWith(done);
    steps = done;
  };
  return [
    steps,
    h(
      "article",
      { class: "film" },
      h("img", { class: "poster", src: film.poster, alt: "", width: 400, height: 600 }),
      h(
        "div",
        {},
        h("h1", {}, film.title),
        h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
        h("p", { class: "chips" }, film.genres.map((genre) => h("a", { href: `#/search?genre=${genre}` }, genre))),
        h(
          "p",
          { class: "rating" },
          h("strong", {}, film.rating.toFixed(1)),
          h("span", {}, ` of 10, from ${film.votes.toLocaleString("en")} votes`),
        ),
        histogram(film.spread),
        h("div", { class: "actions" }, buying, watching),
        receipt,
        stars(film, said),
        ours,
      ),
    ),
    slot(similar, (films) => (films.length ? shelf("More like this", films) : null)),
  ];
}

/** @type {Page} */
async function watchlistPage() {
  document.title = "Watchlist – Cinema";
  if (!me.member) return [h("h1", {}, "Watchlist"), h("p", { class: "empty" }, "Log in to see your watchlist.")];
  const films = await api.films([...me.watchlist].slice(0, 100));
  return [
    h("h1", {}, "Watchlist"),
    films.length
      ? h("ul", { class: "grid" }, films.map((film) => card({ ...film, poster: `/posters/${film.id}.svg` })))
      : h("p", { class: "empty" }, "Nothing yet. Open a film and add it."),
  ];
}

/** @type {[RegExp, Page][]} */
export const PAGES = [
  [/^\/$/, homePage],
  [/^\/film\/(\d+)$/, filmPage],
  [/^\/search$/, searchPage],
  [/^\/watchlist$/, watchlistPage],
];
