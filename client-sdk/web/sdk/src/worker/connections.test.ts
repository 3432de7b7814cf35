import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MeetingError } from "../error.js";
import { ErrorCode } from "../protocol/gen/darktower/v1/common_pb.js";
import { type JoinResponse, JoinResponseSchema } from "../protocol/gen/darktower/v1/signaling_pb.js";
import { Connections, type ConnectionsEvents } from "./connections.js";
import { type Answer, type Asked, FakeServer } from "./fake-server.testing.js";

const OWN = "00000000-0000-4000-8000-000000000000";
const ADA = "00000000-0000-4000-8000-00000000000a";
const mediaServer = { mediaHandlerUrl: "https://server/v1/media", connectionToken: "token" };

/** What a server says that takes everything. */
function agree(asked: Asked): Answer | undefined {
  switch (asked.case) {
    case "joinRequest":
      return {
        case: "joinResponse",
        value: { participantId: OWN, mediaServer, resumeTicket: new Uint8Array([1]) },
      };
    case "resumeRequest":
      return { case: "resumeResponse", value: { mediaServer, resumeTicket: new Uint8Array([2]) } };
    case "refreshConnectionToken":
      return { case: "connectionTokenRefreshed", value: { mediaServer } };
    default:
      return { case: "ack", value: {} };
  }
}

/** Everything that connections tell, in order. */
function listen() {
  const told: string[] = [];
  const joined: JoinResponse[] = [];
  const events: ConnectionsEvents = {
    joined: (response) => {
      joined.push(response);
      told.push("joined");
    },
    event: (message) => told.push(message.case ?? ""),
    snapshot: () => told.push("snapshot"),
    rejoined: () => told.push("rejoined"),
    reconnecting: () => told.push("reconnecting"),
    reconnected: (_, rejoined) => told.push(rejoined ? "reconnected anew" : "reconnected"),
    mediaChanged: () => {},
    waiting: () => told.push("waiting"),
    goAway: () => told.push("goAway"),
    ended: ({ closeCode, error }) => told.push(`ended ${closeCode ?? error.kind}`),
  };
  return { told, joined, events };
}

const media = {
  groupBegan: () => {},
  units: () => {},
  groupEnded: () => {},
  datagramUnits: () => {},
  feedback: () => {},
  refused: () => {},
};

function connections(events: ConnectionsEvents, reconnectForMs = 60_000): Connections {
  const signaling = { url: "https://server/v1/signal", certificateHashes: [] };
  return new Connections({ signaling, join: { joinToken: "t" }, reconnectForMs }, events, media);
}

const forever = new AbortController().signal;
const lock = { case: "lockMeeting", value: { locked: true } } as const;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

async function joined(server: FakeServer) {
  const heard = listen();
  const line = connections(heard.events);
  const joining = line.join(10_000, forever);
  await vi.advanceTimersByTimeAsync(10);
  await joining;
  expect(server.connections.map(({ path }) => path)).toEqual(["/v1/signal", "/v1/media"]);
  return { line, ...heard };
}

