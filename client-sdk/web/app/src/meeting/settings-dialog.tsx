import type { Support } from "@darktower/client";
import { Monitor, Moon, Sun } from "lucide-preact";
import { useState } from "preact/hooks";
import { DeviceSettings } from "../pages/device-settings.js";
import { preferences, remember, type ThemeChoice } from "../preferences.js";
import type { Session } from "../session.js";
import type { ViewMode } from "../stage/who-is-shown.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { Dialog } from "../ui/dialog.js";
import { Checkbox, Choice, TextField } from "../ui/field.js";

interface SettingsDialogProps {
  readonly session: Session;
  readonly support: Support | undefined;
  readonly onClose: () => void;
}

const THEMES = [
  { value: "system", label: text.settings.themes.system, icon: <Monitor /> },
  { value: "dark", label: text.settings.themes.dark, icon: <Moon /> },
  { value: "light", label: text.settings.themes.light, icon: <Sun /> },
] as const;

const VIEWS = [
  { value: "grid", label: text.controls.grid },
  { value: "speaker", label: text.controls.speaker },
] as const;

export function SettingsDialog({ session, support, onClose }: SettingsDialogProps) {
  const [name, setName] = useState(session.self.peek().name);
  const renamed = name.trim() !== "" && name.trim() !== session.self.value.name;
  return (
    <Dialog title={text.settings.title} onClose={onClose}>
      <div class="settings">
        <section>
          <h3>{text.settings.devices}</h3>
          <DeviceSettings
            media={session.media}
            canChooseSpeaker={support?.canChooseSpeaker === true}
            onSpeaker={(id) => void session.chooseSpeaker(id)}
          />
        </section>
        <section>
          <h3>{text.settings.appearance}</h3>
          <Choice<ThemeChoice>
            label={text.settings.theme}
            value={preferences.value.theme}
            options={THEMES}
            onValue={(theme) => remember({ theme })}
          />
          <Choice<ViewMode>
            label={text.settings.layout}
            value={session.view.value}
            options={VIEWS}
            onValue={(view) => session.setView(view)}
          />
        </section>
        <section>
          <h3>{text.settings.keyboard}</h3>
          <Checkbox
            label={text.settings.shortcuts}
            checked={preferences.value.shortcuts}
            onValue={(shortcuts) => remember({ shortcuts })}
          />
        </section>
        {session.rights.value.renameSelf && (
          <form
            class="settings-name"
            onSubmit={(event) => {
              event.preventDefault();
              if (renamed) void session.rename(name.trim());
            }}
          >
            <TextField label={text.settings.name} maxLength={64} value={name} onValue={setName} />
            <Button type="submit" disabled={!renamed}>
              {text.people.rename}
            </Button>
          </form>
        )}
      </div>
    </Dialog>
  );
}
