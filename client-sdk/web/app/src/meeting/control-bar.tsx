import type { Support } from "@darktower/client";
import {
  ChartNoAxesColumn,
  ChevronUp,
  EllipsisVertical,
  Hand,
  Keyboard,
  LayoutGrid,
  LogOut,
  Maximize,
  MessageSquare,
  Mic,
  MicOff,
  Minimize,
  MonitorUp,
  MonitorX,
  OctagonX,
  PhoneOff,
  Presentation,
  RectangleHorizontal,
  Settings,
  Smile,
  Users,
  Video,
  VideoOff,
} from "lucide-preact";
import { useEffect, useState } from "preact/hooks";
import { unreadOf } from "../chat.js";
import { deviceOptions } from "../pages/device-settings.js";
import { preferences } from "../preferences.js";
import { REACTIONS, type Session } from "../session.js";
import { text } from "../text.js";
import { IconButton } from "../ui/button.js";
import { Confirm } from "../ui/dialog.js";
import { usePhone } from "../ui/hooks.js";
import { Menu, type MenuGroup, type MenuItem, Popover } from "../ui/menu.js";
import type { OpenDialog } from "./meeting-view.js";

interface ControlBarProps {
  readonly session: Session;
  readonly support: Support | undefined;
  readonly onDialog: (dialog: OpenDialog) => void;
}

function useFullScreen(): [boolean, () => void] {
  const [full, setFull] = useState(document.fullscreenElement !== null);
  useEffect(() => {
    const change = () => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", change);
    return () => document.removeEventListener("fullscreenchange", change);
  }, []);
  // A browser that does not let the page be full screen stays as it is.
  const toggle = () =>
    void (full ? document.exitFullscreen() : document.documentElement.requestFullscreen()).catch(
      () => undefined,
    );
  return [full, toggle];
}

function choices(
  title: string,
  devices: readonly MediaDeviceInfo[],
  name: (n: number) => string,
  chosen: string,
  choose: (id: string) => void,
): MenuGroup {
  const items = deviceOptions(devices, name).map(({ value, label }) => ({
    label,
    checked: value === chosen,
    run: () => choose(value),
  }));
  return { title, items };
}

function MicrophoneControl({
  session,
  support,
}: {
  readonly session: Session;
  readonly support: Support | undefined;
}) {
  const { media } = session;
  const on = media.microphone.on.value || session.talking.value;
  const { microphones, speakers } = media.devices.value;
  const { microphoneId, speakerId } = preferences.value;
  const groups = [
    choices(
      text.devices.microphone,
      microphones,
      text.devices.microphoneNumber,
      microphoneId,
      (id) => void media.choose("microphone", id),
    ),
  ];
  if (support?.canChooseSpeaker) {
    groups.push(
      choices(
        text.devices.speaker,
        speakers,
        text.devices.speakerNumber,
        speakerId,
        (id) => void session.chooseSpeaker(id),
      ),
    );
  }
  return (
    <div class="split">
      <IconButton
        tone={on ? "bar" : "off"}
        label={on ? text.controls.mute : text.controls.unmute}
        shortcut="M"
        disabled={!session.maySend("audio")}
        icon={on ? <Mic /> : <MicOff />}
        onClick={() => void session.toggleMicrophone()}
      />
      <Menu
        button={{
          label: text.controls.microphoneChoice,
          icon: <ChevronUp />,
          tone: on ? "bar" : "off",
          class: "split-more",
        }}
        groups={groups}
      />
    </div>
  );
}

function CameraControl({ session }: { readonly session: Session }) {
  const { media } = session;
  const on = media.camera.on.value;
  return (
    <div class="split">
      <IconButton
        tone={on ? "bar" : "off"}
        label={on ? text.controls.cameraOff : text.controls.cameraOn}
        shortcut="V"
        disabled={!session.maySend("camera")}
        icon={on ? <Video /> : <VideoOff />}
        onClick={() => void session.toggleCamera()}
      />
      <Menu
        button={{
          label: text.controls.cameraChoice,
          icon: <ChevronUp />,
          tone: on ? "bar" : "off",
          class: "split-more",
        }}
        groups={[
          choices(
            text.devices.camera,
            media.devices.value.cameras,
            text.devices.cameraNumber,
            preferences.value.cameraId,
            (id) => void media.choose("camera", id),
          ),
        ]}
      />
    </div>
  );
}

function Reactions({ session }: { readonly session: Session }) {
  return (
    <Popover
      role="dialog"
      label={text.controls.reactions}
      button={{ label: text.controls.reactions, icon: <Smile />, tone: "bar" }}
    >
      {() => (
        <div class="reaction-choice">
          {REACTIONS.map((emoji) => (
            <button
              key={emoji}
              type="button"
              aria-label={text.controls.react(emoji)}
              onClick={() => void session.react(emoji)}
            >
              {emoji}
            </button>
          ))}
        </div>
      )}
    </Popover>
  );
}

