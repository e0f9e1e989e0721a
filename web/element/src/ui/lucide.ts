import { icons } from "lucide";

type Shape = readonly [tag: keyof SVGElementTagNameMap, attributes: Readonly<Record<string, string | number>>];

/** The shapes of an icon by Lucide's name, `arrow-down-a-z`; null where there is none. It has a file of its own. */
export function lucideShapes(name: string): readonly Shape[] | null {
  const exported = name.replace(/(?:^|-)([a-z0-9])/g, (_, first: string) => first.toUpperCase());
  return Object.hasOwn(icons, exported) ? ((icons as Record<string, unknown>)[exported] as readonly Shape[]) : null;
}
