import * as api from "./api.js";
import { $, h, say } from "./dom.js";

const GENRES = ["Action", "Animation", "Comedy", "Documentary", "Drama", "Romance", "Short"];
const PRICE = 12.5;
const main = $("main");
const { me } = api;

// Pages: each returns the elements of <main>, and sets the title.

async function homePage(signal) {
  document.title = "Cinema";
  const { top, genres, loved } = await api.home(signal);
  return [
    h("h1", { class: "hidden" }, "Cinema"),
    shelf("The best films", top, null, 4),
    loved.length ? shelf("Loved by our members", loved) : null,
    ...genres.map(({ genre, films }) => shelf(genre, films, `#/search?genre=${genre}`)),
  ];
}

async function searchPage(signal, query) {
  const q = query.get("q") ?? "";
  const genre = query.get("genre") ?? "";
  document.title = q ? `${q} – Cinema` : `${genre || "All films"} – Cinema`;
  const page = await api.search(q, genre, "", signal);
  const list = h("ul", { class: "grid" }, page.films.map(card));
  const more = h("button", { type: "button", class: "more", hidden: !page.cursor }, "More films");
  let cursor = page.cursor;
  more.onclick = async () => {
    more.disabled = true;
    try {
      const next = await api.search(q, genre, cursor);
      const first = next.films.length && card(next.films[0]);
      list.append(first || "", ...next.films.slice(1).map(card));
      cursor = next.cursor;
      more.hidden = !cursor;
      first?.querySelector("a").focus();
    } catch (problem) {
      say(problem.message);
    }
    more.disabled = false;
  };
  const chip = (name) => {
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

async function filmPage(signal, query, id) {
  const { film, members, similar } = await api.film(id, signal);
  document.title = `${film.title} (${film.year}) – Cinema`;
  const facts = [film.year, duration(film.minutes), film.mpaa, film.budget && `budget $${film.budget.toLocaleString("en")}`];
  const ours = h("p", { class: "ours" });
  const said = (members) => {
    ours.textContent = members?.votes
      ? `Our members: ${members.average} of 10, from ${members.votes} ${members.votes === 1 ? "rating" : "ratings"}`
      : "None of our members has rated it yet.";
  };
  said(members);
  const watching = h("button", { type: "button", class: "quiet", "aria-pressed": "false" });
  const showWatching = () => {
    const on = me.watchlist.has(film.id);
    watching.textContent = on ? "✓ On your watchlist" : "+ Watchlist";
    watching.setAttribute("aria-pressed", on);
  };
  showWatching();
  watching.onclick = async () => {
    if (!(await loggedIn())) return;
    try {
      await api.watch(film.id, !me.watchlist.has(film.id));
      showWatching();
    } catch (problem) {
      say(problem.message);
    }
  };
  const receipt = h("div", { class: "receipt", "aria-live": "polite" });
  const buying = h("button", { type: "button" }, "Buy tickets");
  buying.onclick = () => buy(film, receipt);
  return [
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
    similar.length ? shelf("More like this", similar) : null,
  ];
}

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

// Pieces.

function shelf(title, films, more, eager = 0) {
  const id = `shelf-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return h(
    "section",
    { "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id }, title), more && h("a", { href: more, "aria-label": `All of ${title}` }, "All →")),
    h("ul", { class: "shelf", tabindex: "0", "aria-labelledby": id }, films.map((film, index) => card(film, index < eager))),
  );
}

function card(film, eager = false) {
  return h(
    "li",
    {},
    h(
      "a",
      { class: "card", href: `#/film/${film.id}` },
      h("img", { class: "poster", src: film.poster, alt: "", width: 200, height: 300, loading: eager === true ? "eager" : "lazy" }),
      h("span", { class: "title" }, film.title),
      h("span", { class: "facts" }, `${film.year} · ★ ${film.rating.toFixed(1)}`),
    ),
  );
}

function histogram(spread) {
  const most = Math.max(...spread, 1);
  const bars = spread.map((share) => {
    const bar = h("span");
    bar.style.blockSize = `${Math.max(3, (share / most) * 100)}%`;
    return bar;
  });
  const best = spread.indexOf(Math.max(...spread)) + 1;
  return h("div", { class: "spread", role: "img", "aria-label": `Most people gave ${best} of 10 stars` }, bars);
}

function stars(film, said) {
  const row = h("div", { class: "stars" });
  const show = (given) => {
    for (const [index, button] of [...row.children].entries()) {
      button.classList.toggle("on", index < given);
      button.setAttribute("aria-pressed", index + 1 === given);
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
        say(problem.message);
      }
    };
    row.append(button);
  }
  if (me.member) api.myRating(film.id).then(show, () => {});
  return h("div", { role: "group", "aria-label": "Your rating" }, h("p", { class: "label" }, "Your rating"), row);
}