function Leave({ session }: { readonly session: Session }) {
  const [asking, setAsking] = useState(false);
  if (!session.rights.value.runMeeting) {
    return (
      <IconButton
        tone="danger"
        label={text.controls.leaveMeeting}
        icon={<PhoneOff />}
        onClick={() => void session.leave()}
      />
    );
  }
  return (
    <>
      <Menu
        button={{ label: text.controls.leave, icon: <PhoneOff />, tone: "danger" }}
        groups={[
          {
            items: [
              { label: text.controls.leaveMeeting, icon: <LogOut />, run: () => void session.leave() },
              {
                label: text.controls.endForAll,
                icon: <OctagonX />,
                danger: true,
                run: () => setAsking(true),
              },
            ],
          },
        ]}
      />
      {asking && (
        <Confirm
          title={text.controls.endQuestion}
          explanation={text.controls.endExplanation}
          action={text.controls.endForAll}
          onConfirm={() => void session.endForAll()}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}

/** The bar below the stage. */
export function ControlBar({ session, support, onDialog }: ControlBarProps) {
  const phone = usePhone();
  const [fullScreen, toggleFullScreen] = useFullScreen();
  const state = session.state.value;
  const { rights, self } = state;
  const hand = self.state.handRaised;
  const sharing = session.screen.on.value;
  const view = session.view.value;
  const { shortcuts } = preferences.value;
  const unread = unreadOf(session.chat.state.value);
  const panel = session.panel.value;
  const asking =
    (rights.admit ? state.waiting.length : 0) + (rights.manageStage ? state.stage.asking.length : 0);
  const canShare = support?.canShareScreen !== false && rights.screen !== "notAllowed";
  const onStage = state.stage.onStage.includes(self.participantId);
  const asked = session.askedForStage.value;
  const canAsk = [rights.audio, rights.camera, rights.screen].includes("canRequest");

  const otherView: MenuItem = {
    label: view === "grid" ? text.controls.toSpeaker : text.controls.toGrid,
    icon: view === "grid" ? <RectangleHorizontal /> : <LayoutGrid />,
    ...(shortcuts ? { hint: "L" } : {}),
    run: () => session.setView(view === "grid" ? "speaker" : "grid"),
  };
  const onPhone: MenuItem[] = [];
  if (phone) {
    onPhone.push({
      label: hand ? text.controls.lowerHand : text.controls.raiseHand,
      icon: <Hand />,
      run: () => void session.toggleHand(),
    });
    if (canShare) {
      onPhone.push({
        label: sharing ? text.controls.stopShare : text.controls.share,
        icon: sharing ? <MonitorX /> : <MonitorUp />,
        run: () => void session.screen.toggle(),
      });
    }
  }
  const more = (
    <Menu
      button={{ label: text.controls.more, icon: <EllipsisVertical />, tone: "bar" }}
      groups={[
        { items: onPhone },
        {
          items: [
            otherView,
            {
              label: fullScreen ? text.controls.exitFullScreen : text.controls.fullScreen,
              icon: fullScreen ? <Minimize /> : <Maximize />,
              run: toggleFullScreen,
            },
          ],
        },
        {
          items: [
            { label: text.controls.settings, icon: <Settings />, run: () => onDialog("settings") },
            {
              label: text.controls.statistics,
              icon: <ChartNoAxesColumn />,
              run: () => onDialog("statistics"),
            },
            ...(phone
              ? []
              : [
                  {
                    label: text.controls.shortcuts,
                    icon: <Keyboard />,
                    ...(shortcuts ? { hint: "?" } : {}),
                    run: () => onDialog("shortcuts"),
                  },
                ]),
          ],
        },
      ]}
    />
  );
  return (
    <section class="bar" aria-label={text.meeting.controls}>
      <div class="bar-middle">
        {rights.audio !== "notAllowed" && <MicrophoneControl session={session} support={support} />}
        {rights.camera !== "notAllowed" && <CameraControl session={session} />}
        {!phone && canShare && (
          <IconButton
            tone={sharing ? "on" : "bar"}
            label={sharing ? text.controls.stopShare : text.controls.share}
            shortcut="S"
            disabled={!sharing && !session.maySend("screen")}
            icon={sharing ? <MonitorX /> : <MonitorUp />}
            onClick={() => void session.screen.toggle()}
          />
        )}
        <Reactions session={session} />
        {!phone && (
          <IconButton
            tone={hand ? "on" : "bar"}
            label={hand ? text.controls.lowerHand : text.controls.raiseHand}
            shortcut="H"
            icon={<Hand />}
            onClick={() => void session.toggleHand()}
          />
        )}
        {canAsk && (
          <IconButton
            tone={onStage || asked ? "on" : "bar"}
            label={
              onStage
                ? text.controls.leaveStage
                : asked
                  ? text.controls.askedForStage
                  : text.controls.askForStage
            }
            disabled={asked && !onStage}
            icon={<Presentation />}
            onClick={() =>
              void (onStage ? session.request((meeting) => meeting.leaveStage()) : session.askForStage())
            }
          />
        )}
        {more}
        <Leave session={session} />
      </div>
      <div class="bar-side">
        <IconButton
          tone={panel === "people" ? "on" : "bar"}
          label={
            asking > 0
              ? text.controls.peopleAsking(state.participantCount, asking)
              : text.controls.peopleCount(state.participantCount)
          }
          shortcut="P"
          pressed={panel === "people"}
          icon={<Users />}
          badge={asking > 0 ? asking : undefined}
          class={asking > 0 ? "asks" : "counts"}
          onClick={() => session.togglePanel("people")}
        />
        <IconButton
          tone={panel === "chat" ? "on" : "bar"}
          label={unread > 0 ? text.controls.chatUnread(unread) : text.controls.chat}
          shortcut="C"
          pressed={panel === "chat"}
          icon={<MessageSquare />}
          badge={unread > 0 ? (unread > 99 ? "99+" : unread) : undefined}
          onClick={() => session.togglePanel("chat")}
        />
      </div>
    </section>
  );
}
