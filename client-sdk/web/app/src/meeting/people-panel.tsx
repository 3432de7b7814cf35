import type { Participant } from "@darktower/client";
import {
  EllipsisVertical,
  Hand,
  Link2,
  Lock,
  LockOpen,
  Mic,
  MicOff,
  Search,
  UserCheck,
  Video,
  VideoOff,
  X,
} from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Avatar } from "../ui/avatar.js";
import { Button, IconButton } from "../ui/button.js";
import { Confirm } from "../ui/dialog.js";
import { Menu } from "../ui/menu.js";
import { copyLink } from "./copy-link.js";
import { Panel } from "./panel.js";
import { search } from "./person-actions.js";
import { usePersonMenu } from "./person-menu.js";

/** Rows have one height, so that of a thousand only those that are seen need to be there. */
const ROW_PX = 52;
const SPARE_ROWS = 8;

function Person({
  session,
  person,
  self,
}: {
  readonly session: Session;
  readonly person: Participant;
  readonly self: boolean;
}) {
  const { items, dialog } = usePersonMenu(session, person);
  const { stage } = session.state.value;
  const { audioMuted, videoOn, handRaised } = person.state;
  const host = person.role === "host";
  const facts = [
    host ? text.people.host : "",
    stage.onStage.includes(person.participantId) ? text.people.onStage : "",
  ];
  const detail = facts.filter(Boolean).join(" · ");
  const speaking = session.speaking.value.has(person.participantId);
  return (
    <li class={speaking ? "person person-speaking" : "person"}>
      <Avatar participantId={person.participantId} name={person.name} size={34} />
      <div class="person-name">
        <span dir="auto">{self ? text.common.youAfterName(person.name) : person.name}</span>
        {detail !== "" && <small>{detail}</small>}
      </div>
      {handRaised && <Hand class="person-hand" role="img" aria-label={text.tile.handRaised} />}
      <span class={audioMuted ? "person-off" : "person-on"}>
        {audioMuted ? <MicOff role="img" aria-label={text.tile.muted} /> : <Mic aria-hidden="true" />}
      </span>
      <span class={videoOn ? "person-on" : "person-off"}>
        {videoOn ? <Video aria-hidden="true" /> : <VideoOff role="img" aria-label={text.tile.cameraOff} />}
      </span>
      {items.length > 0 ? (
        <Menu
          button={{
            label: text.tile.actions(self ? text.common.you : person.name),
            icon: <EllipsisVertical />,
            tooltip: "none",
          }}
          groups={[{ items }]}
        />
      ) : (
        <span class="person-no-menu" />
      )}
      {dialog}
    </li>
  );
}

/** A request that hosts decide: a name, yes and no. */
function Request({
  participantId,
  name,
  yes,
  no,
}: {
  readonly participantId: string;
  readonly name: string;
  readonly yes: { readonly label: string; readonly run: () => void };
  readonly no: { readonly label: string; readonly run: () => void };
}) {
  return (
    <li class="person">
      <Avatar participantId={participantId} name={name} size={34} />
      <div class="person-name">
        <span dir="auto">{name}</span>
      </div>
      <IconButton label={no.label} icon={<X />} onClick={no.run} />
      <IconButton tone="on" label={yes.label} icon={<UserCheck />} onClick={yes.run} />
    </li>
  );
}

function Section({
  title,
  action,
  children,
}: {
  readonly title: string;
  readonly action?: ComponentChildren;
  readonly children: ComponentChildren;
}) {
  return (
    <section class="people-section">
      <header>
        <h3>{title}</h3>
        {action}
      </header>
      <ul>{children}</ul>
    </section>
  );
}

function WaitingRoom({ session }: { readonly session: Session }) {
  const { waiting } = session.state.value;
  const ask = session.request.bind(session);
  return (
    <Section
      title={text.people.waiting(waiting.length)}
      action={
        waiting.length > 1 && (
          <Button small tone="primary" onClick={() => void ask((m) => m.admit())}>
            {text.people.admitAll}
          </Button>
        )
      }
    >
      {waiting.map(({ participantId, name }) => (
        <Request
          key={participantId}
          participantId={participantId}
          name={name}
          yes={{ label: text.people.admitPerson(name), run: () => void ask((m) => m.admit(participantId)) }}
          no={{ label: text.people.rejectPerson(name), run: () => void ask((m) => m.reject(participantId)) }}
        />
      ))}
    </Section>
  );
}