describe("Connections", () => {
  it("tells what came between the answer to the join and media, after the answer", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    let welcome = () => {};
    server.welcome = (send) => {
      welcome = send;
    };
    const { told, events } = listen();
    const joining = connections(events).join(10_000, forever);
    await vi.advanceTimersByTimeAsync(10);
    const participant = { participantId: ADA };
    server.latest("/v1/signal").tell({ case: "participantJoined", value: { participant } }, 0n, 1n);
    await vi.advanceTimersByTimeAsync(10);
    expect(told).toEqual(["joined", "participantJoined"]);
    welcome();
    await vi.advanceTimersByTimeAsync(10);
    await joining;
  });

  it("goes on over a silence, and repeats what was not answered", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { line, told } = await joined(server);
    const before = server.latest("/v1/signal");
    server.goDark();
    const asking = line.insist(() => lock);
    await vi.advanceTimersByTimeAsync(2_500);
    expect(told.at(-1)).toBe("reconnecting");
    expect(line.connected).toBe(false);
    server.comeBack();
    await vi.advanceTimersByTimeAsync(2_000);
    await asking;
    expect(told.at(-1)).toBe("reconnected");
    expect(before.closedByClient).toBe(true);
    const cases = server.latest("/v1/signal").asked.map((asked) => asked.case);
    expect(cases.slice(0, 2)).toEqual(["resumeRequest", "lockMeeting"]);
    expect(line.connected).toBe(true);
    expect(line.generation).toBe(2);
  });

  it("says that a command may or may not have been carried out", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { line } = await joined(server);
    server.goDark();
    const asked = line.command(lock).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(2_500);
    server.comeBack();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await asked).toMatchObject({ kind: "interrupted" });
  });

  it("takes events once, whatever connection they come by", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { told } = await joined(server);
    const event: Answer = { case: "participantJoined", value: { participant: { participantId: ADA } } };
    server.latest("/v1/signal").tell(event, 0n, 1n);
    await vi.advanceTimersByTimeAsync(10);
    server.latest("/v1/signal").lose();
    await vi.advanceTimersByTimeAsync(2_000);
    server.latest("/v1/signal").tell(event, 0n, 1n);
    server.latest("/v1/signal").tell(event, 0n, 2n);
    await vi.advanceTimersByTimeAsync(10);
    expect(told.filter((name) => name === "participantJoined")).toHaveLength(2);
    expect(server.latest("/v1/signal").asked[0]).toMatchObject({ value: { lastEventSequence: 1n } });
  });

  it("joins anew when the place is gone", async () => {
    let gone = false;
    const server = new FakeServer((_, asked) => {
      if (asked.case !== "resumeRequest" || !gone) return agree(asked);
      return { case: "error", value: { code: ErrorCode.NOT_FOUND, details: { close_code: "UNAUTHORIZED" } } };
    });
    const { told } = await joined(server);
    gone = true;
    server.latest("/v1/signal").lose();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told.slice(1)).toEqual(["reconnecting", "rejoined", "reconnected anew"]);
  });

  it("ends with the server's last word, and does not come back", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { told } = await joined(server);
    const details = { close_code: "KICKED" };
    server.latest("/v1/signal").tell({ case: "error", value: { code: ErrorCode.FORBIDDEN, details } });
    await server.latest("/v1/signal").end();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(told.at(-1)).toBe("ended KICKED");
    expect(server.connections).toHaveLength(2);
    expect(server.latest("/v1/media").closedByClient).toBe(true);
  });

  it("closes a session as soon as it has read the server's last word", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { told, events } = listen();
    await connections(events).join(1000, forever);
    const signal = server.latest("/v1/signal");
    signal.tell({ case: "meetingEnded", value: { reason: "it is over" } });
    await signal.endStream();
    await vi.advanceTimersByTimeAsync(10);
    expect(signal.closedByClient).toBe(true);
    expect(told.at(-1)).toBe("ended MEETING_ENDED");
  });

  it("tells why it is over when media ends first, also if it does not come back by itself", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { told, events } = listen();
    await connections(events, 0).join(1000, forever);
    server.latest("/v1/media").lose();
    await vi.advanceTimersByTimeAsync(50);
    const details = { close_code: "KICKED" };
    server.latest("/v1/signal").tell({ case: "error", value: { code: ErrorCode.FORBIDDEN, details } });
    await server.latest("/v1/signal").endStream();
    await vi.advanceTimersByTimeAsync(10);
    expect(told).toEqual(["joined", "ended KICKED"]);
  });

  it("tells why the meeting is over when that comes while media is opened", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    server.welcome = () => {
      server.latest("/v1/signal").tell({ case: "meetingEnded", value: { reason: "it is over" } });
      void server.latest("/v1/signal").endStream();
      setTimeout(() => server.latest("/v1/media").lose(), 20);
    };
    const joining = connections(listen().events).join(1000, forever);
    const refused = expect(joining).rejects.toMatchObject({ kind: "closed", code: "MEETING_ENDED" });
    await vi.advanceTimersByTimeAsync(2000);
    await refused;
  });

  it("has left when it is told that it is over", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { line, told } = await joined(server);
    const leaving = line.leave();
    await vi.advanceTimersByTimeAsync(100);
    await leaving;
    expect(server.latest("/v1/signal").asked.at(-1)?.case).toBe("leaveRequest");
    expect(told.at(-1)).toBe("ended NO_ERROR");
    await expect(line.command(lock)).rejects.toMatchObject({ kind: "closed" });
  });

  it("leaves when joining is given up after the server has let it in", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    server.welcome = () => {};
    const { events } = listen();
    const stop = new AbortController();
    const joining = connections(events)
      .join(10_000, stop.signal)
      .catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(100);
    stop.abort(new MeetingError("interrupted", "enough"));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await joining).toMatchObject({ message: "enough" });
    expect(server.latest("/v1/signal").asked.at(-1)?.case).toBe("leaveRequest");
  });

  it("gives up after its time", async () => {
    const server = new FakeServer((_, asked) => agree(asked));
    const { told } = await joined(server);
    server.goDark();
    await vi.advanceTimersByTimeAsync(70_000);
    expect(told.at(-1)).toBe("ended TIMED_OUT");
  });

  it("takes everything anew when too much was missed", async () => {
    const server = new FakeServer((_, asked) => {
      if (asked.case !== "resumeRequest") return agree(asked);
      const snapshot = create(JoinResponseSchema, { participantId: OWN });
      return { case: "resumeResponse", value: { mediaServer, resumeTicket: new Uint8Array([2]), snapshot } };
    });
    const { told } = await joined(server);
    const signal = server.latest("/v1/signal");
    signal.tell({ case: "participantJoined", value: { participant: { participantId: ADA } } }, 0n, 7n);
    await vi.advanceTimersByTimeAsync(10);
    signal.lose();
    await vi.advanceTimersByTimeAsync(2_000);
    server.latest("/v1/signal").tell({ case: "participantLeft", value: { participantId: ADA } }, 0n, 1n);
    await vi.advanceTimersByTimeAsync(10);
    expect(told).toContain("snapshot");
    expect(told.at(-1)).toBe("participantLeft");
  });
});
