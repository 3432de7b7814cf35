import { type ChatMessage, MeetingError } from "@darktower/client";
import { describe, expect, it } from "vitest";
import { conversation, EVERYONE } from "./chat.js";
import { type ChatServer, SessionChat } from "./session-chat.js";

function message(messageId: number, participantId = "other"): ChatMessage {
  return {
    messageId,
    participantId,
    name: participantId,
    text: `message ${messageId}`,
    sentAtMs: messageId,
    deleted: false,
    pinned: false,
  };
}

type Query = Parameters<ChatServer["chatHistory"]>[0];

/** A chat whose server has two pages of history and refuses what is asked for while `refusing`. */
function scene() {
  const asked: Query[] = [];
  const told: boolean[] = [];
  const server = {
    refusing: false,
    latest: [] as ChatMessage[],
    chatHistory: (query: Query) => {
      asked.push(query);
      if (server.refusing) return Promise.reject(new MeetingError("refused", "no", { code: "FORBIDDEN" }));
      const second = query?.before !== undefined;
      if (server.latest.length > 0) return Promise.resolve({ messages: server.latest, hasMore: true });
      return Promise.resolve({ messages: [message(second ? 1 : 2)], hasMore: !second });
    },
    sendChat: () => Promise.resolve(3),
  };
  const attempt = (request: Promise<unknown>) =>
    request.then(
      () => true,
      () => {
        told.push(true);
        return false;
      },
    );
  return { chat: new SessionChat(server, { attempt }, () => "me"), server, asked, told };
}

describe("the chat of a session", () => {
  it("loads history page by page and stops at the first message", async () => {
    const { chat, asked } = scene();
    await chat.load(EVERYONE);
    await chat.load(EVERYONE);
    await chat.load(EVERYONE);
    expect(asked.map((query) => query?.before)).toEqual([undefined, 2]);
    expect(conversation(chat.state.value, EVERYONE).messages.map((m) => m.messageId)).toEqual([1, 2]);
  });

  it("tells nobody that history did not come while the chat is closed, and asks again when it opens", async () => {
    const { chat, server, asked, told } = scene();
    server.refusing = true;
    await chat.load(EVERYONE);
    expect(told).toEqual([]);
    chat.show(EVERYONE);
    expect(asked).toHaveLength(2);
    await chat.load(EVERYONE);
    await new Promise((done) => setTimeout(done, 0));
    expect(told).toEqual([true]);
    expect(chat.isLoading(EVERYONE)).toBe(false);
  });

  it("says of which message the user is to be told: neither own ones nor those that are seen", () => {
    const { chat } = scene();
    expect(chat.received(message(5))).toBe(EVERYONE);
    expect(chat.received(message(6, "me"))).toBeUndefined();
    expect(chat.received({ ...message(7), toParticipantId: "me" })).toBe("other");
    chat.show("other");
    expect(chat.received({ ...message(8), toParticipantId: "me" })).toBeUndefined();
  });

  it("loads one conversation while another one is being loaded", async () => {
    const { chat, asked } = scene();
    const first = chat.load(EVERYONE);
    expect(chat.isLoading("other")).toBe(false);
    await Promise.all([first, chat.load("other"), chat.load("other")]);
    expect(asked.map((query) => query?.withParticipantId)).toEqual([undefined, "other"]);
  });

  it("catches up after a lost connection, in what is known only, and has no gap", async () => {
    const { chat, server, asked } = scene();
    await chat.load(EVERYONE);
    chat.received({ ...message(3), toParticipantId: "me" });
    server.latest = [message(2), message(5)];
    await chat.catchUp();
    const ids = () => conversation(chat.state.value, EVERYONE).messages.map((m) => m.messageId);
    expect(ids()).toEqual([2, 5]);
    expect(conversation(chat.state.value, EVERYONE).unread).toBe(1);
    // More than a page was missed.
    server.latest = [message(8), message(9, "me")];
    await chat.catchUp();
    expect(ids()).toEqual([8, 9]);
    expect(conversation(chat.state.value, EVERYONE)).toMatchObject({ unread: 2, hasMore: true });
    expect(asked.map((query) => query?.withParticipantId)).toEqual([undefined, undefined, undefined]);
    server.refusing = true;
    await chat.catchUp();
    expect(ids()).toEqual([8, 9]);
  });

  it("keeps what is written by conversation", () => {
    const { chat } = scene();
    chat.setDraft(EVERYONE, "to all");
    chat.setDraft("other", "to one");
    chat.setDraft("other", "");
    expect([chat.draft(EVERYONE), chat.draft("other")]).toEqual(["to all", ""]);
  });
});
