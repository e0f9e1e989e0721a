import type { ChatKitFetch, ConnectionState } from "@relaykit/client";
import { useCallback, useSyncExternalStore } from "react";

/** The state of the connection, for the page to show. */
export function useConnection({ connection }: ChatKitFetch): ConnectionState {
  const subscribe = useCallback((listener: () => void) => connection.subscribe(listener), [connection]);
  return useSyncExternalStore(
    subscribe,
    () => connection.state,
    () => "idle",
  );
}
