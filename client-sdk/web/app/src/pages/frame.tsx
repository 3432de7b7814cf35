import { Moon, Sun } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { preferences, remember } from "../preferences.js";
import { navigate } from "../router.js";
import { text } from "../text.js";
import { IconButton } from "../ui/button.js";
import { Logo } from "../ui/logo.js";

/** Turns dark into light, and back. */
function ThemeSwitch() {
  // Read again at every choice: what the system says shows on the page itself.
  const { theme } = preferences.value;
  const light =
    theme === "light" || (theme === "system" && document.documentElement.dataset.theme === "light");
  return (
    <IconButton
      label={light ? text.settings.themes.dark : text.settings.themes.light}
      icon={light ? <Moon /> : <Sun />}
      tooltip="below"
      onClick={() => remember({ theme: light ? "dark" : "light" })}
    />
  );
}

/** What all pages outside of a meeting have around them. */
export function Frame({
  children,
  narrow = false,
}: {
  readonly children: ComponentChildren;
  readonly narrow?: boolean;
}) {
  return (
    <div class="page">
      <header class="page-header">
        <a
          class="brand"
          href="/"
          onClick={(event) => {
            event.preventDefault();
            navigate("/");
          }}
        >
          <Logo size={30} />
          <span>{text.product}</span>
        </a>
        <ThemeSwitch />
      </header>
      <main class={narrow ? "page-main page-narrow" : "page-main"}>{children}</main>
    </div>
  );
}
