import { MESSAGES } from "@relaykit/client";
import { expect, it } from "vitest";
import { wordsFor, wordsOfClient } from "../src/server/error_words.js";
import { DE } from "../src/texts/de.js";

it("says an error in the page's language by its code, and in the server's words where the code has none", () => {
  expect(wordsFor("message_too_large", "The message is too large.", DE)).toBe(DE.shell.tooLarge);
  expect(wordsFor("server_refused", "Your plan ends today.", DE)).toBe("Your plan ends today.");
});

it("leaves the words that a site has given to its own fetch", () => {
  expect(wordsOfClient("busy", MESSAGES.busy, DE)).toBe(DE.shell.busy);
  expect(wordsOfClient("busy", "Bitte rufen Sie an.", DE)).toBe("Bitte rufen Sie an.");
});

it("has words for each error of the client's own that begins no run", () => {
  const ofAnswers = ["connection_lost", "journal_gone", "too_many_streams", "http"];
  for (const [code, message] of Object.entries(MESSAGES)) {
    if (!ofAnswers.includes(code)) expect(wordsOfClient(code, message, DE)).not.toBe(message);
  }
});
