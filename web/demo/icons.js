/** Icons drawn as strokes in a 24 by 24 box. Names follow ChatKit's; aliases share a drawing. */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  agent: "M12 3v3M6 9h12v9H6zM9.5 13h.01M14.5 13h.01M3 12v3M21 12v3",
  attach: "M20 11.5 12 19.5a5 5 0 0 1-7-7l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7L9.8 17a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6",
  bolt: "M13 3 5 14h6l-1 7 8-11h-6z",
  bug: "M8 9a4 4 0 0 1 8 0v5a4 4 0 0 1-8 0zM3 9l5 2M21 9l-5 2M3 18l5-3M21 18l-5-3M3 13.5h5M16 13.5h5",
  calendar: "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
  chart: "M4 20h16M7 16v-5M12 16V6M17 16v-8",
  check: "M5 12.5 10 17.5 19 7",
  "check-circle": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M8 12.5l3 3 5-6",
  "chevron-left": "M15 5l-7 7 7 7",
  "chevron-right": "M9 5l7 7-7 7",
  "circle-question": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M12 16.8h.01",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3.5 2",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  cube: "M12 3 4 7.5v9L12 21l8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  document: "M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 16h6",
  dot: "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
  "dots-horizontal": "M5 12h.01M12 12h.01M19 12h.01",
  down: "M12 5v14M6 13l6 6 6-6",
  "external-link": "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 11v5M12 7.8h.01",
  lightbulb: "M9 18h6M10 21h4M12 3a6 6 0 0 0-3.5 10.9c.5.4.5 1.1.5 2.1h6c0-1 0-1.7.5-2.1A6 6 0 0 0 12 3",
  mail: "M3 6h18v12H3zM3 7l9 7 9-7",
  "map-pin": "M12 21c-4-5-6-8-6-11a6 6 0 0 1 12 0c0 3-2 6-6 11M12 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
  menu: "M4 6h16M4 12h16M4 18h16",
  phone: "M7 3h10v18H7zM11 18h2",
  play: "M8 5l11 7-11 7z",
  plus: "M12 5v14M5 12h14",
  reload: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4.5h-4.5",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16.2 16.2 21 21",
  send: "M12 19V5M6 11l6-6 6 6",
  "settings-slider": "M4 8h8M16 8h4M14 6v4M4 16h4M12 16h8M10 14v4",
  sparkle: "M12 3c.7 5.3 3.3 8.3 9 9-5.7.7-8.3 3.7-9 9-.7-5.3-3.3-8.3-9-9 5.7-.7 8.3-3.7 9-9",
  square: "M7 7h10v10H7z",
  "square-code": "M4 4h16v16H4zM10 9l-3 3 3 3M14 9l3 3-3 3",
  "square-image": "M4 4h16v16H4zM4 16l5-5 5 5 2.5-2.5 3.5 3.5M15.5 8h.01",
  "square-text": "M4 4h16v16H4zM8 9h8M8 12h8M8 15h5",
  star: "M12 3.5l2.6 5.6 6 .7-4.5 4.1 1.2 6-5.3-3-5.3 3 1.2-6-4.5-4.1 6-.7z",
  suitcase: "M3 8h18v11H3zM9 8V5h6v3M3 13h18",
  "thumb-down": "M7 4v10M7 14l4 7c1.5 0 2.5-1 2-3l-.7-3H18a2 2 0 0 0 2-2.4l-1.2-6A2 2 0 0 0 16.8 5H7M3.5 4H7v10H3.5z",
  "thumb-up": "M7 20V10M7 10l4-7c1.5 0 2.5 1 2 3l-.7 3H18a2 2 0 0 1 2 2.4l-1.2 6A2 2 0 0 1 16.8 19H7M3.5 10H7v10H3.5z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 21c.7-4.5 3.5-6 8-6s7.3 1.5 8 6",
  warning: "M12 4 2.5 20h19zM12 10v4.5M12 17.2h.01",
  write: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
};

const ALIASES = {
  "book-closed": "document", "book-clock": "clock", "book-open": "document", "check-circle-filled": "check-circle",
  "notebook-pencil": "write", "page-blank": "document", "profile-card": "user", "sparkle-double": "sparkle",
  "star-filled": "star", "write-alt": "write", "write-alt2": "write", analytics: "chart", compass: "globe",
  images: "square-image", maps: "map-pin", mobile: "phone", name: "user", notebook: "document", profile: "user",
};

/** An icon for the eye only; whatever it says must also be there as text. Unknown names give a dot. */
export function icon(name, className = "") {
  const plain = String(name ?? "dot").replace(/^(vendor|lucide):/, "");
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24", class: `icon ${className}`.trim(), "aria-hidden": "true", focusable: "false",
  })) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[plain] ?? PATHS[ALIASES[plain]] ?? PATHS.dot);
  svg.append(path);
  return svg;
}
