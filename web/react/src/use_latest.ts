import { type RefObject, useLayoutEffect, useRef } from "react";

/** What the component was last rendered with, for callbacks that outlive the render. */
export function useLatest<T>(value: T): RefObject<T> {
  const latest = useRef(value);
  useLayoutEffect(() => {
    latest.current = value;
  });
  return latest;
}
