/** Dark or light: what was chosen, or what the system says. */

import { effect, signal } from "@preact/signals";
import { preferences } from "./preferences.js";

const COLOURS = { dark: "#0f1218", light: "#f3f5f9" };

/** Keeps `data-theme` of the page in step with choice and system. */
export function startTheme(): void {
  const query = matchMedia("(prefers-color-scheme: light)");
  const systemIsLight = signal(query.matches);
  query.addEventListener("change", () => {
    systemIsLight.value = query.matches;
  });
  effect(() => {
    const choice = preferences.value.theme;
    const theme = choice === "system" ? (systemIsLight.value ? "light" : "dark") : choice;
    document.documentElement.dataset.theme = theme;
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", COLOURS[theme]);
  });
}
