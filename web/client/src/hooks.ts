/** Calls a hook of the site. An error that the hook throws is reported as the page's own and harms no conversation. */
export function callHook<Args extends unknown[]>(hook: ((...args: Args) => unknown) | undefined, ...args: Args): void {
  if (hook === undefined) return;
  try {
    const result = hook(...args);
    if (result instanceof Promise) result.catch(report);
  } catch (error) {
    report(error);
  }
}

/** Reports an error as the browser reports an uncaught error of the page. */
export function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
