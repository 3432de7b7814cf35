/** What one may do with somebody, by one's rights: for the menus of tiles and of the list of people. Pure. */

import type { MeetingState, Participant } from "@darktower/client";

export type PersonAction =
  | "message"
  | "spotlightOn"
  | "spotlightOff"
  | "mute"
  | "cameraStop"
  | "screenStop"
  | "lowerHand"
  | "toStage"
  | "offStage"
  | "rename"
  | "remove";

/**
 * Actions in the order of the menu. What would change nothing is not there. `hasAudience`: there is a stage that those
 * who only watch can be invited to.
 */
export function actionsFor(state: MeetingState, person: Participant, hasAudience: boolean): PersonAction[] {
  const { rights, self, spotlight, stage } = state;
  const own = person.participantId === self.participantId;
  // What is done to a host, only hosts can do.
  const over = !own && (person.role !== "host" || rights.runMeeting);
  const actions: PersonAction[] = [];
  if (!own && rights.chatPrivate) actions.push("message");
  if (rights.spotlight) {
    actions.push(spotlight.includes(person.participantId) ? "spotlightOff" : "spotlightOn");
  }
  if (over && rights.muteAudio && !person.state.audioMuted) actions.push("mute");
  if (over && rights.disableCamera && person.state.videoOn) actions.push("cameraStop");
  if (over && rights.disableScreen && person.streams.some((stream) => stream.type === "screen")) {
    actions.push("screenStop");
  }
  if (over && rights.runMeeting && person.state.handRaised) actions.push("lowerHand");
  if (over && rights.manageStage) {
    if (stage.onStage.includes(person.participantId)) actions.push("offStage");
    // Who sends without being on the stage needs none.
    else if (
      stage.asking.includes(person.participantId) ||
      (hasAudience && person.role !== "host" && person.streams.length === 0)
    ) {
      actions.push("toStage");
    }
  }
  if (!own && rights.runMeeting) actions.push("rename");
  if (own && rights.renameSelf) actions.push("rename");
  if (over && rights.kick) actions.push("remove");
  return actions;
}

/** People whose names have all words of the query, in the order of the list. */
export function search(people: readonly Participant[], query: string): readonly Participant[] {
  const words = fold(query).split(/\s+/u).filter(Boolean);
  if (words.length === 0) return people;
  return people.filter((person) => {
    const name = fold(person.name);
    return words.every((word) => name.includes(word));
  });
}

/** Without accents and case: who types "zoe" looks for Zoë. */
function fold(value: string): string {
  return value
    .normalize("NFD")
    .replace(/\p{M}+/gu, "")
    .toLowerCase();
}
