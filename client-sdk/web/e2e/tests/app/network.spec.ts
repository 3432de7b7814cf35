/** The app when the network goes away and comes back. */

import { expectMoving } from "../../checks/picture.js";
import { AppPage, text } from "../../harness/app-page.js";
import { PEOPLE } from "../../harness/clips.js";
import { CONNECTION_ERRORS } from "../../harness/guard.js";
import { expect, test } from "../../harness/test.js";

/** A client misses what comes every second or so; well before it has given up the connection. */
const BANNER_LIMIT_MS = 6000;

test("the banner of a lost connection comes during the cut, the others see it too, and it mends by itself", async ({
  remote,
  open,
}) => {
  const { server, relay, site } = remote;
  const created = await server.createMeeting();
  const ben = new AppPage(await open("Ben"), site);
  await ben.enter(created, "Ben");
  relay.label("spared");
  const ada = new AppPage(await open("Ada"), site);
  ada.guard.expect(CONNECTION_ERRORS);
  await ada.enter(created, "Ada");
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
  relay.cut((flow) => flow.label !== "spared");
  await expect(ada.page.getByText(text.meeting.reconnecting)).toBeVisible({ timeout: BANNER_LIMIT_MS });
  await expect(ben.tile("Ada").getByText(text.tile.reconnecting)).toBeVisible();
  relay.restore();
  await expect(ada.page.getByText(text.meeting.reconnecting)).toBeHidden();
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
  await expect(ben.tile("Ada").getByText(text.tile.reconnecting)).toHaveCount(0);
});
