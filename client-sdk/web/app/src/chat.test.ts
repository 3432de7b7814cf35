import type { ChatMessage } from "@darktower/client";
import { describe, expect, it } from "vitest";
import {
  conversation,
  EMPTY_CHAT,
  EVERYONE,
  found,
  highlighted,
  historyCursor,
  loaded,
  opened,
  pinnedOf,
  received,
  segments,
  unreadOf,
  updated,
} from "./chat.js";

function message(messageId: number, change: Partial<ChatMessage> = {}): ChatMessage {
  return {
    messageId,
    participantId: "ada",
    name: "Ada",
    text: `text ${messageId}`,
    sentAtMs: messageId,
    pinned: false,
    deleted: false,
    ...change,
  };
}

describe("chat", () => {
  it("counts what is unread in each conversation, but not what one says oneself", () => {
    let chat = received(EMPTY_CHAT, message(1), "me");
    chat = received(chat, message(2, { participantId: "me" }), "me");
    chat = received(chat, message(3, { toParticipantId: "me" }), "me");
    chat = received(chat, message(4, { participantId: "me", toParticipantId: "ada" }), "me");
    expect(unreadOf(chat)).toBe(2);
    expect(conversation(chat, EVERYONE).messages.map((m) => m.messageId)).toEqual([1, 2]);
    expect(conversation(chat, "ada").messages.map((m) => m.messageId)).toEqual([3, 4]);
    chat = opened(chat, EVERYONE);
    expect(unreadOf(chat)).toBe(1);
    expect(unreadOf(received(chat, message(5), "me"))).toBe(1);
    expect(unreadOf(received(opened(chat, undefined), message(5), "me"))).toBe(2);
  });

  it("counts a message once that comes twice", () => {
    const chat = received(received(EMPTY_CHAT, message(1), "me"), message(1), "me");
    expect(unreadOf(chat)).toBe(1);
    expect(conversation(chat, EVERYONE).messages).toHaveLength(1);
  });

  it("lets events win over history that was asked for before", () => {
    let chat = received(EMPTY_CHAT, message(7), "me");
    chat = updated(chat, message(7, { text: "", deleted: true }), "me");
    chat = loaded(chat, EVERYONE, { messages: [message(5), message(6), message(7)], hasMore: true });
    expect(conversation(chat, EVERYONE).messages.map((m) => [m.messageId, m.deleted])).toEqual([
      [5, false],
      [6, false],
      [7, true],
    ]);
    expect(historyCursor(chat, EVERYONE)).toEqual({ before: 5 });
    chat = loaded(chat, EVERYONE, { messages: [message(4)], hasMore: false });
    expect(historyCursor(chat, EVERYONE)).toBeUndefined();
  });

  it("asks for history from the end first, and pages over what was pinned out of turn", () => {
    expect(historyCursor(EMPTY_CHAT, EVERYONE)).toEqual({});
    let chat = loaded(EMPTY_CHAT, EVERYONE, { messages: [message(8), message(9)], hasMore: true });
    chat = updated(chat, message(2, { pinned: true }), "me");
    expect(pinnedOf(chat).map((m) => m.messageId)).toEqual([2]);
    expect(historyCursor(chat, EVERYONE)).toEqual({ before: 8 });
  });

  it("does not add an old message because it was edited", () => {
    expect(updated(EMPTY_CHAT, message(3), "me")).toBe(EMPTY_CHAT);
  });
});

describe("links", () => {
  it("finds http links only, without the punctuation after them", () => {
    expect(segments("see https://a.example/x?y=1#z. And (http://b.example/w_(x)).")).toEqual([
      { text: "see " },
      { text: "https://a.example/x?y=1#z", url: "https://a.example/x?y=1#z" },
      { text: ". And (" },
      { text: "http://b.example/w_(x)", url: "http://b.example/w_(x)" },
      { text: ")." },
    ]);
    expect(segments("javascript:alert(1) ftp://a data:text/html,x")).toEqual([
      { text: "javascript:alert(1) ftp://a data:text/html,x" },
    ]);
    expect(segments("https://")).toEqual([{ text: "https://" }]);
    expect(segments("")).toEqual([]);
  });

  it("loses no character", () => {
    for (const text of [
      "a https://x.example b",
      'x"https://x.example"y',
      "https://x.example",
      "<https://e.example>",
    ]) {
      expect(
        segments(text)
          .map((s) => s.text)
          .join(""),
      ).toBe(text);
    }
  });
});

describe("search in the chat", () => {
  const texts = (query: string, ...all: string[]) =>
    found(
      all.map((text, index) => message(index, { text })),
      query,
    ).map((m) => m.text);

  it("finds words whatever their case and accents, the latest first", () => {
    expect(texts("zoe", "Zoë is here", "nobody", "ask ZOE")).toEqual(["ask ZOE", "Zoë is here"]);
    expect(texts("É", "cafe")).toEqual(["cafe"]);
  });

  it("finds nothing for nothing, and no deleted messages", () => {
    expect(texts("  ", "text")).toEqual([]);
    expect(found([message(1, { text: "gone", deleted: true })], "gone")).toEqual([]);
  });

  it("marks what was found without changing the text", () => {
    expect(highlighted("Zoë, zoe and 👋ZOE", "zoe")).toEqual([
      { text: "Zoë", hit: true },
      { text: ", ", hit: false },
      { text: "zoe", hit: true },
      { text: " and 👋", hit: false },
      { text: "ZOE", hit: true },
    ]);
    // Folding these changes their length: the places must not move.
    expect(highlighted("İﬁ x", "x")).toEqual([
      { text: "İﬁ ", hit: false },
      { text: "x", hit: true },
    ]);
  });
});
