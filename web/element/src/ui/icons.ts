/** Icons drawn as strokes in a 24 by 24 box, by ChatKit's names and some of Lucide's. */

const SVG = "http://www.w3.org/2000/svg";

const CIRCLE = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18";
const FRAME = "M4 5h16v14H4z";
const STAR = "M12 3.5l2.6 5.6 6 .7-4.5 4.1 1.2 6-5.3-3-5.3 3 1.2-6-4.5-4.1 6-.7z";

const PATHS = new Map(
  Object.entries({
    agent: "M12 3v3M6 9h12v9H6zM9.5 13h.01M14.5 13h.01M3 12v3M21 12v3",
    at: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M16 8v5a2.5 2.5 0 0 0 5 0v-1a9 9 0 1 0-4 7.5",
    atom: "M12 11.2a.8.8 0 1 0 0 1.6.8.8 0 0 0 0-1.6M12 8c5 0 9 1.8 9 4s-4 4-9 4-9-1.8-9-4 4-4 9-4M15.5 10c2.5 4.3 3 8.7 1 9.8s-5.5-1.5-8-5.8-3-8.7-1-9.8 5.5 1.5 8 5.8M8.5 10c-2.5 4.3-3 8.7-1 9.8s5.5-1.5 8-5.8 3-8.7 1-9.8-5.5 1.5-8 5.8",
    attach: "M20 11.5 12 19.5a5 5 0 0 1-7-7l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7L9.8 17a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6",
    "back-large": "M20 12H4M11 5l-7 7 7 7",
    "back-small": "M18 12H7M12 7l-5 5 5 5",
    batch: "M4 4h11v11H4zM9 19h10V8",
    bell: "M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4",
    bolt: "M13 3 5 14h6l-1 7 8-11h-6z",
    "book-clock":
      "M19 10V4H7a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h3M5 18a2 2 0 0 1 2-2h3M17 13a4 4 0 1 0 0 8 4 4 0 0 0 0-8M17 15v2l1.3 1",
    "book-closed": "M19 4H7a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h12zM5 18a2 2 0 0 1 2-2h12",
    "book-open": "M12 6c-2-1.5-5-2-9-2v14c4 0 7 .5 9 2 2-1.5 5-2 9-2V4c-4 0-7 .5-9 2v14",
    bug: "M8 9a4 4 0 0 1 8 0v5a4 4 0 0 1-8 0zM3 9l5 2M21 9l-5 2M3 18l5-3M21 18l-5-3M3 13.5h5M16 13.5h5",
    calendar: "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
    chart: "M4 20h16M7 16v-5M12 16V6M17 16v-8",
    "chat-temporary":
      "M9 4.5 11 4M14 4l2 .5M18.5 6.5 20 9M20.5 12l-.5 3M17 18l-2 1M4 9l1.5-2.5M3.5 12l.5 3M12 19l-4 2.5V19l-2-1.5",
    check: "M5 12.5 10 17.5 19 7",
    "check-circle": `${CIRCLE}M8 12.5l3 3 5-6`,
    "chevron-down": "M5 9l7 7 7-7",
    "chevron-left": "M15 5l-7 7 7 7",
    "chevron-right": "M9 5l7 7-7 7",
    "chevron-up": "M5 15l7-7 7 7",
    "circle-question": `${CIRCLE}M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M12 16.8h.01`,
    clock: `${CIRCLE}M12 7v5l3.5 2`,
    close: "M6 6l12 12M18 6 6 18",
    cloud: "M7 18a4 4 0 0 1-.5-8 6 6 0 0 1 11.4 1A3.5 3.5 0 0 1 17.5 18z",
    "collapse-large": "M10 3v7H3M10 10 3 3M14 21v-7h7M14 14l7 7",
    "collapse-left": "M4 5v14M20 12H9M13 8l-4 4 4 4",
    "collapse-right": "M20 5v14M4 12h11M11 8l4 4-4 4",
    "collapse-small": "M10 5v5H5M10 10 5 5M14 19v-5h5M14 14l5 5",
    compass: `${CIRCLE}M15.5 8.5 13.5 13.5 8.5 15.5 10.5 10.5z`,
    compose: "M12 5H5v14h14v-7M10 14l.5-2.5L18 4l2 2-7.5 7.5z",
    confetti: "M4 20 8.5 9 15 15.5zM13 4v2M17 7l2-2M20 11h-2M13 9c1-.5 1.5-1.5 1-3M16 12c1-1 2.5-1 4-.5",
    copy: "M9 9h11v11H9zM15 9V4H4v11h5",
    cube: "M12 3 4 7.5v9L12 21l8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
    "dark-mode": "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5",
    database:
      "M12 4c4.4 0 8 1.1 8 2.5S16.4 9 12 9 4 7.9 4 6.5 7.6 4 12 4M4 6.5v11C4 18.9 7.6 20 12 20s8-1.1 8-2.5v-11M4 12c0 1.4 3.6 2.5 8 2.5s8-1.1 8-2.5",
    desktop: "M3 5h18v11H3zM12 16v4M8 20h8",
    document: "M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 16h6",
    dot: "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
    "dots-horizontal":
      "M5 11.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2M12 11.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2M19 11.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2",
    "dots-horizontal-circle": `${CIRCLE}M8 12h.01M12 12h.01M16 12h.01`,
    "dots-vertical":
      "M12 4.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2M12 11.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2M12 18.4a.6.6 0 1 0 0 1.2.6.6 0 0 0 0-1.2",
    "dots-vertical-circle": `${CIRCLE}M12 8v.01M12 12v.01M12 16v.01`,
    "double-chevron-left": "M12 6l-6 6 6 6M18 6l-6 6 6 6",
    "double-chevron-right": "M12 6l6 6-6 6M6 6l6 6-6 6",
    down: "M12 5v14M6 13l6 6 6-6",
    download: "M12 4v11M7 10.5l5 5 5-5M4 20h16",
    "empty-circle": CIRCLE,
    "expand-large": "M14 3h7v7M21 3l-7 7M10 21H3v-7M3 21l7-7",
    "expand-small": "M14 5h5v5M19 5l-5 5M10 19H5v-5M5 19l5-5",
    "external-link": "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
    eye: "M2.5 12C5 7.5 8 6 12 6s7 1.5 9.5 6c-2.5 4.5-5.5 6-9.5 6s-7-1.5-9.5-6M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5",
    flag: "M5 21V4h12l-2.5 4.5L17 13H5",
    folder: "M3 6h6l2 2h10v11H3z",
    globe: `${CIRCLE}M3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18`,
    grid: "M4 4h6.5v6.5H4zM13.5 4H20v6.5h-6.5zM4 13.5h6.5V20H4zM13.5 13.5H20V20h-6.5z",
    heart: "M12 20C5 15 3.5 12 3.5 9A4.5 4.5 0 0 1 12 7a4.5 4.5 0 0 1 8.5 2c0 3-1.5 6-8.5 11",
    history: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4.5h4.5M12 8v4.5l3 1.5",
    home: "M4 11l8-7 8 7v9H4zM10 20v-6h4v6",
    "home-alt": "M4 11l8-7 8 7v9H4zM9 16h6",
    images: "M8 4h13v12H8zM16 20H3V8M8 14l4-4 4 4 2-2 3 3M17 7.5h.01",
    info: `${CIRCLE}M12 11v5M12 7.8h.01`,
    keys: "M8 13a4 4 0 1 0 0 8 4 4 0 0 0 0-8M11 14l9-9M16 9l3 3M18.5 6.5l2 2",
    lab: "M9 3h6M10 3v6l-5.5 9.5A1.7 1.7 0 0 0 6 21h12a1.7 1.7 0 0 0 1.5-2.5L14 9V3M7.5 15h9",
    lifesaver: `${CIRCLE}M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M5.7 5.7l3.8 3.8M14.5 14.5l3.8 3.8M18.3 5.7l-3.8 3.8M9.5 14.5l-3.8 3.8`,
    "light-mode":
      "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5V5M12 19v2.5M2.5 12H5M19 12h2.5M5.3 5.3 7 7M17 17l1.7 1.7M18.7 5.3 17 7M7 17l-1.7 1.7",
    lightbulb: "M9 18h6M10 21h4M12 3a6 6 0 0 0-3.5 10.9c.5.4.5 1.1.5 2.1h6c0-1 0-1.7.5-2.1A6 6 0 0 0 12 3",
    link: "M10 14a4 4 0 0 0 6 .4l3-3a4.2 4.2 0 0 0-6-6l-1.5 1.5M14 10a4 4 0 0 0-6-.4l-3 3a4.2 4.2 0 0 0 6 6l1.5-1.5",
    lock: "M5 11h14v10H5zM8 11V8a4 4 0 0 1 8 0v3",
    mail: "M3 6h18v12H3zM3 7l9 7 9-7",
    "map-pin": "M12 21c-4-5-6-8-6-11a6 6 0 0 1 12 0c0 3-2 6-6 11M12 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
    maps: "M3 6l6-2 6 2 6-2v14l-6 2-6-2-6 2zM9 4v14M15 6v14",
    menu: "M4 6h16M4 12h16M4 18h16",
    "menu-inverted": "M4 8h16M4 16h10",
    mic: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3M5 11.5a7 7 0 0 0 14 0M12 18.5V21",
    mobile: "M7 3h10v18H7zM11 18h2",
    name: "M3 6h18v12H3zM7 15l2.5-6 2.5 6M8 13h3M15 10h3M15 14h3",
    notebook: "M6 3h13v18H6zM4 7.5h4M4 12h4M4 16.5h4M12 8h4",
    "notebook-pencil": "M18 9V3H6v18h5M4 7.5h4M4 12h4M4 16.5h4M14 20l.5-2.5 5-5 2 2-5 5z",
    "open-left": "M4 5v14M9 12h11M16 8l4 4-4 4",
    "open-right": "M20 5v14M15 12H4M8 8l-4 4 4 4",
    "page-blank": "M6 3h8l4 4v14H6zM14 3v4h4",
    phone:
      "M5 4h4l1.5 5-2.5 1.5a11 11 0 0 0 5.5 5.5L15 13.5l5 1.5v4a1.5 1.5 0 0 1-1.7 1.5A16 16 0 0 1 3.5 5.7 1.5 1.5 0 0 1 5 4",
    play: "M8 5l11 7-11 7z",
    plus: "M12 5v14M5 12h14",
    profile: `${CIRCLE}M12 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6M6 18.5c1-2.5 3-3.5 6-3.5s5 1 6 3.5`,
    "profile-card":
      "M3 5h18v14H3zM9 8.5a2 2 0 1 0 0 4 2 2 0 0 0 0-4M5.5 16c.5-1.5 1.7-2 3.5-2s3 .5 3.5 2M15 10h3M15 14h3",
    quote: "M10 7H5v6h4c0 2-1 3.5-3 4M19 7h-5v6h4c0 2-1 3.5-3 4",
    reload: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4.5h-4.5",
    search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16.2 16.2 21 21",
    send: "M12 19V5M6 11l6-6 6 6",
    "settings-cog":
      "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6M12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.2 2.2M16.2 16.2l2.2 2.2M18.4 5.6l-2.2 2.2M7.8 16.2l-2.2 2.2",
    "settings-slider": "M4 8h8M16 8h4M14 6v4M4 16h4M12 16h8M10 14v4",
    share: "M12 15V4M7.5 8 12 3.5 16.5 8M5 12v8h14v-8",
    "sidebar-collapse-left": `${FRAME}M9.5 5v14M17 9.5 14 12l3 2.5`,
    "sidebar-collapse-right": `${FRAME}M14.5 5v14M7 9.5 10 12l-3 2.5`,
    "sidebar-floating-left": `${FRAME}M7 8h4v8H7z`,
    "sidebar-floating-open-left": `${FRAME}M7 8h3v8H7zM13.5 9.5 16.5 12l-3 2.5`,
    "sidebar-floating-open-right": `${FRAME}M14 8h3v8h-3zM10.5 9.5 7.5 12l3 2.5`,
    "sidebar-floating-right": `${FRAME}M13 8h4v8h-4z`,
    "sidebar-left": `${FRAME}M9.5 5v14`,
    "sidebar-open-left": `${FRAME}M9.5 5v14M14 9.5l3 2.5-3 2.5`,
    "sidebar-open-left-alt": `${FRAME}M9.5 5v14M12.5 12H17M15 9.5l2.5 2.5-2.5 2.5`,
    "sidebar-open-right": `${FRAME}M14.5 5v14M10 9.5 7 12l3 2.5`,
    "sidebar-open-right-alt": `${FRAME}M14.5 5v14M11.5 12H7M9 9.5 6.5 12 9 14.5`,
    "sidebar-right": `${FRAME}M14.5 5v14`,
    sparkle: "M12 3c.7 5.3 3.3 8.3 9 9-5.7.7-8.3 3.7-9 9-.7-5.3-3.3-8.3-9-9 5.7-.7 8.3-3.7 9-9",
    "sparkle-double":
      "M10 7c.5 4.2 2.5 6.5 7 7-4.5.5-6.5 2.8-7 7-.5-4.2-2.5-6.5-7-7 4.5-.5 6.5-2.8 7-7M18.5 3c.2 1.9 1.1 2.8 3 3-1.9.2-2.8 1.1-3 3-.2-1.9-1.1-2.8-3-3 1.9-.2 2.8-1.1 3-3",
    square: "M7 7h10v10H7z",
    "square-code": "M4 4h16v16H4zM10 9l-3 3 3 3M14 9l3 3-3 3",
    "square-image": "M4 4h16v16H4zM4 16l5-5 5 5 2.5-2.5 3.5 3.5M15.5 8h.01",
    "square-text": "M4 4h16v16H4zM8 9h8M8 12h8M8 15h5",
    star: STAR,
    suitcase: "M3 8h18v11H3zM9 8V5h6v3M3 13h18",
    tag: "M4 4h8l8 8-8 8-8-8zM8.5 8.5h.01",
    terminal: "M4 5h16v14H4zM7.5 9.5 10 12l-2.5 2.5M12.5 15h4",
    "thumb-down": "M7 4v10M7 14l4 7c1.5 0 2.5-1 2-3l-.7-3H18a2 2 0 0 0 2-2.4l-1.2-6A2 2 0 0 0 16.8 5H7M3.5 4H7v10H3.5z",
    "thumb-up":
      "M7 20V10M7 10l4-7c1.5 0 2.5 1 2 3l-.7 3H18a2 2 0 0 1 2 2.4l-1.2 6A2 2 0 0 1 16.8 19H7M3.5 10H7v10H3.5z",
    trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
    upload: "M12 16V5M7 9.5l5-5 5 5M4 20h16",
    user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 21c.7-4.5 3.5-6 8-6s7.3 1.5 8 6",
    users:
      "M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M2.5 20c.5-4 2.5-5.5 6.5-5.5s6 1.5 6.5 5.5M15.5 5.3a3.5 3.5 0 0 1 0 6.4M18 15c2 .7 3.2 2.3 3.5 5",
    warning: "M12 4 2.5 20h19zM12 10v4.5M12 17.2h.01",
    wreath:
      "M9 20c-4-1.5-6-5-5.5-9.5M4 8c-1-2 0-3.5.5-4C6 5 6 7 4 8M4 12.5c-2-.5-2.5-2-2.5-3 2 0 3 1 2.5 3M6 17c-2 .5-3.5-.5-4-1.5 1.5-1 3.5-.5 4 1.5M15 20c4-1.5 6-5 5.5-9.5M20 8c1-2 0-3.5-.5-4C18 5 18 7 20 8M20 12.5c2-.5 2.5-2 2.5-3-2 0-3 1-2.5 3M18 17c2 .5 3.5-.5 4-1.5-1.5-1-3.5-.5-4 1.5M12 21v-.01",
    wrench:
      "M14.5 6.5a4.5 4.5 0 0 1 5.7-1.2L17 8.5l.5 2 2 .5 2.2-2.2a4.5 4.5 0 0 1-6.2 5L7 22l-4-4 8.3-8.5a4.5 4.5 0 0 1 3.2-3",
    write: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
    "write-alt": "M4 20h16M6 16l.7-3.5L15 4l3 3-8.5 8.3z",
    "write-alt2": "M20 4C12 4 7 9 5 19c4-1 6-2 8-4l-2.5-.5 4.5-1.5c3-2.5 4.5-5.5 5-9M5 19l-1 2",
  }),
);

