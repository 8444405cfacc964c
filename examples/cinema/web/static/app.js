// @ts-check
// From the address to the page.
import * as api from "./api.js";
import { loggedIn, showAccount } from "./dialogs.js";
import { $, h, input, say } from "./dom.js";
import { PAGES } from "./pages.js";

const main = $("main");
const { me } = api;
/** @type {AbortController | null} */
let current = null;

async function show() {
  current?.abort();
  const mine = (current = new AbortController());
  const [path, query = ""] = (location.hash.slice(1) || "/").split("?");
  const values = new URLSearchParams(query);
  if (document.activeElement !== $("q")) input("q").value = values.get("q") ?? "";
  main.setAttribute("aria-busy", "true");
  try {
    const [match, page] = PAGES.map(([pattern, page]) => /** @type {const} */ ([path.match(pattern), page])).find(
      ([match]) => match,
    ) ?? [null, null];
    if (!match) throw new Error("There is no such page.");
    const elements = await page(mine.signal, values, match[1]);
    if (mine.signal.aborted) return;
    main.replaceChildren(...elements.flatMap((element) => element ?? []));
  } catch (problem) {
    if (mine.signal.aborted) return;
    const again = h("button", { type: "button", onclick: show }, "Try again");
    main.replaceChildren(h("h1", {}, "That did not work"), h("p", { class: "empty" }, api.said(problem)), again);
  }
  main.removeAttribute("aria-busy");
  if (document.activeElement !== $("q")) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

// Searching as one types: the page follows, the history does not fill up.
/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const q = input("q").value.trim();
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
    say(api.said(problem));
  }
});
document.querySelector(".skip")?.addEventListener("click", (event) => {
  // The address is the page's: a link to a place in it must not change that.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);

// A partner's link.
const film = new URLSearchParams(location.search).get("film");
if (film) history.replaceState(null, "", `/#/film/${encodeURIComponent(film)}`);
api.resumed.then(() => {
  showAccount();
  if (me.member && /^#\/(film|watchlist)/.test(location.hash)) show();
});
show();
