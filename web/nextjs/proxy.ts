import { refusal } from "./lib/refusal";

/** Answers an id with a percent sign, which the API never has. Next.js would answer 500 where it is not UTF-8. */
export const config = { matcher: "/api/(.*%.*)" };

export function proxy(): Response {
  return refusal(404, "not_found", "There is nothing at this address.");
}
