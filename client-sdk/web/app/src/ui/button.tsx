import type { ComponentChildren, JSX } from "preact";
import { preferences } from "../preferences.js";
import { Spinner } from "./spinner.js";

export type ButtonTone = "primary" | "plain" | "danger" | "quiet";

type Native = Omit<JSX.ButtonHTMLAttributes, "size" | "icon" | "label">;

export interface ButtonProps extends Native {
  readonly tone?: ButtonTone;
  readonly icon?: ComponentChildren;
  /** Shows that it works, and takes no more clicks meanwhile. */
  readonly busy?: boolean;
  readonly wide?: boolean;
  readonly small?: boolean;
}

/** A button with words. */
export function Button({
  tone = "plain",
  icon,
  busy = false,
  wide = false,
  small = false,
  children,
  disabled,
  ...rest
}: ButtonProps) {
  const classes = ["button", `button-${tone}`, wide ? "button-wide" : "", small ? "button-small" : ""];
  return (
    <button type="button" {...rest} disabled={busy || disabled} class={classes.filter(Boolean).join(" ")}>
      {busy ? <Spinner /> : icon}
      <span>{children}</span>
    </button>
  );
}

export interface IconButtonProps extends Native {
  /** What it does, for tooltip and screen readers. */
  readonly label: string;
  readonly icon: ComponentChildren;
  /** For toggles whose label stays the same: one that changes says enough, and both together the contrary. */
  readonly pressed?: boolean;
  readonly tone?: "bar" | "off" | "on" | "danger" | "quiet";
  readonly badge?: string | number | undefined;
  /** A key that does the same, shown in the tooltip. */
  readonly shortcut?: string;
  readonly tooltip?: "above" | "below" | "none";
}

/** A button with a picture; its label is a tooltip. */
export function IconButton({
  label,
  icon,
  pressed,
  tone = "quiet",
  badge,
  shortcut,
  tooltip = "above",
  class: extra,
  ...rest
}: IconButtonProps) {
  const key = preferences.value.shortcuts ? shortcut : undefined;
  return (
    <button
      type="button"
      {...rest}
      class={`icon-button icon-button-${tone} ${typeof extra === "string" ? extra : ""}`}
      aria-label={label}
      aria-pressed={pressed}
      aria-keyshortcuts={key}
      data-tooltip={tooltip === "none" ? undefined : key === undefined ? label : `${label} (${key})`}
      data-tooltip-side={tooltip}
    >
      {icon}
      {badge !== undefined && <span class="badge">{badge}</span>}
    </button>
  );
}
