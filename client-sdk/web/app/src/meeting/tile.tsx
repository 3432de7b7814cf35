import type { Participant } from "@darktower/client";
import {
  EllipsisVertical,
  Hand,
  Maximize,
  MicOff,
  MonitorUp,
  Pin,
  PinOff,
  Star,
  Volume2,
} from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { avatarColour } from "../format.js";
import type { Session } from "../session.js";
import type { Placement } from "../stage/layout.js";
import type { Received } from "../stage/subscriptions.js";
import { text } from "../text.js";
import { Avatar } from "../ui/avatar.js";
import { Menu, type MenuItem } from "../ui/menu.js";
import { LocalPicture, RemotePicture } from "../ui/picture.js";
import { Spinner } from "../ui/spinner.js";
import { NetworkIcon } from "./network-icon.js";
import { usePersonMenu } from "./person-menu.js";

interface TileProps {
  readonly session: Session;
  readonly person: Participant;
  readonly placement: Placement;
  /** Of somebody else, while it is received. */
  readonly subscription: Received | undefined;
  /** A picture is to be expected. */
  readonly expectsPicture: boolean;
}

/** Whether the first picture of a subscription has been drawn. */
function useFirstFrame(subscription: Received | undefined): boolean {
  const [drawn, setDrawn] = useState<Received>();
  useEffect(() => {
    if (!subscription) return;
    const offs = [
      subscription.on("firstFrame", () => setDrawn(subscription)),
      // A subscription that was taken up again may have drawn before anybody listened.
      subscription.on("resize", () => setDrawn(subscription)),
    ];
    return () => {
      for (const off of offs) off();
    };
  }, [subscription]);
  return subscription !== undefined && drawn === subscription;
}

function Volume({ session, person }: { readonly session: Session; readonly person: Participant }) {
  const value = session.volumes.value.get(person.participantId) ?? 1;
  return (
    <label class="volume">
      <Volume2 aria-hidden="true" />
      <span class="visually-hidden">{text.tile.volume}</span>
      <input
        type="range"
        min="0"
        max="2"
        step="0.05"
        value={value}
        aria-valuetext={text.tile.volumeValue(value)}
        onInput={(event) => session.setVolume(person.participantId, Number(event.currentTarget.value))}
      />
      <span class="volume-value">{text.tile.volumeValue(value)}</span>
    </label>
  );
}

/** What in a tile is clicked for its own sake: the menu and its slider, dialogs. */
function isOperable(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("button, input, dialog, [popover]") !== null;
}

/** What a screen reader says of a tile. */
function describe(person: Participant, screen: boolean, self: boolean, speaking: boolean): string {
  const name = self ? text.common.youAfterName(person.name) : person.name;
  if (screen) return text.tile.screenOf(name);
  const facts = [name];
  if (speaking) facts.push(text.tile.speaking);
  if (person.state.audioMuted) facts.push(text.tile.muted);
  if (!person.state.videoOn) facts.push(text.tile.cameraOff);
  if (person.state.handRaised) facts.push(text.tile.handRaised);
  return facts.join(", ");
}

