/**
 * People to look at, for screenshots: drawn, so that nobody's picture is in the repository, and moving a little, because
 * that is what is encoded, sent and shown. Chromium draws them, ffmpeg moves them.
 */

import { execFile } from "node:child_process";
import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Browser, chromium } from "@playwright/test";
import { findInPath, paths } from "./programs.js";

const WIDTH = 640;
const HEIGHT = 360;
/** Few pictures a second: all of them are decoded at once, beside a browser that draws. */
const FRAMERATE = 10;
/** One sway to and fro, so that the loop has no seam. */
const SECONDS = 4;
/** Another when what is drawn changes. */
const RECIPE = 1;
const folder = join(paths.made, `portraits-${RECIPE}`);

type Hair = "short" | "long" | "bun" | "curls" | "none";

interface Look {
  readonly wall: readonly [string, string];
  readonly skin: string;
  readonly hair: Hair;
  readonly hairColour: string;
  readonly shirt: string;
  readonly glasses?: boolean;
  readonly beard?: boolean;
}

const LOOKS = {
  "Mira Novak": {
    wall: ["#35507a", "#7fa3c7"],
    skin: "#f0c4a0",
    hair: "long",
    hairColour: "#4a2c1d",
    shirt: "#f2efe6",
  },
  "Jonas Berg": {
    wall: ["#2f5d50", "#8fbf9f"],
    skin: "#f3cfb0",
    hair: "short",
    hairColour: "#c79a56",
    shirt: "#27405f",
    beard: true,
  },
  "Amara Okafor": {
    wall: ["#7a4530", "#e0a878"],
    skin: "#7b4a2d",
    hair: "curls",
    hairColour: "#1d1412",
    shirt: "#e9b949",
  },
  "Kenji Sato": {
    wall: ["#4b4570", "#a59fd0"],
    skin: "#eec39a",
    hair: "short",
    hairColour: "#17151a",
    shirt: "#c94f4f",
    glasses: true,
  },
  "Lucía Ramos": {
    wall: ["#6b2f4f", "#d79ab5"],
    skin: "#d9a074",
    hair: "bun",
    hairColour: "#2b1a14",
    shirt: "#3f7f78",
  },
  "Samuel Price": {
    wall: ["#3c4653", "#a3b1c2"],
    skin: "#5b3822",
    hair: "none",
    hairColour: "#15100d",
    shirt: "#6f86b9",
    beard: true,
    glasses: true,
  },
  "Noor Haddad": {
    wall: ["#1f5c70", "#8ccbd6"],
    skin: "#dbab82",
    hair: "long",
    hairColour: "#15110f",
    shirt: "#e2725b",
  },
  "Pieter de Wit": {
    wall: ["#5d5a2c", "#c9c48a"],
    skin: "#f5d3ba",
    hair: "short",
    hairColour: "#8d8f94",
    shirt: "#50614a",
    glasses: true,
  },
  "Elif Kaya": {
    wall: ["#40356b", "#c59ad8"],
    skin: "#eab98f",
    hair: "curls",
    hairColour: "#7a3b1f",
    shirt: "#f4f1ea",
  },
} as const satisfies Record<string, Look>;
export type PortraitName = keyof typeof LOOKS;

/** Everybody, in the order in which they come. The first is whoever looks at the screen. */
export const PORTRAITS = Object.keys(LOOKS) as PortraitName[];

/** What that person's camera shows, to be published by a native client. */
export const portraitClip = (name: PortraitName): string => join(folder, `${fileName(name)}.ivf`);
/** The same as the file of a browser's fake camera. */
export const portraitCamera = (name: PortraitName): string => join(folder, `${fileName(name)}.mjpeg`);
/** What somebody shares. */
export const slideClip = join(folder, "slide.ivf");

function fileName(name: PortraitName): string {
  return name.replaceAll(/[^A-Za-z]+/g, "-");
}

