import type { ChatMessage } from "@darktower/client";
import { EllipsisVertical, Pencil, Pin, PinOff, Trash2 } from "lucide-preact";
import { segments } from "../chat.js";
import { moment } from "../format.js";
import { text } from "../text.js";
import { Avatar } from "../ui/avatar.js";
import { Menu, type MenuItem } from "../ui/menu.js";

/** Text with its links; never markup. */
export function MessageText({ value }: { readonly value: string }) {
  return (
    <>
      {segments(value).map((segment, index) =>
        "url" in segment ? (
          <a key={`${index}`} href={segment.url} target="_blank" rel="noopener noreferrer nofollow">
            {segment.text}
          </a>
        ) : (
          segment.text
        ),
      )}
    </>
  );
}

interface MessageItemProps {
  readonly message: ChatMessage;
  readonly own: boolean;
  /** The message before is of the same author, shortly before: who wrote it need not be said again. */
  readonly continues: boolean;
  readonly nowMs: number;
  readonly onEdit: (() => void) | undefined;
  readonly onDelete: (() => void) | undefined;
  readonly onPin: (() => void) | undefined;
}

export function MessageItem({ message, own, continues, nowMs, onEdit, onDelete, onPin }: MessageItemProps) {
  const items: MenuItem[] = [];
  if (onEdit) items.push({ label: text.chat.edit, icon: <Pencil />, run: onEdit });
  if (onPin) {
    items.push({
      label: message.pinned ? text.chat.unpin : text.chat.pin,
      icon: message.pinned ? <PinOff /> : <Pin />,
      run: onPin,
    });
  }
  if (onDelete) items.push({ label: text.chat.remove, icon: <Trash2 />, danger: true, run: onDelete });
  return (
    <li class={`message-item ${own ? "message-own" : ""} ${continues ? "message-continues" : ""}`}>
      {!continues && (
        <div class="message-author">
          {!own && <Avatar participantId={message.participantId} name={message.name} size={24} />}
          <strong dir="auto">{own ? text.common.you : message.name}</strong>
          <time>{moment(message.sentAtMs, nowMs)}</time>
        </div>
      )}
      <div class="message-body">
        {message.deleted ? (
          <p class="message-text message-gone">{text.chat.deleted}</p>
        ) : (
          <p class="message-text" dir="auto">
            {message.pinned && <Pin class="message-pin" aria-hidden="true" />}
            <MessageText value={message.text} />
            {message.editedAtMs !== undefined && <small class="message-edited"> ({text.chat.edited})</small>}
          </p>
        )}
        {items.length > 0 && !message.deleted && (
          <Menu
            button={{
              label: text.chat.actions(own ? text.common.you : message.name),
              icon: <EllipsisVertical />,
              tooltip: "none",
              class: "message-menu",
            }}
            groups={[{ items }]}
          />
        )}
      </div>
    </li>
  );
}