/** One picture: of somebody, or of a shared screen. */
export function Tile({ session, person, placement, subscription, expectsPicture }: TileProps) {
  const { tile, rect, large, floating } = placement;
  const { self } = tile;
  const screen = tile.kind === "screen";
  const ref = useRef<HTMLElement>(null);
  const ownTrack = self ? session.media.camera.track.value : undefined;
  const drawn = useFirstFrame(subscription);
  const speaking = !screen && session.speaking.value.has(person.participantId);
  const pinned = session.pins.value.includes(tile.key);
  const spotlit = !screen && session.state.value.spotlight.includes(person.participantId);
  const reactions = screen
    ? []
    : session.reactions.value.filter((r) => r.participantId === person.participantId);
  const { items, dialog } = usePersonMenu(session, person);
  const element = subscription?.element;
  const picture = self ? ownTrack !== undefined : element !== undefined && expectsPicture;
  const waiting = !self && expectsPicture && !drawn;

  const view: MenuItem[] = [
    {
      label: pinned ? text.tile.unpin : text.tile.pin,
      icon: pinned ? <PinOff /> : <Pin />,
      run: () => session.togglePin(tile.key),
    },
  ];
  if (screen) {
    view.push({
      label: text.tile.fullScreen,
      icon: <Maximize />,
      run: () => void ref.current?.requestFullscreen().catch(() => undefined),
    });
  }
  const avatarSize = Math.round(Math.max(34, Math.min(168, Math.min(rect.width, rect.height) * 0.36)));
  const small = Math.min(rect.width, rect.height) < 120;
  const classes = [
    "tile",
    screen ? "tile-screen" : `avatar-${avatarColour(person.participantId)}`,
    speaking ? "tile-speaking" : "",
    large ? "tile-large" : "",
    floating ? "tile-floating" : "",
    small ? "tile-small" : "",
    picture ? "tile-picture" : "",
  ];
  return (
    <section
      ref={ref}
      class={classes.filter(Boolean).join(" ")}
      aria-label={describe(person, screen, self, speaking)}
      data-participant={person.participantId}
      data-kind={tile.kind}
      style={{
        left: `${rect.left}px`,
        top: `${rect.top}px`,
        width: `${rect.width}px`,
        height: `${rect.height}px`,
      }}
      onDblClick={(event) => {
        if (!isOperable(event.target)) session.togglePin(tile.key);
      }}
    >
      {!screen && !(picture && (self || drawn)) && (
        <div class="tile-avatar">
          <Avatar participantId={person.participantId} name={person.name} size={avatarSize} />
        </div>
      )}
      {self && ownTrack && <LocalPicture track={ownTrack} label={text.tile.yourPicture} />}
      {!self && element && expectsPicture && (
        <RemotePicture
          element={element}
          whole={screen}
          label={screen ? text.tile.screenOf(person.name) : person.name}
        />
      )}
      {waiting && screen && (
        <div class="tile-overlay">
          <Spinner large />
          <span>{text.tile.waitingForPicture}</span>
        </div>
      )}
      {person.reconnecting && (
        <div class="tile-overlay">
          <Spinner />
          {!small && <span>{text.tile.reconnecting}</span>}
        </div>
      )}
      <div class="tile-badges" aria-hidden="true">
        {!screen && person.state.handRaised && (
          <span class="tile-badge tile-badge-hand">
            <Hand />
          </span>
        )}
        {spotlit && (
          <span class="tile-badge" title={text.tile.spotlight}>
            <Star />
          </span>
        )}
        {pinned && (
          <span class="tile-badge" title={text.tile.pinned}>
            <Pin />
          </span>
        )}
      </div>
      <div class="tile-menu">
        <Menu
          button={{
            label: text.tile.actions(self ? text.common.you : person.name),
            icon: <EllipsisVertical />,
            tone: "quiet",
            tooltip: "none",
          }}
          groups={[
            { items: view },
            { items: screen ? items.filter((i) => i.label === text.tile.screenStop) : items },
          ]}
          header={self || screen ? undefined : <Volume session={session} person={person} />}
        />
      </div>
      <div class="tile-name" aria-hidden="true">
        {screen ? <MonitorUp /> : person.state.audioMuted && <MicOff class="tile-muted" />}
        <span dir="auto">
          {screen ? text.tile.screenOf(person.name) : self ? text.common.you : person.name}
        </span>
        {!screen && !small && <NetworkIcon grade={person.networkGrade} />}
      </div>
      {reactions.map((reaction) => (
        <span
          key={reaction.id}
          class="reaction"
          aria-hidden="true"
          style={{ left: `${20 + reaction.offset * 60}%` }}
        >
          {reaction.emoji}
        </span>
      ))}
      {dialog}
    </section>
  );
}