/** Icons drawn as a surface; the inner shapes are cut out. */
const FILLED = new Map(
  Object.entries({
    "check-circle-filled": `${CIRCLE}M10.8 16.7 6.8 12.7l1.5-1.5 2.5 2.5 4.9-5.8 1.6 1.4z`,
    "star-filled": STAR,
    stop: "M7 7h10v10H7z",
  }),
);

const ALIASES = new Map(
  Object.entries({
    analytics: "chart",
    "arrow-down": "down",
    "arrow-left": "back-large",
    "arrow-up": "send",
    "bar-chart": "chart",
    book: "book-closed",
    bot: "agent",
    briefcase: "suitcase",
    "circle-alert": "warning",
    "circle-check": "check-circle",
    "circle-help": "circle-question",
    code: "square-code",
    edit: "write",
    ellipsis: "dots-horizontal",
    file: "page-blank",
    "file-text": "document",
    hamburger: "menu",
    house: "home",
    image: "square-image",
    moon: "dark-mode",
    paperclip: "attach",
    pencil: "write",
    "refresh-cw": "reload",
    settings: "settings-cog",
    smartphone: "mobile",
    sparkles: "sparkle-double",
    sun: "light-mode",
    "thumbs-down": "thumb-down",
    "thumbs-up": "thumb-up",
    "trash-2": "trash",
    "triangle-alert": "warning",
    x: "close",
    zap: "bolt",
  }),
);

