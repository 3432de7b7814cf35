/** Made-up pictures for the gallery: people before a wall, and a slide. */

/** Draws somebody, breathing. */
export function drawPerson(context: CanvasRenderingContext2D, seed: number, timeMs: number): void {
  const { width, height } = context.canvas;
  const hue = (seed * 67 + 200) % 360;
  const wall = context.createLinearGradient(0, 0, width, height);
  wall.addColorStop(0, `hsl(${hue} 22% 62%)`);
  wall.addColorStop(1, `hsl(${hue + 30} 26% 38%)`);
  context.fillStyle = wall;
  context.fillRect(0, 0, width, height);
  context.fillStyle = `hsl(${hue} 20% 80% / 0.5)`;
  context.fillRect(width * 0.08, height * 0.1, width * 0.2, height * 0.38);
  context.fillStyle = `hsl(${hue + 60} 25% 30% / 0.5)`;
  context.fillRect(width * 0.78, 0, width * 0.16, height);
  const sway = Math.sin(timeMs / 1400 + seed) * width * 0.008;
  const skins = ["#f1c7a5", "#c98d63", "#8d5a3b", "#e8b48c", "#5c3a28"];
  const x = width * 0.5 + sway;
  context.fillStyle = `hsl(${(hue + 140) % 360} 34% 34%)`;
  context.beginPath();
  context.ellipse(x, height * 1.06, height * 0.46, height * 0.38, 0, Math.PI, 0);
  context.fill();
  context.fillStyle = skins[seed % skins.length] ?? "#c98d63";
  context.fillRect(x - height * 0.07, height * 0.58, height * 0.14, height * 0.15);
  context.beginPath();
  context.ellipse(x, height * 0.44, height * 0.16, height * 0.2, 0, 0, Math.PI * 2);
  context.fill();
  context.fillStyle = ["#2b1d16", "#5b3a1e", "#16161c", "#a9743c", "#6b6b72"][(seed * 3) % 5] ?? "#222";
  context.beginPath();
  context.ellipse(x, height * 0.33, height * 0.175, height * 0.125, 0, Math.PI, 0);
  context.fill();
}

/** Draws a slide. */
export function drawSlide(context: CanvasRenderingContext2D, timeMs: number): void {
  const { width, height } = context.canvas;
  context.fillStyle = "#fbfbfd";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#22304f";
  context.font = `600 ${height * 0.075}px system-ui, sans-serif`;
  context.fillText("Latency by week", width * 0.07, height * 0.16);
  context.font = `${height * 0.035}px system-ui, sans-serif`;
  context.fillStyle = "#5d6880";
  context.fillText("Capture to screen, p95, milliseconds", width * 0.07, height * 0.23);
  for (let i = 0; i < 9; i++) {
    const tall = height * (0.5 - i * 0.035 + Math.sin(timeMs / 900 + i) * 0.006);
    context.fillStyle = i === 8 ? "#4f66d6" : "#c3cdf0";
    context.fillRect(width * (0.08 + i * 0.095), height * 0.88 - tall, width * 0.065, tall);
  }
}

/** A canvas that is drawn ten times a second, for as long as it is in a page or its stream is used. */
export function animated(
  width: number,
  height: number,
  draw: (context: CanvasRenderingContext2D, timeMs: number) => void,
): { readonly canvas: HTMLCanvasElement; stop(): void } {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws nothing");
  draw(context, performance.now());
  const timer = setInterval(() => draw(context, performance.now()), 100);
  return { canvas, stop: () => clearInterval(timer) };
}
