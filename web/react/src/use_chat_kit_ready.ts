import { type ChatKitReadyOptions, chatKitReady, type ScriptState } from "@relaykit/client";
import { useEffect, useState } from "react";

/** The state of the script that defines ChatKit's element; `pending` while a server renders the page. */
export function useChatKitReady({ element, timeoutMs }: ChatKitReadyOptions = {}): ScriptState {
  const [state, setState] = useState<ScriptState>("pending");
  useEffect(() => {
    const ready = chatKitReady({
      ...(element === undefined ? {} : { element }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const show = () => setState(ready.state);
    show();
    return ready.subscribe(show);
  }, [element, timeoutMs]);
  return state;
}
