/** The app when the network goes away and comes back. */

import { expectMoving } from "../../checks/picture.js";
import { AppPage, text } from "../../harness/app-page.js";
import { PEOPLE } from "../../harness/clips.js";
import { CONNECTION_ERRORS } from "../../harness/guard.js";
import { expect, test } from "../../harness/test.js";

test("a lost connection is shown to both sides, and mends by itself", async ({ remote, open }) => {
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
  await expect(ada.page.getByText(text.meeting.reconnecting)).toBeVisible();
  await expect(ben.tile("Ada").getByText(text.tile.reconnecting)).toBeVisible();
  relay.restore();
  await expect(ada.page.getByText(text.meeting.reconnecting)).toBeHidden();
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
  await expect(ben.tile("Ada").getByText(text.tile.reconnecting)).toHaveCount(0);
});
