/** The list of what the gallery shows. */

const SCENES: readonly (readonly [string, string])[] = [
  ["Start page", "/"],
  ["Start page, account needed", "/?account"],
  ["Lobby", "/m/demo"],
  ["Lobby, camera blocked", "/m/demo?camera=NotAllowedError"],
  ["Lobby, no devices", "/m/demo?camera=NotFoundError&microphone=NotFoundError"],
  ["Lobby of a scheduled meeting", "/m/later"],
  ["Lobby, waiting room", "/m/waiting?join=wait"],
  ["Lobby of a webinar, as a guest", "/m/webinar"],
  ["Sign-in of a meeting", "/m/account"],
  ["Alone", "/m/demo?people=0"],
  ["Two", "/m/demo?people=1"],
  ["Four", "/m/demo?people=3"],
  ["Nine, things happen", "/m/demo?people=8&busy&trouble"],
  ["Forty", "/m/demo?people=39"],
  ["Twenty-five", "/m/demo?people=24"],
  ["Odd names", "/m/demo?people=6&odd&waiting=1"],
  ["Screen", "/m/demo?people=7&screen"],
  ["Spotlight", "/m/demo?people=7&spotlight"],
  ["Somebody waits", "/m/demo?people=4&waiting=2&stage"],
  ["As a guest", "/m/demo?people=4&guest&invited"],
  ["Connection lost", "/m/demo?people=4&lost"],
  ["Removed", "/m/demo?close-after=KICKED"],
  ["Ended", "/m/demo?close-after=MEETING_ENDED"],
  ["Full", "/m/demo?join=CAPACITY_EXCEEDED"],
  ["Locked", "/m/demo?join=FORBIDDEN"],
  ["No such meeting", "/m/missing"],
  ["Meeting is over", "/m/over"],
  ["Old browser", "/m/demo?old"],
];

const list = document.querySelector("#list");
for (const [title, path] of SCENES) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = path;
  link.textContent = title;
  item.append(link, ` ${path}`);
  list?.append(item);
}