const duration = (minutes) => (minutes >= 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes} min`);

// Logging in and buying.

/** Opens a dialog; resolves with what `submit` returns, or null when it was closed. */
function ask(id, submit) {
  const dialog = $(id);
  const form = dialog.querySelector("form");
  const error = form.querySelector(".error");
  error.textContent = "";
  return new Promise((resolve) => {
    let result = null;
    form.onsubmit = async (event) => {
      event.preventDefault();
      const button = form.querySelector("button:not([value])");
      button.disabled = true;
      error.textContent = "";
      try {
        result = await submit(new FormData(form));
        dialog.close();
      } catch (problem) {
        error.textContent = problem.message;
      }
      button.disabled = false;
    };
    form.querySelector("[value=cancel]").onclick = () => dialog.close();
    dialog.onclose = () => resolve(result);
    dialog.showModal();
  });
}

async function loggedIn() {
  if (me.member) return true;
  return Boolean(
    await ask("login", async (form) => {
      await api.logIn(form.get("name"));
      showAccount();
      say(`Hello, ${me.member.name}.`);
      return true;
    }),
  );
}

function showAccount() {
  $("account").textContent = me.member ? "Log out" : "Log in";
  $("who").textContent = me.member?.name ?? "";
  $("who").hidden = $("watchlist-link").hidden = !me.member;
}

async function buy(film, receipt) {
  if (!(await loggedIn())) return;
  $("buy-film").textContent = `${film.title} (${film.year})`;
  const price = () => ($("price").textContent = `${(PRICE * ($("seats").valueAsNumber || 0)).toFixed(2)} €`);
  $("seats").oninput = price;
  price();
  // One key for as long as the dialog is open: pressing twice, or again after an error, is still one order.
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bought = await ask("buy", (form) =>
    api.checkout({ film_id: film.id, seats: Number(form.get("seats")), email: form.get("email") }, key),
  );
  if (bought) await follow(bought.order, receipt);
}

/** Shows how far an order has come, until its receipt is on the way. */
async function follow(order, receipt) {
  const steps = [
    ["placed", "Order placed"],
    ["paid", "Paid"],
    ["receipted", `Receipt sent to ${order.email}`],
  ];
  for (let tries = 0; tries < 60; tries += 1) {
    const reached = steps.findIndex(([name]) => name === order.status);
    receipt.replaceChildren(
      h("h2", {}, `${order.seats} × ${(order.total / order.seats).toFixed(2)} €: ${order.total} €`),
      h("ol", {}, steps.map(([, text], index) => h("li", { class: index <= reached ? "done" : null }, text))),
      h("p", { class: "facts" }, `Order ${order.id}`),
    );
    if (order.status === "receipted" || !receipt.isConnected) return;
    await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 1.2 ** tries, 3000)));
    order = await api.order(order.id).catch(() => order);
  }
}

// From the address to the page.

const PAGES = [
  [/^\/$/, homePage],
  [/^\/film\/(\d+)$/, filmPage],
  [/^\/search$/, searchPage],
  [/^\/watchlist$/, watchlistPage],
];
let current = null;

async function show() {
  current?.abort();
  const mine = (current = new AbortController());
  const [path, query = ""] = (location.hash.slice(1) || "/").split("?");
  const values = new URLSearchParams(query);
  if (document.activeElement !== $("q")) $("q").value = values.get("q") ?? "";
  main.setAttribute("aria-busy", "true");
  try {
    const found = PAGES.map(([pattern, page]) => [path.match(pattern), page]).find(([match]) => match);
    if (!found) throw new Error("There is no such page.");
    const elements = await found[1](mine.signal, values, ...found[0].slice(1));
    if (mine.signal.aborted) return;
    main.replaceChildren(...elements.filter(Boolean));
  } catch (problem) {
    if (problem.name === "AbortError" || mine.signal.aborted) return;
    const again = h("button", { type: "button", onclick: show }, "Try again");
    main.replaceChildren(h("h1", {}, "That did not work"), h("p", { class: "empty" }, problem.message), again);
  }
  main.removeAttribute("aria-busy");
  if (document.activeElement !== $("q")) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

// Searching as one types: the page follows, the history does not fill up.
let typing;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const q = $("q").value.trim();
    const to = q ? `#/search?${new URLSearchParams({ q })}` : "#/";
    if (location.hash.startsWith("#/search")) {
      history.replaceState(null, "", to);
      show();
    } else location.hash = to;
  }, 200);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  main.focus();
});
$("account").addEventListener("click", async () => {
  try {
    if (me.member) {
      await api.logOut();
      showAccount();
      say("You are logged out.");
    } else if (!(await loggedIn())) return;
    show();
  } catch (problem) {
    say(problem.message);
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address is the page's: a link to a place in it must not change that.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);

// A partner's link.
const film = new URLSearchParams(location.search).get("film");
if (film) history.replaceState(null, "", `/#/film/${encodeURIComponent(film)}`);
api.resume().then(() => {
  showAccount();
  if (me.member && /^#\/(film|watchlist)/.test(location.hash)) show();
});
show();
