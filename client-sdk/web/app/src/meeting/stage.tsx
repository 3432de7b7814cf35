import type { Participant, StreamDescription } from "@darktower/client";
import { ChevronLeft, ChevronRight, Link2, MonitorUp } from "lucide-preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Session } from "../session.js";
import { gridCapacity, type Layout, place } from "../stage/layout.js";
import type { Wanted } from "../stage/subscriptions.js";
import { arrange, orderPeople, type Person } from "../stage/who-is-shown.js";
import { text } from "../text.js";
import { Button, IconButton } from "../ui/button.js";
import { useSize } from "../ui/hooks.js";
import { copyLink } from "./copy-link.js";
import { Tile } from "./tile.js";

/** Screens before pins and speakers before the others. */
const PRIORITY = { screen: 3, large: 2, floating: 1, small: 0 } as const;

/** Who has a tile: in meetings with an audience only those who send something, or may. */
function onStage(session: Session): Participant[] {
  const { self, participants, stage } = session.state.value;
  if (!session.hasAudience) return [self, ...participants];
  const seen = (p: Participant) =>
    p.streams.length > 0 || p.onStage || stage.onStage.includes(p.participantId) || p.role === "host";
  const own = session.maySend("audio") || session.maySend("camera");
  return [...(own ? [self] : []), ...participants.filter(seen)];
}

function streamOf(
  person: Participant,
  key: string,
  kind: "camera" | "screen",
): StreamDescription | undefined {
  return person.streams.find(
    (stream) => stream.type === kind && (kind === "camera" || key === `screen:${stream.streamId}`),
  );
}

/** Asks for the streams of the tiles that are seen, in the layers that their sizes need. */
function useSubscriptions(session: Session, layout: Layout, people: ReadonlyMap<string, Participant>): void {
  const wanted: Wanted[] = [];
  for (const { tile, rect, large, floating } of layout.placements) {
    const person = people.get(tile.participantId);
    if (tile.self || !person) continue;
    const stream = streamOf(person, tile.key, tile.kind);
    if (!stream || (tile.kind === "camera" && !session.mayHavePicture(person))) continue;
    const size = large ? "large" : floating ? "floating" : "small";
    wanted.push({
      stream,
      widthPx: Math.round(rect.width * devicePixelRatio),
      heightPx: Math.round(rect.height * devicePixelRatio),
      // Who says that the camera is on comes before those who say nothing.
      priority: PRIORITY[tile.kind === "screen" ? "screen" : size] - (person.state.videoOn ? 0 : 0.5),
    });
  }
  const signature = JSON.stringify(wanted.map((w) => [w.stream.streamId, w.widthPx, w.heightPx, w.priority]));
  const latest = useRef(wanted);
  latest.current = wanted;
  const { maxVideoStreams } = session.rights.value;
  const want = () => {
    const downlinkBps = session.statistics.peek()?.downlinkBps ?? 0;
    void session.subscriptions.want(latest.current, maxVideoStreams, downlinkBps);
  };
  useEffect(want, [signature, maxVideoStreams, session]);
  // The downlink changes without anything on the page changing.
  useEffect(() => session.statistics.subscribe(() => want()), [session, maxVideoStreams]);
}

/** All tiles, where they belong. */
export function Stage({ session }: { readonly session: Session }) {
  const [ref, size] = useSize<HTMLDivElement>();
  const order = useRef<readonly string[]>([]);
  const participants = onStage(session);
  const { self, spotlight, activeSpeakerId } = session.state.value;
  const byId = useMemo(() => new Map(participants.map((p) => [p.participantId, p])), [participants]);
  const people: Person[] = participants.map((p) => ({
    participantId: p.participantId,
    self: p.participantId === self.participantId,
    screens: p.streams.filter((stream) => stream.type === "screen").map((stream) => stream.streamId),
  }));
  order.current = orderPeople(order.current, people, session.recentSpeakers.value, gridCapacity(size));
  const ranks = new Map(order.current.map((id, index) => [id, index]));
  people.sort((a, b) => (ranks.get(a.participantId) ?? 0) - (ranks.get(b.participantId) ?? 0));
  const arrangement = arrange(people, {
    mode: session.view.value,
    pins: session.pins.value,
    spotlight,
    speakerId: session.recentSpeakers.value.find((id) => id !== self.participantId) ?? activeSpeakerId,
  });
  const layout = place(arrangement, size, session.page.value);
  useSubscriptions(session, layout, byId);

  const alone = session.state.value.participants.length === 0;
  const shown = new Set(layout.placements.map(({ tile }) => tile.participantId));
  const elsewhere = session.reactions.value.filter((reaction) => !shown.has(reaction.participantId));
  const subscriptions = session.subscriptions.current.value;
  const turn = (by: number) => {
    session.page.value = layout.page + by;
  };
  return (
    <div class={layout.pages > 1 ? "stage stage-paged" : "stage"}>
      <div class="stage-area" ref={ref}>
        {layout.placements.map((placement) => {
          const person = byId.get(placement.tile.participantId);
          if (!person) return null;
          const stream = placement.tile.self
            ? undefined
            : streamOf(person, placement.tile.key, placement.tile.kind);
          return (
            <Tile
              key={placement.tile.key}
              session={session}
              person={person}
              placement={placement}
              subscription={stream && subscriptions.get(stream.streamId)}
              expectsPicture={
                stream !== undefined &&
                (placement.tile.kind === "screen" || session.hasPicture(person, stream.streamId))
              }
            />
          );
        })}
        {alone && size.width > 0 && (
          <div class="alone">
            <h2>{text.meeting.alone}</h2>
            <p>{text.meeting.aloneText}</p>
            <Button tone="primary" icon={<Link2 />} onClick={() => void copyLink(session)}>
              {text.meeting.copyLink}
            </Button>
          </div>
        )}
      </div>
      {layout.pages > 1 && (
        // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms
        <div class="pager" role="group" aria-label={text.meeting.pageOf(layout.page + 1, layout.pages)}>
          <IconButton
            label={text.meeting.previousPage}
            icon={<ChevronLeft />}
            disabled={layout.page === 0}
            onClick={() => turn(-1)}
          />
          <span aria-hidden="true">
            {layout.page + 1} / {layout.pages}
          </span>
          <IconButton
            label={text.meeting.nextPage}
            icon={<ChevronRight />}
            disabled={layout.page >= layout.pages - 1}
            onClick={() => turn(1)}
          />
        </div>
      )}
      {session.screen.on.value && (
        <div class="pill pill-sharing">
          <MonitorUp aria-hidden="true" />
          <span>{text.meeting.sharing}</span>
          <Button small tone="danger" onClick={() => void session.screen.stop()}>
            {text.meeting.stopSharing}
          </Button>
        </div>
      )}
      <div class="reactions-elsewhere" aria-hidden="true">
        {elsewhere.map((reaction) => (
          <span
            key={reaction.id}
            class="reaction reaction-named"
            style={{ left: `${reaction.offset * 70}%` }}
          >
            {reaction.emoji}
            <small>{reaction.name}</small>
          </span>
        ))}
      </div>
    </div>
  );
}