/** Makes all that is missing: all or nothing. */
export async function makePortraits(): Promise<void> {
  const whole = join(folder, "whole");
  if (await isThere(whole)) return;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const browser = await chromium.launch({
    executablePath: findInPath("chromium"),
    chromiumSandbox: false,
    args: ["--no-sandbox", "--disable-gpu"],
  });
  try {
    for (const name of PORTRAITS) await makePortrait(browser, name);
    await makeSlide(browser);
  } finally {
    await browser.close();
  }
  await writeFile(whole, "");
}

async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function makePortrait(browser: Browser, name: PortraitName): Promise<void> {
  const stem = join(folder, fileName(name));
  const [wall, person] = [`${stem}-wall.png`, `${stem}-person.png`];
  await draw(browser, wall, { width: WIDTH, height: HEIGHT }, wallSvg(LOOKS[name]));
  await draw(browser, person, { width: WIDTH, height: HEIGHT }, personSvg(LOOKS[name]));
  const turn = `2*PI*t/${SECONDS}`;
  const sway = `[0][1]overlay=x='9*sin(${turn})':y='3+3*cos(2*${turn})':eval=frame`;
  const inputs = [wall, person].flatMap((file) => still(file));
  await ffmpeg([...inputs, "-filter_complex", sway, ...vp8("600k"), portraitClip(name)]);
  if (name === PORTRAITS[0]) {
    const mjpeg = ["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-f", "mjpeg"];
    await ffmpeg([...inputs, "-filter_complex", sway, ...mjpeg, portraitCamera(name)]);
  }
}

async function makeSlide(browser: Browser): Promise<void> {
  const file = join(folder, "slide.png");
  await draw(browser, file, { width: 1280, height: 720 }, SLIDE);
  await ffmpeg([...still(file), ...vp8("1200k"), slideClip]);
}

function still(file: string): string[] {
  return ["-loop", "1", "-framerate", String(FRAMERATE), "-t", String(SECONDS), "-i", file];
}

/** Whoever subscribes waits for the next key frame: there is one each second. */
function vp8(bitrate: string): string[] {
  const fast = ["-deadline", "realtime", "-cpu-used", "5"];
  return ["-c:v", "libvpx", ...fast, "-b:v", bitrate, "-g", String(FRAMERATE), "-pix_fmt", "yuv420p"];
}

async function ffmpeg(options: string[]): Promise<void> {
  const quiet = ["-hide_banner", "-loglevel", "error", "-y"];
  await promisify(execFile)(findInPath("ffmpeg"), [...quiet, ...options]);
}

/** Takes a picture of `html`; what it does not cover is transparent. */
async function draw(
  browser: Browser,
  file: string,
  viewport: { width: number; height: number },
  html: string,
): Promise<void> {
  const page = await browser.newPage({ viewport });
  await page.setContent(`<style>html,body{margin:0}svg{display:block}</style>${html}`);
  await page.screenshot({ path: file, omitBackground: true });
  await page.close();
}

function svg(content: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 640 360">${content}</svg>`;
}

/** A wall with a lamp's light on it, a shelf and a window, out of focus. */
function wallSvg({ wall: [dark, light] }: Look): string {
  return svg(`
    <defs>
      <linearGradient id="wall" x1="0" y1="1" x2="1" y2="0">
        <stop offset="0" stop-color="${dark}"/><stop offset="1" stop-color="${light}"/>
      </linearGradient>
      <radialGradient id="light"><stop offset="0" stop-color="#fff" stop-opacity=".45"/><stop offset="1" stop-color="#fff" stop-opacity="0"/></radialGradient>
      <filter id="soft"><feGaussianBlur stdDeviation="5"/></filter>
    </defs>
    <rect width="640" height="360" fill="url(#wall)"/>
    <circle cx="520" cy="70" r="220" fill="url(#light)"/>
    <g filter="url(#soft)" fill="${dark}" opacity=".55">
      <rect x="40" y="120" width="150" height="9"/><rect x="58" y="72" width="16" height="48"/>
      <rect x="80" y="80" width="14" height="40"/><rect x="100" y="64" width="18" height="56"/>
      <circle cx="158" cy="101" r="18"/>
    </g>
    <g filter="url(#soft)" opacity=".5"><rect x="480" y="40" width="110" height="130" fill="#fff" opacity=".55"/>
      <rect x="532" y="40" width="6" height="130" fill="${dark}"/><rect x="480" y="102" width="110" height="6" fill="${dark}"/></g>`);
}

