// @ts-check
// Logging in and buying.
import * as api from "./api.js";
import { $, h, input, say } from "./dom.js";

const PRICE = 12.5;
const { me } = api;

/**
 * Opens a dialog; resolves with what `submit` returns, or null when it was closed.
 * @template T
 * @param {string} id
 * @param {(form: FormData) => Promise<T>} submit
 * @returns {Promise<T | null>}
 */
function ask(id, submit) {
  const dialog = /** @type {HTMLDialogElement} */ ($(id));
  const find = (/** @type {string} */ what) => /** @type {any} */ (dialog.querySelector(what));
  const form = /** @type {HTMLFormElement} */ (find("form"));
  const error = find(".error");
  error.textContent = "";
  return new Promise((resolve) => {
    /** @type {T | null} */
    let result = null;
    form.onsubmit = async (event) => {
      event.preventDefault();
      const button = find("button:not([value])");
      button.disabled = true;
      error.textContent = "";
      try {
        result = await submit(new FormData(form));
        dialog.close();
      } catch (problem) {
        error.textContent = api.said(problem);
      }
      button.disabled = false;
    };
    find("[value=cancel]").onclick = () => dialog.close();
    dialog.onclose = () => resolve(result);
    dialog.showModal();
  });
}

export async function loggedIn() {
  if (me.member) return true;
  return Boolean(
    await ask("login", async (form) => {
      await api.logIn(String(form.get("name")));
      showAccount();
      say(`Hello, ${me.member?.name}.`);
      return true;
    }),
  );
}

export function showAccount() {
  $("account").textContent = me.member ? "Log out" : "Log in";
  $("who").textContent = me.member?.name ?? "";
  $("who").hidden = $("watchlist-link").hidden = !me.member;
}

/**
 * True when tickets were bought.
 * @param {api.Details} film
 * @param {HTMLElement} receipt where the order is shown
 */
export async function buy(film, receipt) {
  if (!(await loggedIn())) return false;
  $("buy-film").textContent = `${film.title} (${film.year})`;
  const price = () => ($("price").textContent = `${(PRICE * (input("seats").valueAsNumber || 0)).toFixed(2)} €`);
  $("seats").oninput = price;
  price();
  // One key for as long as the dialog is open: pressing twice, or again after an error, is still one order.
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bought = await ask("buy", (form) =>
    api.checkout({ film_id: film.id, seats: Number(form.get("seats")), email: String(form.get("email")) }, key),
  );
  if (bought) follow(bought.order, receipt);
  return Boolean(bought);
}

/**
 * Shows how far an order has come, until its receipt is on the way.
 * @param {api.Order} order
 * @param {HTMLElement} receipt
 */
async function follow(order, receipt) {
  const steps = [
    ["placed", "Order placed"],
    ["paid", "Paid"],
    ["receipted", `Receipt sent to ${order.email}`],
  ];
  for (let tries = 0; tries < 60; tries += 1) {
    const reached = steps.findIndex(([name]) => name === order.status);
    const each = Number(order.total) / order.seats;
    receipt.replaceChildren(
      h("h2", {}, `${order.seats} × ${each.toFixed(2)} €: ${order.total} €`),
      h("ol", {}, steps.map(([, text], index) => h("li", { class: index <= reached ? "done" : null }, text))),
      h("p", { class: "facts" }, `Order ${order.id}`),
    );
    if (order.status === "receipted" || !receipt.isConnected) return;
    await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 1.2 ** tries, 3000)));
    order = await api.order(order.id).catch(() => order);
  }
}
