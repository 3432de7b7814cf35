/** What a browser has to live through: sessions that the server closes while their streams are open. */

import { expectMoving, expectPicture } from "../../checks/picture.js";
import { PEOPLE } from "../../harness/clips.js";
import { SdkPage } from "../../harness/sdk-page.js";
import { test } from "../../harness/test.js";

/** Chromium crashed in half of such endings once: as many as leave no room for luck. */
const ROUNDS = 3;

for (const [ending, code] of [
  ["kick", "KICKED"],
  ["endForAll", "MEETING_ENDED"],
] as const) {
  test(`a tab survives ${ending} with camera, microphone and screen published`, async ({
    server,
    open,
    site,
  }) => {
    const ada = await SdkPage.open(await open("Ada"), site);
    const ben = await SdkPage.open(await open("Ben"), site);
    for (let round = 1; round <= ROUNDS; round += 1) {
      await test.step(`round ${round}`, async () => {
        const created = await server.createMeeting();
        await ada.join(await server.grant(created, "Ada"));
        await ben.join(await server.grant(created, "Ben", "host"));
        for (const person of [ada, ben]) {
          await person.publishCamera();
          await person.publishMicrophone();
        }
        await ada.publishScreen();
        for (const [person, other] of [
          [ada, "Ben"],
          [ben, "Ada"],
        ] as const) {
          await person.subscribe(other, "audio");
          await expectPicture(await person.subscribe(other));
        }
        await expectPicture(await ben.subscribe("Ada", "screen"));
        const { participantId } = (await ada.state()).self;
        await ben.page.evaluate(
          ({ ending, participantId }) =>
            ending === "kick" ? meeting.kick(participantId) : meeting.endForAll(),
          { ending, participantId },
        );
        // What a tab that is gone cannot tell.
        await ada.hears("closed", { code });
        if (ending === "kick") {
          await ben.hears("participantLeft", { reason: "kicked" });
          await ben.leave();
        } else {
          await ben.hears("closed", { code });
        }
        await Promise.all([ada.clear(), ben.clear()]);
      });
    }
    // The same tabs still do what tabs are for.
    const created = await server.createMeeting();
    await ada.join(await server.grant(created, "Ada"));
    await ben.join(await server.grant(created, "Ben"));
    await ada.publishCamera();
    await expectMoving(await ben.subscribe("Ada"), PEOPLE.Ada.colour);
  });
}
