// @ts-check
// The screens come through the client that tierline generates (journeys.js); what is personal, from the services.
import { JourneyProblem, Journeys } from "./journeys.js";

/** @typedef {import("./journeys.js").Card} Card */
/** @typedef {import("./journeys.js").Details} Details */
/** @typedef {import("./journeys.js").Members} Members */
/** @typedef {import("./journeys.js").Order} Order */
/** @typedef {import("./journeys.js").GoingOn} GoingOn */

const screens = new Journeys("web");

/**
 * Who is logged in, and where this visitor stopped. The session is a cookie that no script can read.
 * @type {{ member: { id: number, name: string, token: string } | null, watchlist: Set<number>, goingOn: GoingOn | null }}
 */
export const me = { member: null, watchlist: new Set(), goingOn: null };

/**
 * What went wrong, for people.
 * @param {unknown} error
 */
export function said(error) {
  if (!(error instanceof JourneyProblem)) return error instanceof Error ? error.message : String(error);
  if (error.problem.status === 0) return "The cinema can't be reached. Try again in a moment.";
  const first = error.problem.errors?.[0];
  return first ? `${first.field}: ${first.why}` : error.message;
}

const signed = () => (me.member ? { authorization: `Bearer ${me.member.token}` } : undefined);

// The screens: one request each.

/**
 * The parts of a screen, each as a promise: they come in the order in which they are ready.
 * @template P
 * @param {AsyncGenerator<import("./journeys.js").PartEvent<P, unknown>>} stream
 * @param {(keyof P & string)[]} names
 * @returns {{ [K in keyof P]: Promise<P[K]> }}
 */
function parts(stream, names) {
  /** @type {Record<string, (value: any) => void>} */
  const kept = {};
  /** @type {Record<string, (reason: unknown) => void>} */
  const failed = {};
  const promises = /** @type {{ [K in keyof P]: Promise<P[K]> }} */ ({});
  for (const name of names) {
    promises[name] = new Promise((resolve, reject) => ([kept[name], failed[name]] = [resolve, reject]));
    promises[name].catch(() => {});
  }
  const fail = (/** @type {unknown} */ reason) => names.forEach((name) => failed[name](reason));
  (async () => {
    try {
      for await (const event of stream) {
        if (event.event === "part") kept[String(event.part)](event.value);
        // What needs the failed part is not coming either.
        else if (event.event === "problem") failed[event.part]?.(new JourneyProblem(event.problem));
      }
      fail(new Error("The cinema did not send all of this page."));
    } catch (error) {
      fail(error);
    }
  })();
  return promises;
}

/** @param {AbortSignal} signal */
export const home = (signal) => parts(screens.homeStream({}, { signal }), ["top", "genres", "loved"]);

/** @param {number} film_id @param {AbortSignal} signal */
export const film = (film_id, signal) =>
  parts(screens.filmStream({ film_id }, { signal }), ["details", "similar", "members_say"]);

/** @param {string} q @param {string} genre @param {string | null} cursor @param {AbortSignal} [signal] */
export const search = (q, genre, cursor, signal) =>
  screens.search({ q: q || undefined, genre: genre || undefined, cursor: cursor || undefined }, { signal });

/** @param {import("./journeys.js").Tickets} tickets @param {string} key */
export async function checkout(tickets, key) {
  const bought = await screens.checkout({ body: tickets }, { key, headers: signed() });
  me.goingOn = null;
  return bought;
}

/** Where this visitor stopped on the way to tickets. Nothing else waits for it, or fails with it. */
export async function goOn() {
  const found = await screens.resumeGet().catch(() => null);
  me.goingOn = found && found.going_on;
  return me.goingOn;
}

// What is personal, from the services themselves.

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function ask(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json", "x-client": "web" };
  if (body !== undefined) headers["content-type"] = "application/json";
  // Not on what is the same for everybody: a cache must not keep the answer to a request that carries a token.
  const personal = method !== "GET" || /^\/(orders|me|watchlist)\b/.test(path);
  if (personal) Object.assign(headers, signed());
  /** @param {number} status @param {object} [told] */
  const problem = (status, told) =>
    new JourneyProblem({ type: "about:blank", title: `The cinema answered ${status}.`, status, ...told });
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }).catch(() => {
    throw problem(0);
  });
  if (answer.status === 204) return null;
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw problem(answer.status, data);
  return data;
}

/** @param {string} id @returns {Promise<Order>} */
export const order = (id) => ask("GET", `/orders/${id}`);

/** @param {number} id @returns {Promise<number>} */
export const myRating = async (id) => (await ask("GET", `/ratings/${id}?member=${me.member?.id}`)).yours;

/** @param {number} film_id @param {number} stars @returns {Promise<Members>} */
export const rate = (film_id, stars) => ask("POST", "/ratings", { film_id, stars, member: String(me.member?.id) });

/** @param {number[]} ids @returns {Promise<Card[]>} */
export const films = async (ids) => (ids.length ? (await ask("GET", `/films?ids=${ids.join(",")}`)).films : []);

/** @param {string} name */
export async function logIn(name) {
  const { member, token } = await ask("POST", "/login", { name });
  me.member = { ...member, token };
  localStorage.setItem("was-here", "1");
  await Promise.all([loadWatchlist(), joined()]);
}

/** From now on this device goes on where the member stopped on any other. */
async function joined() {
  const found = await screens.join({}, { headers: signed() }).catch(() => null);
  if (found) me.goingOn = found.going_on;
}

export async function logOut() {
  await ask("POST", "/logout");
  me.member = me.goingOn = null;
  me.watchlist = new Set();
  localStorage.removeItem("was-here");
  await screens.resumeDelete().catch(() => null);
}

/** Go on with the session of the last visit, if there was one. */
async function resume() {
  if (!localStorage.getItem("was-here")) return;
  try {
    me.member = await ask("GET", "/me");
    await Promise.all([loadWatchlist(), joined()]);
  } catch (problem) {
    if (problem instanceof JourneyProblem && problem.problem.status === 401) localStorage.removeItem("was-here");
  }
}

async function loadWatchlist() {
  /** @type {{ films: { film_id: number }[] }} */
  const { films } = await ask("GET", "/watchlist");
  me.watchlist = new Set(films.map((film) => film.film_id));
}

/** @param {number} id @param {boolean} wanted */
export async function watch(id, wanted) {
  await ask(wanted ? "PUT" : "DELETE", `/watchlist/${id}`);
  if (wanted) me.watchlist.add(id);
  else me.watchlist.delete(id);
}

/** Done when it is known who is here. */
export const resumed = resume();
