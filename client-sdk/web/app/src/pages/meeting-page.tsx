/** From the link to the meeting and out of it again: which page is shown when. */

import { checkSupport, Meeting, MeetingError, type Support } from "@darktower/client";
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, accountName, join, type MeetingLink, meetingOf } from "../api.js";
import { type Ending, endingOfJoin, endingOfSession, isOutdated } from "../ending.js";
import { dateAndTime } from "../format.js";
import { LocalMedia } from "../local-media.js";
import { MeetingView } from "../meeting/meeting-view.js";
import { Session } from "../session.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { Spinner } from "../ui/spinner.js";
import { Frame } from "./frame.js";
import { Lobby } from "./lobby.js";
import { MessagePage } from "./message-page.js";
import { SignInForm } from "./sign-in.js";

declare global {
  interface Window {
    /** While one is in a meeting: for support and tests. */
    darktower?: { readonly meeting: Meeting };
  }
}

type Phase =
  | { readonly at: "loading" }
  | { readonly at: "lobby"; readonly joining: boolean; readonly nameError?: string }
  | { readonly at: "waiting" }
  | { readonly at: "meeting"; readonly session: Session }
  | { readonly at: "over"; readonly ending: Ending; readonly detail?: string; readonly outdated: boolean };

interface Known {
  readonly link: MeetingLink;
  readonly support: Support;
  readonly accountName: string | undefined;
}

function detailOf(error: unknown): string | undefined {
  if (error instanceof ApiError) return error.status === 0 ? undefined : text.ending.detail(error.code);
  if (error instanceof MeetingError) return text.ending.detail(error.code || error.kind);
  return error instanceof Error ? error.message : undefined;
}

/** What happens behind `/m/{slug}`. */
export function MeetingPage({ slug, guest }: { readonly slug: string; readonly guest: boolean }) {
  const phase = useSignal<Phase>({ at: "loading" });
  const known = useSignal<Known | undefined>(undefined);
  const media = useRef<LocalMedia>();
  const waiting = useRef<AbortController>();
  const alive = useRef(true);

  const over = (ending: Ending, detail?: string, outdated = false) => {
    if (!alive.current) return;
    media.current?.close();
    media.current = undefined;
    delete window.darktower;
    phase.value = { at: "over", ending, outdated, ...(detail === undefined ? {} : { detail }) };
  };

  const load = async () => {
    phase.value = { at: "loading" };
    try {
      const [support, link, name] = await Promise.all([checkSupport(), meetingOf(slug), accountName()]);
      if (!alive.current) return;
      known.value = { link, support, accountName: name };
      if (!support.supported) return over("unsupported");
      if (link.join === "none") return over("ended");
      if (link.join === "sign_in" && !(guest && link.guests_allowed)) return over("signIn");
      media.current ??= new LocalMedia();
      phase.value = { at: "lobby", joining: false };
    } catch (error) {
      over(endingOfJoin(error, false), detailOf(error));
    }
  };

  const enter = async (name: string) => {
    const link = known.peek()?.link;
    const local = media.current;
    if (!link || !local) return;
    const asGuest = guest || link.join === "guest";
    let waited = false;
    const abort = new AbortController();
    waiting.current = abort;
    phase.value = { at: "lobby", joining: true };
    try {
      const grant = await join(link.meeting_id, name, asGuest);
      const meeting = await Meeting.join(grant, {
        ...(asGuest ? {} : { name }),
        signal: abort.signal,
        onWaiting: () => {
          waited = true;
          if (alive.current) phase.value = { at: "waiting" };
        },
      });
      // It may have been left just when it was joined.
      if (!alive.current || abort.signal.aborted) {
        await meeting.leave();
        return;
      }
      window.darktower = { meeting };
      const session = new Session(meeting, link, local);
      session.closed.subscribe((closed) => {
        if (!closed) return;
        const ending = endingOfSession(closed);
        over(ending, ending === "lost" ? text.ending.detail(closed.code) : undefined);
      });
      if (!session.closed.peek()) phase.value = { at: "meeting", session };
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof ApiError && error.field === "name") {
        phase.value = { at: "lobby", joining: false, nameError: error.message || text.lobby.badName };
        return;
      }
      over(endingOfJoin(error, waited), detailOf(error), isOutdated(error));
    }
  };

  useEffect(() => {
    alive.current = true;
    void load();
    const leave = () => {
      const now = phase.peek();
      if (now.at === "meeting") void now.session.leave();
    };
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
      alive.current = false;
      waiting.current?.abort();
      media.current?.close();
      media.current = undefined;
      delete window.darktower;
    };
  }, []);

  const now = phase.value;
  const about = known.value;
  switch (now.at) {
    case "loading":
      return (
        <Frame narrow>
          <div class="message" role="status">
            <Spinner large />
            <p>{text.common.loading}</p>
          </div>
        </Frame>
      );
    case "lobby":
      if (!about || !media.current) return null;
      return (
        <Lobby
          link={about.link}
          media={media.current}
          asGuest={guest || about.link.join === "guest"}
          accountName={about.accountName}
          canChooseSpeaker={about.support.canChooseSpeaker}
          joining={now.joining}
          nameError={now.nameError}
          onJoin={(name) => void enter(name)}
        />
      );
    case "waiting":
      return (
        <Frame narrow>
          <section class="message">
            <Spinner large />
            <h1>{text.waiting.title}</h1>
            <p role="status">
              {about?.link.waiting_room === "until_host" ? text.waiting.untilHost : text.waiting.text}
            </p>
            <div class="message-actions">
              <Button
                onClick={() => {
                  waiting.current?.abort();
                  phase.value = { at: "lobby", joining: false };
                }}
              >
                {text.waiting.leave}
              </Button>
            </div>
          </section>
        </Frame>
      );
    case "meeting":
      return <MeetingView session={now.session} support={about?.support} />;
    case "over":
      return (
        <MessagePage
          ending={now.ending}
          detail={now.detail}
          onAgain={() => (now.outdated ? location.reload() : void load())}
        >
          {now.ending === "unsupported" && (
            <div class="message-list">
              <p>{text.ending.useOther}</p>
              <h2>{text.ending.missing}</h2>
              <ul>
                {about?.support.missing.map((name) => (
                  <li key={name}>{name}</li>
                ))}
              </ul>
            </div>
          )}
          {now.ending === "notBegun" && typeof about?.link.scheduled_start === "string" && (
            <p>{text.lobby.scheduled(dateAndTime(Date.parse(about.link.scheduled_start)))}</p>
          )}
          {now.ending === "signIn" && (
            <div class="message-form">
              <SignInForm onSignedIn={() => void load()} />
            </div>
          )}
        </MessagePage>
      );
  }
}
