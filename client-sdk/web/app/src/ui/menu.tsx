import { Check } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { IconButton, type IconButtonProps } from "./button.js";

export interface MenuItem {
  readonly label: string;
  readonly icon?: ComponentChildren;
  readonly danger?: boolean;
  /** For choices: whether it is the one. */
  readonly checked?: boolean;
  readonly disabled?: boolean;
  readonly hint?: string;
  readonly run: () => void;
}

export interface MenuGroup {
  readonly title?: string;
  readonly items: readonly MenuItem[];
}

interface MenuProps {
  readonly button: Pick<IconButtonProps, "label" | "icon" | "tone" | "badge" | "tooltip" | "class">;
  readonly groups: readonly MenuGroup[];
  /** Shown above the items, for what is no item (a slider, for example). */
  readonly header?: ComponentChildren;
}

const MARGIN = 8;

/** Where a popover of `width`×`height` goes beside its button: above if there is room, inside the window in any case. */
function position(anchor: DOMRect, width: number, height: number): { left: number; top: number } {
  const above = anchor.top - height - MARGIN;
  const below = anchor.bottom + MARGIN;
  const fitsBelow = below + height <= innerHeight - MARGIN;
  const preferBelow = anchor.top < innerHeight / 2;
  const top = preferBelow && fitsBelow ? below : above >= MARGIN ? above : fitsBelow ? below : MARGIN;
  const middle = anchor.left + anchor.width / 2 - width / 2;
  return { left: Math.max(MARGIN, Math.min(middle, innerWidth - width - MARGIN)), top };
}

/** A button that opens something above everything else: light to dismiss, closed by Escape. */
export function Popover({
  button,
  children,
  role,
  label,
  onOpened,
}: {
  readonly button: MenuProps["button"];
  /** Rendered while it is open; `close` closes it. */
  readonly children: (close: () => void) => ComponentChildren;
  readonly role?: "dialog";
  readonly label?: string;
  readonly onOpened?: (popover: HTMLElement) => void;
}) {
  const id = useId();
  const ref = useRef<HTMLDivElement>(null);
  const anchor = useRef<HTMLSpanElement>(null);
  const [open, setOpen] = useState(false);
  useLayoutEffect(() => {
    const popover = ref.current;
    if (!open || !popover || !anchor.current) return;
    const place = () => {
      const trigger = anchor.current?.getBoundingClientRect();
      if (!trigger) return;
      const { left, top } = position(trigger, popover.offsetWidth, popover.offsetHeight);
      popover.style.left = `${left}px`;
      popover.style.top = `${top}px`;
    };
    place();
    onOpened?.(popover);
    addEventListener("resize", place);
    return () => removeEventListener("resize", place);
  }, [open, onOpened]);
  const close = () => {
    ref.current?.hidePopover();
    anchor.current?.querySelector("button")?.focus();
  };
  return (
    <span class="popover-anchor" ref={anchor}>
      <IconButton
        {...button}
        popovertarget={id}
        aria-haspopup={role === "dialog" ? "dialog" : "menu"}
        aria-expanded={open}
        {...(open ? { "aria-controls": id } : {})}
      />
      <div
        ref={ref}
        id={id}
        class="popover"
        popover="auto"
        {...(role === undefined ? {} : { role, "aria-label": label })}
        onToggle={(event) => setOpen(event.newState === "open")}
      >
        {open && children(close)}
      </div>
    </span>
  );
}

function focusItem(list: HTMLElement, step: number | "first" | "last"): void {
  const items = [...list.querySelectorAll<HTMLElement>('[role^="menuitem"]:not([disabled])')];
  const now = items.indexOf(document.activeElement as HTMLElement);
  const next =
    step === "first" ? 0 : step === "last" ? items.length - 1 : (now + step + items.length) % items.length;
  items[next]?.focus();
}

const KEYS: Readonly<Record<string, number | "first" | "last">> = {
  ArrowDown: 1,
  ArrowUp: -1,
  Home: "first",
  End: "last",
};

/** A button with a menu: arrow keys go through it. */
export function Menu({ button, groups, header }: MenuProps) {
  return (
    <Popover button={button} onOpened={(popover) => focusItem(popover, "first")}>
      {(close) => (
        <>
          {header}
          <div
            role="menu"
            tabIndex={-1}
            aria-label={button.label}
            class="menu"
            onKeyDown={(event) => {
              const step = KEYS[event.key];
              if (step === undefined) return;
              event.preventDefault();
              focusItem(event.currentTarget, step);
            }}
          >
            {groups
              .filter((group) => group.items.length > 0)
              .map((group, index) => (
                // biome-ignore lint/a11y/useSemanticElements: a fieldset is no part of a menu
                <div role="group" aria-label={group.title} class="menu-group" key={group.title ?? index}>
                  {group.title !== undefined && (
                    <div class="menu-title" aria-hidden="true">
                      {group.title}
                    </div>
                  )}
                  {group.items.map((item) => (
                    <button
                      type="button"
                      key={item.label}
                      {...(item.checked === undefined
                        ? { role: "menuitem" }
                        : { role: "menuitemradio", "aria-checked": item.checked })}
                      disabled={item.disabled}
                      class={item.danger ? "menu-item menu-item-danger" : "menu-item"}
                      onClick={() => {
                        close();
                        item.run();
                      }}
                    >
                      <span class="menu-icon" aria-hidden="true">
                        {item.checked === undefined ? item.icon : item.checked && <Check />}
                      </span>
                      <span class="menu-label">{item.label}</span>
                      {item.hint !== undefined && <kbd>{item.hint}</kbd>}
                    </button>
                  ))}
                </div>
              ))}
          </div>
        </>
      )}
    </Popover>
  );
}
