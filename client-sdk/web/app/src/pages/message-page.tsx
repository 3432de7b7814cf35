import {
  CircleAlert,
  Clock,
  DoorClosed,
  Lock,
  LogOut,
  MonitorSmartphone,
  SearchX,
  ServerOff,
  TriangleAlert,
  Users,
  UserX,
  WifiOff,
} from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Ending } from "../ending.js";
import { navigate } from "../router.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { useTitle } from "../ui/hooks.js";
import { Frame } from "./frame.js";

const ICONS: Record<Ending, ComponentChildren> = {
  left: <LogOut />,
  kicked: <UserX />,
  ended: <DoorClosed />,
  full: <Users />,
  locked: <Lock />,
  rejected: <UserX />,
  notBegun: <Clock />,
  noSuchMeeting: <SearchX />,
  elsewhere: <MonitorSmartphone />,
  lost: <WifiOff />,
  unreachable: <ServerOff />,
  stopped: <ServerOff />,
  tooOften: <Clock />,
  signIn: <Lock />,
  unsupported: <TriangleAlert />,
  failed: <CircleAlert />,
};

/** Endings after which trying again makes sense. */
const AGAIN: ReadonlySet<Ending> = new Set<Ending>([
  "full",
  "locked",
  "rejected",
  "notBegun",
  "lost",
  "unreachable",
  "stopped",
  "tooOften",
  "failed",
]);

interface MessagePageProps {
  readonly ending: Ending;
  /** What the server or the browser says, for whoever is asked for help. */
  readonly detail?: string | undefined;
  readonly onAgain?: (() => void) | undefined;
  readonly children?: ComponentChildren;
}

/** A page that says how things ended, and what to do now. */
export function MessagePage({ ending, detail, onAgain, children }: MessagePageProps) {
  const page = text.endings[ending];
  useTitle(`${page.title} · ${text.product}`);
  const heading = useRef<HTMLHeadingElement>(null);
  // What had the focus is gone with the meeting: screen readers begin here, and say what happened.
  useEffect(() => heading.current?.focus(), []);
  const rejoin = ending === "left" || ending === "elsewhere";
  return (
    <Frame narrow>
      <section class="message">
        <span class="message-icon">{ICONS[ending]}</span>
        <h1 ref={heading} tabIndex={-1}>
          {page.title}
        </h1>
        <p role="status">{page.text}</p>
        {children}
        {detail !== undefined && detail !== "" && <p class="message-detail">{detail}</p>}
        <div class="message-actions">
          {onAgain && (rejoin || AGAIN.has(ending)) && (
            <Button tone="primary" onClick={onAgain}>
              {rejoin || ending === "lost" ? text.ending.rejoin : text.common.tryAgain}
            </Button>
          )}
          <Button onClick={() => navigate("/")}>{text.common.goHome}</Button>
        </div>
      </section>
    </Frame>
  );
}
