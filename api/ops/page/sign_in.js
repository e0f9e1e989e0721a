/** The form for a token, and why it is asked for. */

import { byId, h } from "./dom.js";
import { setTitle } from "./screen.js";

/**
 * Asks for a token, and says what was wrong with the one before.
 * @param {import("./api.js").ApiError} refused @param {boolean} hasToken @param {(token: string) => void} given
 */
export function showSignIn(refused, hasToken, given) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const field = /** @type {HTMLInputElement} */ (
    h("input", {
      id: "token",
      type: "password",
      autocomplete: "off",
      required: true,
      spellcheck: "false",
      "aria-describedby": "token-note",
    })
  );
  const form = h(
    "form",
    { class: "sign-in" },
    h("h1", {}, "Sign in"),
    h("p", { class: "problem" }, refusalText(refused, hasToken)),
    h("p", { class: "field" }, h("label", { for: "token" }, "Token of an operator"), field),
    h("p", { id: "token-note", class: "note" }, "It is kept for this tab alone, until the tab is closed."),
    problem,
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Sign in")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const token = field.value.trim().replace(/^Bearer\s+/i, "");
    problem.hidden = /^[\x21-\x7e]+$/.test(token);
    problem.textContent = problem.hidden ? "" : "That is no token: it has spaces or letters that a token cannot have.";
    if (!problem.hidden) return;
    given(token);
  });
  byId("main").replaceChildren(form);
  setTitle("Sign in");
  field.focus();
}

/** @param {import("./api.js").ApiError} refused @param {boolean} hasToken */
function refusalText(refused, hasToken) {
  if (refused.status === 403 && refused.code !== "forbidden") {
    return `You are refused (403 ${refused.code}): ${refused.message}`;
  }
  if (refused.status === 403) {
    const missing = "the claim that OPS_CLAIM names is missing";
    return `You are known, but no operator (403 ${refused.code}): ${missing}. ${refused.message}`;
  }
  return hasToken
    ? `The token was refused (401 ${refused.code}): ${refused.message} It may have ended.`
    : `The console does not know who you are (401 ${refused.code}).`;
}
