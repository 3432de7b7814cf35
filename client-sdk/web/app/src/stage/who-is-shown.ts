/**
 * Who is shown, and who large. Pure: from the people of a meeting and the wishes of the viewer to tiles in an order
 * that changes as little as possible, because people look for faces where they were.
 */

export type ViewMode = "grid" | "speaker";

export interface ShownTile {
  /** Stays the same for as long as it is the same picture: `camera:<participant>` or `screen:<stream>`. */
  readonly key: string;
  readonly participantId: string;
  readonly kind: "camera" | "screen";
  readonly self: boolean;
}

/** What of a participant matters here. */
export interface Person {
  readonly participantId: string;
  readonly self: boolean;
  /** Ids of the screen streams that it publishes. */
  readonly screens: readonly string[];
}

export interface Wishes {
  readonly mode: ViewMode;
  /** Keys of tiles that the viewer has pinned, in the order of pinning. */
  readonly pins: readonly string[];
  /** Participants whom hosts show large to everybody. */
  readonly spotlight: readonly string[];
  /** Who speaks, or spoke last. */
  readonly speakerId: string | undefined;
}

export interface Arrangement {
  /**
   * `grid`: all alike (`others`). `focus`: `main` large, `others` small beside it. `pair`: the only other one fills
   * the stage (`main`), the own picture lies above it (`others`).
   */
  readonly mode: "grid" | "focus" | "pair";
  readonly main: readonly ShownTile[];
  readonly others: readonly ShownTile[];
}

/** So many are shown large at most. */
const MOST_LARGE = 4;

export function cameraKey(participantId: string): string {
  return `camera:${participantId}`;
}

export function screenKey(streamId: string): string {
  return `screen:${streamId}`;
}

function camera(person: Person): ShownTile {
  return {
    key: cameraKey(person.participantId),
    participantId: person.participantId,
    kind: "camera",
    self: person.self,
  };
}

/**
 * The order of people in the grid: as before, who is new at the end. Who has spoken of late and would not be on the
 * first page takes the place of whoever there has been silent longest. The own place is first, and kept.
 *
 * `recentSpeakers`: the latest first.
 */
export function orderPeople(
  previous: readonly string[],
  people: readonly Person[],
  recentSpeakers: readonly string[],
  firstPage: number,
): string[] {
  const here = new Set(people.map((person) => person.participantId));
  const order = previous.filter((id) => here.has(id));
  const known = new Set(order);
  const self = people.find((person) => person.self);
  if (self && !known.has(self.participantId)) {
    order.unshift(self.participantId);
    known.add(self.participantId);
  }
  for (const person of people) {
    if (!known.has(person.participantId)) order.push(person.participantId);
  }
  // As many speakers as the first page can hold beside the own picture; the latest have the best right to it.
  const speakers = recentSpeakers.filter((id) => here.has(id) && id !== self?.participantId);
  const seats = Math.max(0, firstPage - (self ? 1 : 0));
  const entitled = speakers.slice(0, seats);
  for (const id of entitled) {
    const from = order.indexOf(id);
    if (from < firstPage) continue;
    const to = silentLongest(order.slice(0, firstPage), speakers, self?.participantId, new Set(entitled));
    const displaced = to === undefined ? undefined : order[to];
    if (to === undefined || displaced === undefined) break;
    order[to] = id;
    order[from] = displaced;
  }
  return order;
}

function silentLongest(
  page: readonly string[],
  speakers: readonly string[],
  selfId: string | undefined,
  entitled: ReadonlySet<string>,
): number | undefined {
  let found: number | undefined;
  let foundRank = -1;
  page.forEach((id, index) => {
    if (id === selfId || entitled.has(id)) return;
    const spoke = speakers.indexOf(id);
    const rank = spoke === -1 ? Number.POSITIVE_INFINITY : spoke;
    // Of several who never spoke, the last one: the first places stay as they are.
    if (rank >= foundRank) {
      foundRank = rank;
      found = index;
    }
  });
  return found;
}

/** What is shown how. `people` in the order of `orderPeople`. */
export function arrange(people: readonly Person[], wishes: Wishes): Arrangement {
  const cameras = people.map(camera);
  // One's own screen is on the screen already.
  const screens = people
    .filter((person) => !person.self)
    .flatMap((person) =>
      person.screens.map(
        (streamId): ShownTile => ({
          key: screenKey(streamId),
          participantId: person.participantId,
          kind: "screen",
          self: false,
        }),
      ),
    );
  const all = [...screens, ...cameras];
  const byKey = new Map(all.map((tile) => [tile.key, tile]));

  const pinned = wishes.pins.flatMap((key) => byKey.get(key) ?? []);
  const spotlit = wishes.spotlight.flatMap((id) => byKey.get(cameraKey(id)) ?? []);
  let main: ShownTile[] = [];
  if (pinned.length > 0) main = pinned;
  else if (screens.length > 0) main = screens;
  else if (spotlit.length > 0) main = spotlit;
  else if (wishes.mode === "speaker") {
    const others = cameras.filter((tile) => !tile.self);
    const speaker = others.find((tile) => tile.participantId === wishes.speakerId);
    main = [speaker ?? others[0] ?? cameras[0]].filter((tile) => tile !== undefined);
  }
  main = main.slice(0, MOST_LARGE);

  if (main.length > 0) {
    const large = new Set(main.map((tile) => tile.key));
    return { mode: "focus", main, others: all.filter((tile) => !large.has(tile.key)) };
  }
  const [first, second] = cameras;
  if (first && second && cameras.length === 2 && first.self !== second.self) {
    const other = first.self ? second : first;
    return { mode: "pair", main: [other], others: [other === first ? second : first] };
  }
  return { mode: "grid", main: [], others: cameras };
}

/** The latest speakers, the latest first, with one more. */
export function withSpeaker(recent: readonly string[], speakerId: string, most = 50): string[] {
  return [speakerId, ...recent.filter((id) => id !== speakerId)].slice(0, most);
}
