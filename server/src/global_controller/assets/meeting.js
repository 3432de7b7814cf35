// Shows who is in the meeting, asked from the API once per second while the page is visible.

const WORDS = { audio: "sound", video_camera: "camera", video_screen: "screen" };

const meeting = document.querySelector("main").dataset.meeting;
const status = document.getElementById("status");
const list = document.getElementById("participants");
const count = document.getElementById("count");

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function show(participants) {
  count.textContent = `(${participants.length})`;
  status.textContent = participants.length === 0 ? "Nobody is here." : "";
  list.replaceChildren(
    ...participants.map((participant) => {
      const item = document.createElement("li");
      item.append(element("span", "name", participant.name));
      for (const stream of participant.streams) {
        const words = `${WORDS[stream.type] ?? stream.type} · ${stream.codec}`;
        item.append(element("span", "stream", words));
      }
      return item;
    }),
  );
}

function hide(reason) {
  count.textContent = "";
  list.replaceChildren();
  status.textContent = reason;
}

// Whether to ask again.
async function refresh() {
  if (document.hidden) return true;
  try {
    const answer = await fetch(`/api/v1/meetings/${meeting}/participants`);
    if (answer.ok) {
      show((await answer.json()).participants);
    } else if (answer.status === 401) {
      hide("The live list needs an access token, so this page shows it only in development mode.");
      return false;
    } else {
      hide(`The server answered ${answer.status}. Trying again…`);
    }
  } catch {
    hide("The server does not answer. Trying again…");
  }
  return true;
}

async function run() {
  while (await refresh()) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

run();
