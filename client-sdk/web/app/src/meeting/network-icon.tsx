import type { NetworkGrade } from "@darktower/client";
import { text } from "../text.js";

const BARS: Record<NetworkGrade, number> = { notMeasured: 0, poor: 1, fair: 2, good: 3, excellent: 4 };

/** Four bars, as many filled as the network is good. */
export function NetworkIcon({ grade }: { readonly grade: NetworkGrade }) {
  return (
    <span
      class={`network network-${grade}`}
      role="img"
      aria-label={text.tile.quality[grade]}
      title={text.tile.quality[grade]}
    >
      {[1, 2, 3, 4].map((bar) => (
        <span key={bar} class={bar <= BARS[grade] ? "network-bar filled" : "network-bar"} />
      ))}
    </span>
  );
}
