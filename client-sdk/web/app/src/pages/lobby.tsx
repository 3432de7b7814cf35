import { Mic, MicOff, Settings2, TriangleAlert, Video, VideoOff } from "lucide-preact";
import { useLayoutEffect, useState } from "preact/hooks";
import { hasAudience, type MeetingLink } from "../api.js";
import { dateAndTime } from "../format.js";
import type { DeviceKind, LocalMedia } from "../local-media.js";
import { preferences, remember } from "../preferences.js";
import { text } from "../text.js";
import { Avatar } from "../ui/avatar.js";
import { Button, IconButton } from "../ui/button.js";
import { TextField } from "../ui/field.js";
import { useTitle } from "../ui/hooks.js";
import { LocalPicture } from "../ui/picture.js";
import { Spinner } from "../ui/spinner.js";
import { DeviceSettings, Level } from "./device-settings.js";
import { Frame } from "./frame.js";

/** Names as the server takes them from guests. */
const NAME_CHARACTERS = 50;

function Problem({
  kind,
  code,
  onRetry,
}: {
  readonly kind: DeviceKind;
  readonly code: string;
  readonly onRetry: () => void;
}) {
  const problem = text.devices.problem(kind, code);
  return (
    <div class="problem" role="alert">
      <TriangleAlert aria-hidden="true" />
      <div>
        <strong>{problem.title}</strong>
        <p>{problem.text}</p>
      </div>
      <Button small onClick={onRetry}>
        {text.common.tryAgain}
      </Button>
    </div>
  );
}

function Preview({ media, name }: { readonly media: LocalMedia; readonly name: string }) {
  const { camera, microphone } = media;
  const track = camera.track.value;
  const toggle = (kind: DeviceKind) => {
    const on = !media[kind].on.peek();
    remember(kind === "camera" ? { cameraOn: on } : { microphoneOn: on });
    void media.set(kind, on);
  };
  return (
    <div class="preview">
      {track ? (
        <LocalPicture track={track} label={text.lobby.preview} />
      ) : (
        <div class="preview-off">
          {camera.starting.value ? <Spinner large /> : <Avatar participantId="me" name={name} size={88} />}
          <p>{camera.starting.value ? text.lobby.cameraStarting : text.lobby.cameraOff}</p>
        </div>
      )}
      <div class="preview-level">
        <Level track={microphone.on.value ? microphone.track.value : undefined} />
      </div>
      <div class="preview-controls">
        <IconButton
          tone={microphone.on.value ? "bar" : "off"}
          label={microphone.on.value ? text.controls.mute : text.controls.unmute}
          icon={microphone.on.value ? <Mic /> : <MicOff />}
          onClick={() => toggle("microphone")}
        />
        <IconButton
          tone={camera.on.value ? "bar" : "off"}
          label={camera.on.value ? text.controls.cameraOff : text.controls.cameraOn}
          icon={camera.on.value ? <Video /> : <VideoOff />}
          onClick={() => toggle("camera")}
        />
      </div>
    </div>
  );
}

interface LobbyProps {
  readonly link: MeetingLink;
  readonly media: LocalMedia;
  readonly asGuest: boolean;
  /** Name of the account, if there is one. */
  readonly accountName: string | undefined;
  readonly canChooseSpeaker: boolean;
  readonly joining: boolean;
  /** What the server has against the name. */
  readonly nameError: string | undefined;
  readonly onJoin: (name: string) => void;
}

/** Before the meeting: how one looks and sounds, and what one is called. */
export function Lobby({
  link,
  media,
  asGuest,
  accountName,
  canChooseSpeaker,
  joining,
  nameError,
  onJoin,
}: LobbyProps) {
  const [name, setName] = useState(preferences.peek().name || accountName || "");
  const [missing, setMissing] = useState(false);
  useTitle(`${link.display_name || text.lobby.nameless} · ${text.product}`);
  // Before anything is drawn: what is to be on is not shown as off first.
  const watches = asGuest && hasAudience(link);
  useLayoutEffect(() => {
    // Guests of a webinar only watch: nobody needs their devices.
    if (watches) return;
    const { cameraOn, microphoneOn } = preferences.peek();
    if (microphoneOn) void media.set("microphone", true);
    if (cameraOn && link.meeting_type !== "audio") void media.set("camera", true);
  }, [media, link, watches]);

  const waits = asGuest
    ? link.waiting_room !== "off"
    : link.waiting_room === "admission" && link.join !== "account";
  const begins = link.status === "scheduled" || link.status === "draft";
  const facts = [
    begins && link.scheduled_start !== null
      ? text.lobby.scheduled(dateAndTime(Date.parse(link.scheduled_start)))
      : "",
    watches ? text.lobby.asViewer : asGuest ? text.lobby.asGuest : "",
    link.waiting_room === "admission" && asGuest ? text.lobby.waitingRoom : "",
  ].filter((fact) => fact !== "");
  const join = () => {
    const trimmed = name.trim();
    setMissing(trimmed === "");
    if (trimmed === "") return;
    remember({ name: trimmed });
    onJoin(trimmed);
  };
  const problems = (["camera", "microphone"] as const).flatMap((kind) => {
    const code = media[kind].problem.value;
    return code === undefined ? [] : [{ kind, code }];
  });
  return (
    <Frame narrow={watches}>
      <div class={watches ? "lobby lobby-watching" : "lobby"}>
        {!watches && (
          <section class="lobby-preview" aria-label={text.lobby.preview}>
            <Preview media={media} name={name} />
            {problems.map(({ kind, code }) => (
              <Problem key={kind} kind={kind} code={code} onRetry={() => void media.set(kind, true)} />
            ))}
            {problems.length > 0 && <p class="muted">{text.lobby.withoutDevices}</p>}
          </section>
        )}
        <section class="lobby-form">
          <p class="lobby-meeting">{link.display_name || text.lobby.nameless}</p>
          <h1>{text.lobby.title}</h1>
          {facts.length > 0 && <p class="muted">{facts.join(" ")}</p>}
          <form
            class="stack"
            onSubmit={(event) => {
              event.preventDefault();
              join();
            }}
          >
            <TextField
              label={text.lobby.yourName}
              placeholder={text.lobby.namePlaceholder}
              autocomplete="name"
              maxLength={NAME_CHARACTERS}
              value={name}
              onValue={(value) => {
                setName(value);
                setMissing(false);
              }}
              error={missing ? text.lobby.noName : nameError}
            />
            <Button type="submit" tone="primary" wide busy={joining}>
              {joining
                ? text.lobby.joining
                : waits
                  ? text.lobby.askToJoin
                  : begins
                    ? text.lobby.begin
                    : text.lobby.join}
            </Button>
          </form>
          {!watches && (
            <details class="lobby-devices">
              <summary>
                <Settings2 aria-hidden="true" />
                {text.lobby.deviceSettings}
              </summary>
              <DeviceSettings media={media} canChooseSpeaker={canChooseSpeaker} />
            </details>
          )}
        </section>
      </div>
    </Frame>
  );
}
