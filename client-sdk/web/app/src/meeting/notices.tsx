import { CircleCheck, Hand, Presentation, TriangleAlert, UserPlus, X } from "lucide-preact";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Button, IconButton } from "../ui/button.js";

/** People who wait for somebody to decide: stays until that is done. */
function Asking({ session }: { readonly session: Session }) {
  const { rights, waiting, stage } = session.state.value;
  if (session.panel.value === "people") return null;
  const [first] = waiting;
  const [asks] = stage.asking;
  return (
    <>
      {rights.admit && first && (
        <div class="notice notice-asking">
          <UserPlus aria-hidden="true" />
          <span>{text.notices.waiting(waiting.map((person) => person.name))}</span>
          <Button small onClick={() => session.togglePanel("people")}>
            {text.notices.view}
          </Button>
          <Button
            small
            tone="primary"
            onClick={() =>
              void session.request((m) => (waiting.length === 1 ? m.admit(first.participantId) : m.admit()))
            }
          >
            {waiting.length === 1 ? text.people.admit : text.people.admitAll}
          </Button>
        </div>
      )}
      {rights.manageStage && asks !== undefined && (
        <div class="notice notice-asking">
          <Hand aria-hidden="true" />
          <span>{text.notices.asking(stage.asking.map((id) => session.nameOf(id)))}</span>
          <Button small onClick={() => session.togglePanel("people")}>
            {text.notices.view}
          </Button>
          {stage.asking.length === 1 && (
            <Button small tone="primary" onClick={() => void session.request((m) => m.approveStage(asks))}>
              {text.people.approve}
            </Button>
          )}
        </div>
      )}
    </>
  );
}

function Invited({ session }: { readonly session: Session }) {
  if (!session.state.value.stage.invited) return null;
  return (
    <div class="notice notice-asking">
      <Presentation aria-hidden="true" />
      <span>{text.notices.invited}</span>
      <Button small onClick={() => void session.request((m) => m.leaveStage())}>
        {text.notices.decline}
      </Button>
      <Button small tone="primary" onClick={() => void session.request((m) => m.askForStage())}>
        {text.notices.joinStage}
      </Button>
    </div>
  );
}

/** Short messages at the edge of the stage. */
export function Notices({ session }: { readonly session: Session }) {
  return (
    <div class="notices">
      <Asking session={session} />
      <Invited session={session} />
      {session.telling.notices.value.map((notice) => {
        const { action } = notice;
        return (
          <div key={notice.id} class={`notice notice-${notice.tone}`}>
            {notice.tone === "warning" && <TriangleAlert aria-hidden="true" />}
            {notice.tone === "good" && <CircleCheck aria-hidden="true" />}
            <span>{notice.text}</span>
            {action && (
              <Button
                small
                onClick={() => {
                  session.telling.dismiss(notice.id);
                  action.run();
                }}
              >
                {action.label}
              </Button>
            )}
            <IconButton
              label={text.common.dismiss}
              icon={<X />}
              tooltip="none"
              onClick={() => session.telling.dismiss(notice.id)}
            />
          </div>
        );
      })}
    </div>
  );
}
