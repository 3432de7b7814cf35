import { X } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { text } from "../text.js";
import { IconButton } from "../ui/button.js";

interface PanelProps {
  readonly title: string;
  readonly actions?: ComponentChildren;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}

/** Beside the stage; on a phone a sheet above it. Escape closes it and gives the focus back. */
export function Panel({ title, actions, onClose, children }: PanelProps) {
  const titleId = useId();
  const ref = useRef<HTMLElement>(null);
  // Before the effects of what is inside, which may have a better place for the focus.
  useLayoutEffect(() => {
    const before = document.activeElement;
    ref.current?.focus();
    const panel = ref.current;
    return () => {
      const inside = panel?.contains(document.activeElement) || document.activeElement === document.body;
      if (inside && before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <aside
      ref={ref}
      class="panel"
      tabIndex={-1}
      aria-labelledby={titleId}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented) return;
        event.stopPropagation();
        onClose();
      }}
    >
      <header class="panel-header">
        <h2 id={titleId}>{title}</h2>
        {actions}
        <IconButton label={text.common.close} icon={<X />} tooltip="none" onClick={onClose} />
      </header>
      {children}
    </aside>
  );
}
