import { LevelMeter, MeetingError, playTestSound } from "@darktower/client";
import { AudioLines, Camera, Mic, Volume2 } from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { LocalMedia } from "../local-media.js";
import { preferences, remember } from "../preferences.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { type Option, Select } from "../ui/field.js";

/** The devices of a kind as choices; numbers where the browser does not tell names yet. */
export function deviceOptions(devices: readonly MediaDeviceInfo[], name: (n: number) => string): Option[] {
  const known = devices.filter((device) => device.deviceId !== "" && device.deviceId !== "default");
  return [
    { value: "", label: text.devices.systemDefault },
    ...known.map((device, index) => ({ value: device.deviceId, label: device.label || name(index + 1) })),
  ];
}

const BARS = 12;
/** dBov: what fills the meter, and what leaves it empty. */
const LOUD = 18;
const QUIET = 66;

/** How loud the microphone is. */
export function Level({ track }: { readonly track: MediaStreamTrack | undefined }) {
  const [bars, setBars] = useState(0);
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    setBars(0);
    setProblem(undefined);
    if (!track) return;
    let meter: LevelMeter;
    try {
      meter = new LevelMeter(track);
    } catch (error) {
      setProblem(error instanceof MeetingError && error.message !== "" ? error.message : text.lobby.noLevel);
      return;
    }
    const off = meter.on("level", (dBov) => {
      const share = (QUIET - dBov) / (QUIET - LOUD);
      setBars(Math.round(Math.max(0, Math.min(1, share)) * BARS));
    });
    return () => {
      off();
      meter.close();
    };
  }, [track]);
  if (problem !== undefined) {
    return (
      <span class="level-problem" role="status">
        {problem}
      </span>
    );
  }
  return (
    // biome-ignore lint/a11y/useSemanticElements: a meter element cannot be styled alike in all browsers
    <span
      class="level"
      role="meter"
      aria-label={text.lobby.level}
      aria-valuemin={0}
      aria-valuemax={BARS}
      aria-valuenow={bars}
    >
      {Array.from({ length: BARS }, (_, index) => (
        <span key={`${index}`} class={index < bars ? "level-bar lit" : "level-bar"} />
      ))}
    </span>
  );
}

interface DeviceSettingsProps {
  readonly media: LocalMedia;
  /** Puts sound of the meeting on another speaker; absent before there is a meeting. */
  readonly onSpeaker?: (deviceId: string) => void;
  readonly canChooseSpeaker: boolean;
}

/** Camera, microphone and speaker, and whether they work. */
export function DeviceSettings({ media, onSpeaker, canChooseSpeaker }: DeviceSettingsProps) {
  const { cameras, microphones, speakers } = media.devices.value;
  const { cameraId, microphoneId, speakerId } = preferences.value;
  const [playing, setPlaying] = useState(false);
  const alive = useRef(true);
  useEffect(() => {
    alive.current = true;
    return () => {
      alive.current = false;
    };
  }, []);
  const test = async () => {
    setPlaying(true);
    try {
      await playTestSound(speakerId);
    } catch {
      // Nothing is heard: that is what the test is to show.
    } finally {
      if (alive.current) setPlaying(false);
    }
  };
  return (
    <div class="device-settings">
      <Select
        label={text.devices.camera}
        icon={<Camera />}
        value={cameraId}
        options={deviceOptions(cameras, text.devices.cameraNumber)}
        onValue={(id) => void media.choose("camera", id)}
      />
      <div class="device-row">
        <Select
          label={text.devices.microphone}
          icon={<Mic />}
          value={microphoneId}
          options={deviceOptions(microphones, text.devices.microphoneNumber)}
          onValue={(id) => void media.choose("microphone", id)}
        />
        <Level track={media.microphone.on.value ? media.microphone.track.value : undefined} />
      </div>
      <div class="device-row">
        {canChooseSpeaker ? (
          <Select
            label={text.devices.speaker}
            icon={<Volume2 />}
            value={speakerId}
            options={deviceOptions(speakers, text.devices.speakerNumber)}
            onValue={(id) => {
              remember({ speakerId: id });
              onSpeaker?.(id);
            }}
          />
        ) : (
          <p class="muted">{text.devices.speakerFixed}</p>
        )}
        <Button small icon={<AudioLines />} disabled={playing} onClick={() => void test()}>
          {playing ? text.devices.testingSound : text.devices.testSound}
        </Button>
      </div>
    </div>
  );
}
