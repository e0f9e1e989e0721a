import base from "./base.css?inline";
import composer from "./composer.css?inline";
import conversation from "./conversation.css?inline";
import forcedColors from "./forced_colors.css?inline";
import items from "./items.css?inline";
import markdown from "./markdown.css?inline";
import print from "./print.css?inline";
import shell from "./shell.css?inline";
import startScreen from "./start_screen.css?inline";
import suggestions from "./suggestions.css?inline";
import widgetControls from "./widgets/controls.css?inline";
import widgetData from "./widgets/data.css?inline";
import widgetFrame from "./widgets/frame.css?inline";

/** The order matters where two rules have the same specificity. */
const WIDGETS = [widgetFrame, widgetControls, widgetData];
const STYLES = [
  base,
  shell,
  conversation,
  markdown,
  items,
  ...WIDGETS,
  startScreen,
  suggestions,
  composer,
  forcedColors,
  print,
];

let sheet: CSSStyleSheet | null = null;

/** The style sheet that all elements of a page share. A page's policy against inline styles does not apply to it. */
export function styleSheet(): CSSStyleSheet {
  if (sheet === null) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLES.join("\n"));
  }
  return sheet;
}