const DOT = "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4";

/**
 * An icon, hidden from screen readers, so that the caller must give its meaning as text too. Names of ChatKit and the
 * commonest of Lucide's are drawn at once, the others once Lucide's icons are loaded. Unknown names give a dot.
 */
export function icon(name: string | null | undefined, className = ""): SVGSVGElement {
  const plain = (typeof name === "string" ? name : "dot").replace(/^(vendor|lucide):/, "");
  const known = ALIASES.get(plain) ?? plain;
  const filled = FILLED.get(known);
  const svg = shape("svg", {
    viewBox: "0 0 24 24",
    class: `icon ${className}`.trim(),
    "aria-hidden": "true",
    focusable: "false",
  });
  const isKnown = filled !== undefined || PATHS.has(known);
  const surface = filled ? { fill: "currentColor", "fill-rule": "evenodd", "stroke-width": "0.5" } : {};
  svg.append(shape("path", { d: filled ?? PATHS.get(known) ?? DOT, ...surface }));
  if (!isKnown && known !== "dot") void drawLucide(svg, plain);
  return svg;
}

/** Draws an icon of Lucide's into the place of the dot. The dot stays where there is no such icon. */
async function drawLucide(svg: SVGSVGElement, name: string): Promise<void> {
  try {
    const { lucideShapes } = await import("./lucide.js");
    const shapes = lucideShapes(name);
    if (shapes !== null) svg.replaceChildren(...shapes.map(([tag, attributes]) => shape(tag, attributes)));
  } catch {
    // The dot stays where the site does not serve the file of the icons.
  }
}

function shape<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string | number>>,
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