function StageRequests({ session }: { readonly session: Session }) {
  const { asking } = session.state.value.stage;
  const ask = session.request.bind(session);
  return (
    <Section title={text.people.asking(asking.length)}>
      {asking.map((id) => {
        const name = session.nameOf(id);
        return (
          <Request
            key={id}
            participantId={id}
            name={name}
            yes={{ label: text.people.approvePerson(name), run: () => void ask((m) => m.approveStage(id)) }}
            no={{ label: text.people.denyPerson(name), run: () => void ask((m) => m.denyStage(id)) }}
          />
        );
      })}
    </Section>
  );
}

/** Everybody in the meeting, and what hosts can do with them. */
export function PeoplePanel({ session }: { readonly session: Session }) {
  const [query, setQuery] = useState("");
  const [mutingAll, setMutingAll] = useState(false);
  const [scroll, setScroll] = useState({ top: 0, height: 800 });
  const state = session.state.value;
  const { self, participants, rights } = state;
  const raised = [self, ...participants].filter((p) => p.state.handRaised);
  const everybody = [self, ...participants];
  const found = search(everybody, query);
  const ask = session.request.bind(session);

  // Only the rows that are in sight, with room for the others.
  const from = Math.max(0, Math.floor(scroll.top / ROW_PX) - SPARE_ROWS);
  const until = Math.min(found.length, Math.ceil((scroll.top + scroll.height) / ROW_PX) + SPARE_ROWS);
  return (
    <Panel
      title={text.people.title}
      onClose={() => session.closePanel()}
      actions={
        <IconButton
          label={text.people.copyLink}
          icon={<Link2 />}
          tooltip="below"
          onClick={() => void copyLink(session)}
        />
      }
    >
      {(rights.muteAudio || rights.runMeeting) && (
        // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms
        <div class="host-controls" role="group" aria-label={text.people.hostControls}>
          {rights.muteAudio && (
            <Button small icon={<MicOff />} onClick={() => setMutingAll(true)}>
              {text.people.muteAll}
            </Button>
          )}
          {rights.runMeeting && (
            <Button
              small
              icon={state.locked ? <LockOpen /> : <Lock />}
              onClick={() => void ask((m) => m.lock(!state.locked))}
            >
              {state.locked ? text.people.unlock : text.people.lock}
            </Button>
          )}
        </div>
      )}
      {everybody.length > 6 && (
        <search class="panel-search">
          <Search aria-hidden="true" />
          <input
            type="search"
            class="input"
            aria-label={text.people.search}
            placeholder={text.people.search}
            value={query}
            onInput={(event) => setQuery(event.currentTarget.value)}
          />
        </search>
      )}
      <div
        class="people"
        onScroll={(event) => {
          const list = event.currentTarget;
          setScroll({ top: list.scrollTop, height: list.clientHeight });
        }}
      >
        {rights.admit && state.waiting.length > 0 && <WaitingRoom session={session} />}
        {rights.manageStage && state.stage.asking.length > 0 && <StageRequests session={session} />}
        {raised.length > 0 && query === "" && (
          <Section
            title={text.people.hands(raised.length)}
            action={
              rights.runMeeting && (
                <Button small onClick={() => void ask((m) => m.lowerHand())}>
                  {text.people.lowerAllHands}
                </Button>
              )
            }
          >
            {raised.map((person) => (
              <Person key={person.participantId} session={session} person={person} self={person === self} />
            ))}
          </Section>
        )}
        <section class="people-section">
          <header>
            <h3>{text.people.here(Math.max(state.participantCount, everybody.length))}</h3>
            {state.viewerCount > 0 && <span class="muted">{text.meeting.viewers(state.viewerCount)}</span>}
          </header>
          {found.length === 0 && <p class="muted people-nobody">{text.people.nobodyFound}</p>}
          <ul
            style={{
              paddingTop: `${from * ROW_PX}px`,
              paddingBottom: `${(found.length - until) * ROW_PX}px`,
            }}
          >
            {found.slice(from, until).map((person) => (
              <Person key={person.participantId} session={session} person={person} self={person === self} />
            ))}
          </ul>
        </section>
      </div>
      {mutingAll && (
        <Confirm
          title={text.people.muteAllQuestion}
          explanation={text.people.muteAllExplanation}
          action={text.people.muteAll}
          onConfirm={() => void ask((m) => m.muteEverybody("audio"))}
          onClose={() => setMutingAll(false)}
        />
      )}
    </Panel>
  );
}
