import type { Participant } from "@darktower/client";
import {
  ArrowDownFromLine,
  Hand,
  MessageSquare,
  MicOff,
  MonitorX,
  Pencil,
  Presentation,
  Star,
  StarOff,
  UserX,
  VideoOff,
} from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { Confirm, Dialog } from "../ui/dialog.js";
import { TextField } from "../ui/field.js";
import type { MenuItem } from "../ui/menu.js";
import { actionsFor, type PersonAction } from "./person-actions.js";

const LOOKS: Record<
  PersonAction,
  { readonly label: string; readonly icon: ComponentChildren; readonly danger?: boolean }
> = {
  message: { label: text.tile.message, icon: <MessageSquare /> },
  spotlightOn: { label: text.tile.spotlightOn, icon: <Star /> },
  spotlightOff: { label: text.tile.spotlightOff, icon: <StarOff /> },
  mute: { label: text.tile.mute, icon: <MicOff /> },
  cameraStop: { label: text.tile.cameraStop, icon: <VideoOff /> },
  screenStop: { label: text.tile.screenStop, icon: <MonitorX /> },
  lowerHand: { label: text.tile.lowerHand, icon: <Hand /> },
  toStage: { label: text.tile.toStage, icon: <Presentation /> },
  offStage: { label: text.tile.offStage, icon: <ArrowDownFromLine /> },
  rename: { label: text.tile.rename, icon: <Pencil /> },
  remove: { label: text.tile.remove, icon: <UserX />, danger: true },
};

function RenameDialog({
  session,
  person,
  onClose,
}: {
  readonly session: Session;
  readonly person: Participant;
  readonly onClose: () => void;
}) {
  const [name, setName] = useState(person.name);
  const own = person.participantId === session.self.peek().participantId;
  const submit = async () => {
    const trimmed = name.trim();
    if (trimmed === "") return;
    const done = own
      ? session.rename(trimmed)
      : session.request((meeting) => meeting.renameParticipant(person.participantId, trimmed));
    if (await done) onClose();
  };
  return (
    <Dialog title={own ? text.people.renameSelf : text.people.renameTitle(person.name)} onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <TextField label={text.people.newName} maxLength={64} value={name} onValue={setName} />
        <footer class="dialog-actions">
          <Button onClick={onClose}>{text.common.cancel}</Button>
          <Button type="submit" tone="primary">
            {text.people.rename}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Menu items for somebody, and the dialogs that some of them open. */
export function usePersonMenu(
  session: Session,
  person: Participant,
): { readonly items: MenuItem[]; readonly dialog: ComponentChildren } {
  const [asking, setAsking] = useState<"rename" | "remove">();
  const { participantId, name } = person;
  const run: Record<PersonAction, () => void> = {
    message: () => session.openConversation(participantId),
    spotlightOn: () => void session.request((meeting) => meeting.spotlight(participantId, true)),
    spotlightOff: () => void session.request((meeting) => meeting.spotlight(participantId, false)),
    mute: () => void session.request((meeting) => meeting.mute(participantId, "audio")),
    cameraStop: () => void session.request((meeting) => meeting.mute(participantId, "camera")),
    screenStop: () => void session.request((meeting) => meeting.mute(participantId, "screen")),
    lowerHand: () => void session.request((meeting) => meeting.lowerHand(participantId)),
    toStage: () => void session.request((meeting) => meeting.inviteToStage(participantId)),
    offStage: () => void session.request((meeting) => meeting.removeFromStage(participantId)),
    rename: () => setAsking("rename"),
    remove: () => setAsking("remove"),
  };
  const items = actionsFor(session.state.value, person, session.hasAudience).map((action) => ({
    ...LOOKS[action],
    run: run[action],
  }));
  let dialog: ComponentChildren = null;
  if (asking === "rename")
    dialog = <RenameDialog session={session} person={person} onClose={() => setAsking(undefined)} />;
  if (asking === "remove") {
    dialog = (
      <Confirm
        title={text.people.removeQuestion(name)}
        explanation={text.people.removeExplanation}
        action={text.people.remove}
        onConfirm={() => void session.request((meeting) => meeting.kick(participantId))}
        onClose={() => setAsking(undefined)}
      />
    );
  }
  return { items, dialog };
}
