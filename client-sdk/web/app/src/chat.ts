/** The chat as one sees it: conversations, history, what is unread. Pure. */

import type { ChatMessage } from "@darktower/client";

/** `everyone`, or the id of the other participant of a private conversation. */
export type ConversationId = string;
export const EVERYONE: ConversationId = "everyone";

export interface Conversation {
  /** By id, the oldest first. */
  readonly messages: readonly ChatMessage[];
  /** The server has earlier ones. Undefined: not asked yet. */
  readonly hasMore: boolean | undefined;
  readonly unread: number;
}

export interface Chat {
  readonly conversations: ReadonlyMap<ConversationId, Conversation>;
  /** The one that is seen; undefined while the chat is closed. */
  readonly open: ConversationId | undefined;
}

const NONE: Conversation = { messages: [], hasMore: undefined, unread: 0 };
export const EMPTY_CHAT: Chat = { conversations: new Map(), open: undefined };

export function conversationOf(message: ChatMessage, selfId: string): ConversationId {
  if (message.toParticipantId === undefined) return EVERYONE;
  return message.participantId === selfId ? message.toParticipantId : message.participantId;
}

export function conversation(chat: Chat, id: ConversationId): Conversation {
  return chat.conversations.get(id) ?? NONE;
}

export function unreadOf(chat: Chat): number {
  let sum = 0;
  for (const { unread } of chat.conversations.values()) sum += unread;
  return sum;
}

/** What hosts have pinned, the latest first. */
export function pinnedOf(chat: Chat): ChatMessage[] {
  return conversation(chat, EVERYONE)
    .messages.filter((message) => message.pinned && !message.deleted)
    .reverse();
}

function put(chat: Chat, id: ConversationId, change: Partial<Conversation>): Chat {
  const conversations = new Map(chat.conversations);
  conversations.set(id, { ...conversation(chat, id), ...change });
  return { ...chat, conversations };
}

/** Messages of both lists by id; of a message that is in both, that of `newer`. */
function merge(older: readonly ChatMessage[], newer: readonly ChatMessage[]): ChatMessage[] {
  const byId = new Map(older.map((message) => [message.messageId, message]));
  for (const message of newer) byId.set(message.messageId, message);
  return [...byId.values()].sort((a, b) => a.messageId - b.messageId);
}

/** A message has come. Own ones, and those of the conversation that is open, are read. */
export function received(chat: Chat, message: ChatMessage, selfId: string): Chat {
  const id = conversationOf(message, selfId);
  const before = conversation(chat, id);
  const known = before.messages.some((other) => other.messageId === message.messageId);
  const read = known || message.participantId === selfId || chat.open === id;
  return put(chat, id, {
    messages: merge(before.messages, [message]),
    unread: read ? before.unread : before.unread + 1,
  });
}

/** A message was edited, deleted or pinned. One that was never seen here is not added: history brings it. */
export function updated(chat: Chat, message: ChatMessage, selfId: string): Chat {
  const id = conversationOf(message, selfId);
  const before = conversation(chat, id);
  if (!before.messages.some((other) => other.messageId === message.messageId)) {
    if (!message.pinned) return chat;
  }
  return put(chat, id, { messages: merge(before.messages, [message]) });
}

/** Earlier messages have come. What came as an event meanwhile is newer than what history says. */
export function loaded(
  chat: Chat,
  id: ConversationId,
  history: { readonly messages: readonly ChatMessage[]; readonly hasMore: boolean },
): Chat {
  return put(chat, id, {
    messages: merge(history.messages, conversation(chat, id).messages),
    hasMore: history.hasMore,
  });
}

/**
 * The latest messages, after some may have been missed since `last`. If there are more between than have come, what was
 * known is forgotten: history goes on from what has come, and leaves no gap.
 */
export function caughtUp(
  chat: Chat,
  id: ConversationId,
  latest: { readonly messages: readonly ChatMessage[]; readonly hasMore: boolean },
  last: number,
  selfId: string,
): Chat {
  const before = conversation(chat, id);
  const known = new Set(before.messages.map((message) => message.messageId));
  const missed = latest.messages.filter(
    (m) => m.messageId > last && !known.has(m.messageId) && m.participantId !== selfId,
  );
  const unread = chat.open === id ? 0 : before.unread + missed.length;
  const first = latest.messages[0]?.messageId;
  if (latest.hasMore && first !== undefined && first > last) {
    const kept = before.messages.filter((message) => message.messageId >= first || message.pinned);
    return put(chat, id, { messages: merge(kept, latest.messages), hasMore: true, unread });
  }
  return put(chat, id, { messages: merge(before.messages, latest.messages), unread });
}

/** Opens a conversation, or closes the chat. */
export function opened(chat: Chat, id: ConversationId | undefined): Chat {
  const next = { ...chat, open: id };
  return id === undefined ? next : put(next, id, { unread: 0 });
}

/** The earliest message from which history goes on, if it is known to go on or not known at all. */
export function historyCursor(chat: Chat, id: ConversationId): { readonly before?: number } | undefined {
  const { messages, hasMore } = conversation(chat, id);
  if (hasMore === false) return undefined;
  if (hasMore === undefined) return {};
  // Pinned messages may have come out of turn, from before what history has brought.
  const first = messages.find((message) => !message.pinned) ?? messages[0];
  return first === undefined ? {} : { before: first.messageId };
}

/** Text without what does not matter when one looks for something. Indices stay those of the text. */
function folded(text: string): string {
  return Array.from(text, (character) => {
    const plain = character.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    return plain.length === character.length ? plain : character;
  }).join("");
}

/** Where a text has the words one looks for: from, to. */
function hits(text: string, query: string): [number, number][] {
  const wanted = folded(query.trim());
  if (wanted === "") return [];
  const within = folded(text);
  const places: [number, number][] = [];
  for (let at = within.indexOf(wanted); at >= 0; at = within.indexOf(wanted, at + wanted.length)) {
    places.push([at, at + wanted.length]);
  }
  return places;
}

/** The messages that have what one looks for, whatever the case and the accents. The latest first. */
export function found(messages: readonly ChatMessage[], query: string): ChatMessage[] {
  return messages.filter((message) => !message.deleted && hits(message.text, query).length > 0).reverse();
}

/** A text in parts: those that one looks for, and those between. */
export function highlighted(text: string, query: string): { readonly text: string; readonly hit: boolean }[] {
  const parts: { readonly text: string; readonly hit: boolean }[] = [];
  let end = 0;
  for (const [from, to] of hits(text, query)) {
    if (from > end) parts.push({ text: text.slice(end, from), hit: false });
    parts.push({ text: text.slice(from, to), hit: true });
    end = to;
  }
  if (end < text.length) parts.push({ text: text.slice(end), hit: false });
  return parts;
}

export type Segment = { readonly text: string } | { readonly text: string; readonly url: string };

const LINK = /\bhttps?:\/\/[^\s<>"'`]+/giu;

/** Text cut into plain text and links. Only http and https are links; punctuation at the end is none of it. */
export function segments(text: string): Segment[] {
  const found: Segment[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    let link = match[0].replace(/[.,;:!?…»“”]+$/u, "");
    // A bracket at the end belongs to the link only if it is opened in it.
    while (link.endsWith(")") && link.split(")").length > link.split("(").length) link = link.slice(0, -1);
    if (!URL.canParse(link)) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: link, url: new URL(link).href });
    end = match.index + link.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}
