/** Who is logged in: null, or {id, name, token}. The session is a cookie that no script can read. */
export const me = { member: null, watchlist: new Set() };

/** What went wrong, as the problem document says it (RFC 9457). */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.errors?.[0] ? `${problem.errors[0].field}: ${problem.errors[0].why}` : problem.detail || problem.title);
    this.status = status;
  }
}

async function ask(method, path, { body, headers = {}, signal } = {}) {
  const sent = { accept: "application/json", "x-client": "web", ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  // Not on what is the same for everybody: a cache must not keep the answer to a request that carries a token.
  const personal = method !== "GET" || /^\/(orders|me|watchlist)\b/.test(path);
  if (me.member?.token && personal) sent.authorization = `Bearer ${me.member.token}`;
  let answer;
  try {
    answer = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The cinema can't be reached. Try again in a moment." });
  }
  if (answer.status === 204) return null;
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, { title: `The cinema answered ${answer.status}.`, ...data });
  return data;
}

// The four screens: one request each.
export const home = (signal) => ask("GET", "/home", { signal });
export const film = (id, signal) => ask("GET", `/film/${id}`, { signal });
export const search = (q, genre, cursor, signal) => {
  const query = new URLSearchParams(Object.entries({ q, genre, cursor }).filter(([, value]) => value));
  return ask("GET", `/search?${query}`, { signal });
};
export const checkout = (order, key) => ask("POST", "/checkout", { body: order, headers: { "idempotency-key": key } });

// What is personal, from the services themselves.
export const order = (id) => ask("GET", `/orders/${id}`);
export const myRating = async (id) => (await ask("GET", `/ratings/${id}?member=${me.member.id}`)).yours;
export const rate = (film_id, stars) => ask("POST", "/ratings", { body: { film_id, stars, member: String(me.member.id) } });
export const films = async (ids) => (ids.length ? (await ask("GET", `/films?ids=${ids.join(",")}`)).films : []);

export async function logIn(name) {
  const { member, token } = await ask("POST", "/login", { body: { name } });
  me.member = { ...member, token };
  localStorage.setItem("was-here", "1");
  await loadWatchlist();
}

export async function logOut() {
  await ask("POST", "/logout");
  me.member = null;
  me.watchlist = new Set();
  localStorage.removeItem("was-here");
}

/** Go on with the session of the last visit, if there was one. */
export async function resume() {
  if (!localStorage.getItem("was-here")) return;
  try {
    me.member = await ask("GET", "/me");
    await loadWatchlist();
  } catch (problem) {
    if (problem.status === 401) localStorage.removeItem("was-here");
  }
}

async function loadWatchlist() {
  me.watchlist = new Set((await ask("GET", "/watchlist")).films.map((film) => film.film_id));
}

export async function watch(id, wanted) {
  await ask(wanted ? "PUT" : "DELETE", `/watchlist/${id}`);
  if (wanted) me.watchlist.add(id);
  else me.watchlist.delete(id);
}