function personSvg(look: Look): string {
  const { skin, hairColour, shirt } = look;
  const behind = {
    long: `<path d="M232 300V160a88 92 0 0 1 176 0v140z" fill="${hairColour}"/>`,
    curls: [
      [240, 170, 42],
      [400, 170, 42],
      [262, 108, 48],
      [378, 108, 48],
      [320, 84, 54],
      [236, 222, 34],
      [404, 222, 34],
    ]
      .map(([x, y, r]) => `<circle cx="${x}" cy="${y}" r="${r}" fill="${hairColour}"/>`)
      .join(""),
    bun: `<circle cx="320" cy="62" r="32" fill="${hairColour}"/>`,
    short: "",
    none: "",
  }[look.hair];
  const fringe = `<path d="M248 166c-6-70 34-98 72-98s78 28 72 98c-10-32-32-50-64-52-36 2-68 14-80 52z" fill="${hairColour}"/>`;
  const beard = `<path d="M252 186c2 62 34 90 68 90s66-28 68-90c-10 30-28 42-68 42s-58-12-68-42z" fill="${hairColour}"/>`;
  const glasses = `<g fill="none" stroke="#22252b" stroke-width="5"><rect x="263" y="164" width="48" height="36" rx="14"/><rect x="329" y="164" width="48" height="36" rx="14"/><path d="M311 178h18"/></g>`;
  return svg(`
    ${behind}
    <path d="M130 380c4-78 76-106 190-106s186 28 190 106z" fill="${shirt}"/>
    <path d="M288 232h64v52c-8 26-56 26-64 0z" fill="${skin}"/>
    <path d="M288 262c20 18 44 18 64 0v14c-20 18-44 18-64 0z" fill="#000" opacity=".12"/>
    <ellipse cx="250" cy="184" rx="12" ry="19" fill="${skin}"/><ellipse cx="390" cy="184" rx="12" ry="19" fill="${skin}"/>
    <rect x="250" y="86" width="140" height="182" rx="70" fill="${skin}"/>
    ${look.beard ? beard : ""}
    ${look.hair === "none" ? "" : fringe}
    <circle cx="288" cy="182" r="7" fill="#22201f"/><circle cx="352" cy="182" r="7" fill="#22201f"/>
    <path d="M274 160q14-9 28 0M338 160q14-9 28 0" fill="none" stroke="${hairColour}" stroke-width="6" stroke-linecap="round"/>
    <path d="M320 190q-9 18 2 22" fill="none" stroke="#000" stroke-opacity=".2" stroke-width="5" stroke-linecap="round"/>
    <path d="M294 232q26 22 52 0" fill="#fff" stroke="#8c3f37" stroke-width="4" stroke-linejoin="round"/>
    ${look.glasses ? glasses : ""}`);
}

const BARS = [34, 52, 47, 71, 88, 96]
  .map((percent, index) => {
    const height = percent * 3.2;
    return `<rect x="${60 + index * 88}" y="${340 - height}" width="56" height="${height}" rx="6" fill="${index === 5 ? "#3b50c8" : "#aab6ee"}"/>`;
  })
  .join("");

const SLIDE = `
<div style="box-sizing:border-box;width:1280px;height:720px;padding:70px 84px;background:#fff;color:#171c28;font-family:Inter,'DejaVu Sans',sans-serif">
  <div style="font-size:24px;color:#3b50c8;font-weight:600">Quarterly review</div>
  <div style="font-size:58px;font-weight:700;margin:14px 0 44px;letter-spacing:-1px">More people, less waiting</div>
  <div style="display:flex;gap:70px;align-items:flex-start">
    <svg width="620" height="380" viewBox="0 0 620 380"><path d="M40 340h560" stroke="#c8cfda" stroke-width="3"/>${BARS}</svg>
    <ul style="font-size:31px;line-height:1.45;margin:10px 0;padding-left:34px">
      <li>Two new teams joined</li><li>Calls start in a second</li><li>Nothing leaves the house</li>
    </ul>
  </div>
</div>`;
