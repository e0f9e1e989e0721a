import type { ActiveRequests } from "./active_requests.js";
import type { Connection } from "./connection.js";
import type { Http } from "./http.js";
import type { Limits } from "./limits.js";
import type { PageEnvironment } from "./page_environment.js";
import type { OnTelemetry } from "./telemetry.js";
import type { Urls } from "./urls.js";

/** The parts of one client that its requests and followed runs share. */
export interface ClientContext {
  readonly http: Http;
  readonly activeRequests: ActiveRequests;
  /** Raises TypeError where the client's URL options cannot be resolved. */
  readonly urls: () => Urls;
  readonly connection: Connection;
  readonly environment: PageEnvironment;
  readonly limits: Limits;
  readonly onTelemetry: OnTelemetry;
}
