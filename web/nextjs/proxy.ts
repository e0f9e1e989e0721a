import { refusal } from "./lib/refusal";

/** No id of the API's has a percent sign, and Next.js answers those that are no UTF-8 with an error of its own, 500. */
export const config = { matcher: "/api/(.*%.*)" };

export function proxy(): Response {
  return refusal(404, "not_found", "There is nothing at this address.");
}
