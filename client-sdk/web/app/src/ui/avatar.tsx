import { UserRound } from "lucide-preact";
import { avatarColour, initials } from "../format.js";

interface AvatarProps {
  readonly participantId: string;
  readonly name: string;
  /** Pixels; absent: as large as the style says. */
  readonly size?: number;
}

/** Initials on a colour that stays with the participant. The name is said beside it. */
export function Avatar({ participantId, name, size }: AvatarProps) {
  const style =
    size === undefined
      ? undefined
      : { width: `${size}px`, height: `${size}px`, fontSize: `${Math.round(size * 0.4)}px` };
  return (
    <span class={`avatar avatar-${avatarColour(participantId)}`} style={style} aria-hidden="true">
      {name.trim() === "" ? <UserRound /> : initials(name)}
    </span>
  );
}
