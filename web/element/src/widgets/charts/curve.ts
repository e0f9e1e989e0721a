export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The path through points as an SVG `d`: straight, in steps, or smooth without overshooting. */
export function curvePath(points: readonly Point[], curve: string): string {
  const [first, ...rest] = points;
  if (!first) return "";
  const start = `M${at(first)}`;
  if (curve.startsWith("step"))
    return start + rest.map((point, index) => step(points[index] ?? first, point, curve)).join("");
  if (!curve || curve.startsWith("linear") || points.length < 3)
    return start + rest.map((point) => `L${at(point)}`).join("");
  return start + smooth(points);
}

function at({ x, y }: Point): string {
  return `${round(x)},${round(y)}`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function step(from: Point, to: Point, curve: string): string {
  const corner = curve === "stepBefore" ? from.x : curve === "stepAfter" ? to.x : (from.x + to.x) / 2;
  return `L${at({ x: corner, y: from.y })}L${at({ x: corner, y: to.y })}L${at(to)}`;
}

/** A monotone cubic after Fritsch and Carlson, which stays within the values of two neighbouring points. */
function smooth(points: readonly Point[]): string {
  const slopes = points.map((point, index) => slopeAt(points[index - 1], point, points[index + 1]));
  return points
    .slice(1)
    .map((to, index) => {
      const from = points[index] ?? to;
      const third = (to.x - from.x) / 3;
      const one = { x: from.x + third, y: from.y + third * (slopes[index] ?? 0) };
      const two = { x: to.x - third, y: to.y - third * (slopes[index + 1] ?? 0) };
      return `C${at(one)} ${at(two)} ${at(to)}`;
    })
    .join("");
}

function slopeAt(before: Point | undefined, here: Point, after: Point | undefined): number {
  if (!before || !after) return between(before ?? here, after ?? here);
  const [left, right] = [between(before, here), between(here, after)];
  if (left * right <= 0) return 0;
  return (2 * left * right) / (left + right);
}

function between(from: Point, to: Point): number {
  return to.x === from.x ? 0 : (to.y - from.y) / (to.x - from.x);
}
