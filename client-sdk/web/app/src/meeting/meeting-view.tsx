import type { Support } from "@darktower/client";
import { Lock, Signal, WifiOff } from "lucide-preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { bitrate, duration, milliseconds, percent } from "../format.js";
import { listen } from "../keyboard.js";
import { preferences } from "../preferences.js";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { useNow, useTitle } from "../ui/hooks.js";
import { Popover } from "../ui/menu.js";
import { Spinner } from "../ui/spinner.js";
import { keepAwake } from "../wake-lock.js";
import { ChatPanel } from "./chat-panel.js";
import { ControlBar } from "./control-bar.js";
import { NetworkIcon } from "./network-icon.js";
import { Notices } from "./notices.js";
import { PeoplePanel } from "./people-panel.js";
import { SettingsDialog } from "./settings-dialog.js";
import { ShortcutsDialog } from "./shortcuts-dialog.js";
import { Stage } from "./stage.js";
import { StatisticsDialog } from "./statistics-dialog.js";

export type OpenDialog = "settings" | "statistics" | "shortcuts";

function Clock({ sinceMs }: { readonly sinceMs: number }) {
  const now = useNow(1000);
  return (
    <time class="clock" title={text.meeting.duration}>
      {duration(now - sinceMs)}
    </time>
  );
}

/** How good the own connection is, and why. */
function Connection({ session, onMore }: { readonly session: Session; readonly onMore: () => void }) {
  const grade = session.self.value.networkGrade;
  const statistics = session.statistics.value;
  return (
    <Popover
      role="dialog"
      label={text.connection.title}
      button={{
        label: `${text.connection.title}: ${text.tile.quality[grade]}`,
        icon: <NetworkIcon grade={grade} />,
        tone: "quiet",
        class: "connection-button",
      }}
    >
      {(close) => (
        <div class="connection">
          <h2>{text.connection.title}</h2>
          <p>{text.connection.explain[grade]}</p>
          {statistics && (
            <dl class="figures">
              <dt>{text.statistics.rtt}</dt>
              <dd>{milliseconds(statistics.rttMs)}</dd>
              <dt>{text.statistics.loss}</dt>
              <dd>{percent(statistics.downlinkLoss)}</dd>
              <dt>{text.statistics.sending}</dt>
              <dd>{bitrate(statistics.sendBps)}</dd>
              <dt>{text.statistics.receiving}</dt>
              <dd>{bitrate(statistics.receiveBps)}</dd>
            </dl>
          )}
          <Button
            small
            icon={<Signal />}
            onClick={() => {
              close();
              onMore();
            }}
          >
            {text.connection.more}
          </Button>
        </div>
      )}
    </Popover>
  );
}

/** The meeting itself. */
export function MeetingView({
  session,
  support,
}: {
  readonly session: Session;
  readonly support: Support | undefined;
}) {
  const [dialog, setDialog] = useState<OpenDialog>();
  const state = session.state.value;
  const panel = session.panel.value;
  const title = state.displayName || session.link.display_name || text.lobby.nameless;
  useTitle(`${title} · ${text.product}`);

  // Before anything is seen: keys work as soon as the buttons do.
  useLayoutEffect(
    () =>
      listen(
        {
          press(shortcut) {
            switch (shortcut) {
              case "microphone":
                return void session.toggleMicrophone();
              case "camera":
                return void session.toggleCamera();
              case "share":
                return void session.screen.toggle();
              case "hand":
                return void session.toggleHand();
              case "chat":
              case "people":
                return session.togglePanel(shortcut);
              case "layout":
                return session.setView(session.view.peek() === "grid" ? "speaker" : "grid");
              case "help":
                return setDialog("shortcuts");
            }
          },
          talk: (held) => void session.talk(held),
        },
        () => preferences.peek().shortcuts,
      ),
    [session],
  );

  // Older browsers have no such locks, whatever the types say.
  useEffect(() => keepAwake(document, "wakeLock" in navigator ? navigator.wakeLock : undefined), []);

  return (
    <div class={panel === undefined ? "meeting" : "meeting meeting-with-panel"}>
      <header class="meeting-info">
        <h1>{title}</h1>
        <Clock sinceMs={Math.min(state.self.joinedAtMs, ...state.participants.map((p) => p.joinedAtMs))} />
        {state.locked && (
          <span class="locked" title={text.meeting.locked}>
            <Lock role="img" aria-label={text.meeting.locked} />
          </span>
        )}
        <Connection session={session} onMore={() => setDialog("statistics")} />
      </header>
      <main class="meeting-main" aria-label={text.meeting.stage}>
        <Stage session={session} />
        {state.connection === "reconnecting" && (
          <div class="banner" role="alert">
            <WifiOff aria-hidden="true" />
            <span>{text.meeting.reconnecting}</span>
            <Spinner />
          </div>
        )}
        {session.audioBlocked.value && state.connection !== "reconnecting" && (
          <div class="banner" role="alert">
            <span>{text.meeting.soundBlocked}</span>
            <Button small tone="primary" onClick={() => void session.resumeAudio()}>
              {text.meeting.playSound}
            </Button>
          </div>
        )}
        {session.talking.value && <div class="pill pill-talking">{text.meeting.talking}</div>}
        <Notices session={session} />
      </main>
      {panel === "chat" && <ChatPanel session={session} />}
      {panel === "people" && <PeoplePanel session={session} />}
      <ControlBar session={session} support={support} onDialog={setDialog} />
      {dialog === "settings" && (
        <SettingsDialog session={session} support={support} onClose={() => setDialog(undefined)} />
      )}
      {dialog === "statistics" && <StatisticsDialog session={session} onClose={() => setDialog(undefined)} />}
      {dialog === "shortcuts" && <ShortcutsDialog onClose={() => setDialog(undefined)} />}
      <div class="visually-hidden" aria-live="polite" role="status">
        {session.telling.announcement.value}
      </div>
    </div>
  );
}
