/**
 * Every text of the app. A language is an object of this shape; sentences with figures or names are functions, so that
 * each language can have its own plurals and order.
 */

import type { Ending } from "./ending.js";

/** The names as a list: two in full, then how many more. */
function some(names: readonly string[]): string {
  const [first = "", second = ""] = names;
  if (names.length <= 1) return first;
  if (names.length === 2) return `${first} and ${second}`;
  return `${first}, ${second} and ${names.length - 2} more`;
}

function count(value: number, one: string, more: string): string {
  return `${value} ${value === 1 ? one : more}`;
}

interface Page {
  readonly title: string;
  readonly text: string;
}

const endings: Record<Ending, Page> = {
  left: { title: "You left the meeting", text: "You can come back for as long as it goes on." },
  kicked: {
    title: "You were removed from the meeting",
    text: "A host has removed you. Ask them if you think this was a mistake.",
  },
  ended: { title: "The meeting is over", text: "It has ended for everybody." },
  full: {
    title: "The meeting is full",
    text: "No more people fit in at the moment. Try again when somebody has left.",
  },
  locked: {
    title: "The meeting is locked",
    text: "The hosts let nobody else in at the moment. Ask somebody inside to unlock it.",
  },
  rejected: {
    title: "You were not let in",
    text: "The hosts did not let you in, or nobody answered for a long time.",
  },
  notBegun: {
    title: "The meeting has not begun yet",
    text: "Hosts can begin it at any time. Come back then.",
  },
  noSuchMeeting: {
    title: "There is no such meeting",
    text: "Check the link: a letter may be missing, or the meeting was deleted.",
  },
  elsewhere: {
    title: "You joined from somewhere else",
    text: "The meeting goes on in another tab or on another device.",
  },
  lost: {
    title: "The connection was lost",
    text: "The meeting could not be reached any more. Check your network, then join again.",
  },
  unreachable: {
    title: "The server cannot be reached",
    text: "Check your network. Some networks block QUIC (UDP), which calls need.",
  },
  stopped: { title: "The server is restarting", text: "It should be back in a moment." },
  tooOften: { title: "Too many attempts", text: "Wait a minute, then try again." },
  signIn: { title: "This meeting needs an account", text: "Sign in with an account that may join it." },
  unsupported: { title: "This browser cannot join", text: "It lacks something that calls need." },
  failed: { title: "Something went wrong", text: "The meeting could not be joined." },
};

export const english = {
  product: "Dark Tower",
  language: "en",

  common: {
    close: "Close",
    cancel: "Cancel",
    you: "You",
    youAfterName: (name: string) => `${name} (you)`,
    loading: "Loading",
    tryAgain: "Try again",
    goHome: "Go to the start page",
    dismiss: "Dismiss",
  },

  home: {
    title: "Meetings on your own server",
    lead: "Sound and pictures that arrive at once, from a server that is yours.",
    newMeeting: "New meeting",
    meetingName: "Name of the meeting (optional)",
    meetingNamePlaceholder: "Team standup",
    defaultMeetingName: "Meeting",
    waitingRoom: "A host lets newcomers in",
    create: "Start a meeting",
    creating: "Starting",
    joinTitle: "Join a meeting",
    link: "Link or code",
    linkPlaceholder: "h7k2mpqrst",
    join: "Join",
    badLink: "That is no link of a meeting, and no code.",
    mayOnlyJoin: "Your account may join meetings, but not start any.",
    signedIn: "You are signed in.",
    signOut: "Sign out",
    createFailed: "The meeting could not be started.",
    unreachable: "The server cannot be reached. Check your network.",
  },

  signIn: {
    title: "Sign in",
    lead: "To start meetings, and to join those that are for people with an account.",
    email: "Email",
    password: "Password",
    submit: "Sign in",
    submitting: "Signing in",
    wrong: "Email or password is wrong.",
    tooOften: "Too many attempts. Wait a minute.",
    failed: "Signing in did not work.",
  },

  lobby: {
    title: "Ready to join?",
    nameless: "Meeting",
    yourName: "Your name",
    namePlaceholder: "How others see you",
    join: "Join now",
    joining: "Joining",
    askToJoin: "Ask to join",
    begin: "Begin the meeting",
    asGuest: "You join as a guest.",
    asViewer: "You watch and listen as a guest.",
    scheduled: (when: string) => `Begins ${when}.`,
    waitingRoom: "A host lets people in.",
    preview: "Your camera",
    cameraOff: "Camera is off",
    cameraStarting: "Camera is starting",
    noName: "Tell the others your name.",
    badName: "The server does not take this name. Try another one.",
    level: "Level of the microphone",
    noLevel: "The browser does not take the sound of this microphone.",
    withoutDevices: "You can join without camera and microphone, and turn them on later.",
    deviceSettings: "Camera, microphone and speaker",
  },

  waiting: {
    title: "Somebody will let you in soon",
    untilHost: "The meeting begins when a host is there.",
    text: "The hosts know that you are waiting.",
    leave: "Stop waiting",
  },

  devices: {
    camera: "Camera",
    microphone: "Microphone",
    speaker: "Speaker",
    systemDefault: "System default",
    cameraNumber: (n: number) => `Camera ${n}`,
    microphoneNumber: (n: number) => `Microphone ${n}`,
    speakerNumber: (n: number) => `Speaker ${n}`,
    testSound: "Play a test sound",
    testingSound: "Playing",
    speakerFixed: "This browser plays sound on the system's speaker.",
    /** By the name of the browser's error. */
    problem: (kind: "camera" | "microphone", code: string): Page => {
      const the = kind === "camera" ? "camera" : "microphone";
      switch (code) {
        case "NotAllowedError":
          return {
            title: `The ${the} is blocked`,
            text: `Click the ${the} icon beside the address of the page, or open the page's settings in the browser, and allow the ${the}. On some systems the browser itself also needs permission, in the privacy settings.`,
          };
        case "NotFoundError":
          return {
            title: `No ${the} was found`,
            text: `Plug one in, then turn it on here. Others can still see and hear you with what you have.`,
          };
        case "NotReadableError":
          return {
            title: `The ${the} is in use`,
            text: `Another app or tab is using it, or the system does not give it. Close that app, then try again.`,
          };
        case "OverconstrainedError":
          return {
            title: `The ${the} does not fit`,
            text: `The ${the} that was chosen is not there any more. Choose another one.`,
          };
        default:
          return {
            title: `The ${the} does not start`,
            text: `The browser says: ${code || "unknown error"}. Try again, or choose another one.`,
          };
      }
    },
    screenProblem: "The screen could not be shared.",
    unplugged: (kind: "camera" | "microphone") => `The ${kind} was unplugged, or another app took it.`,
  },

  endings,
  ending: {
    rejoin: "Join again",
    missing: "What is missing",
    useOther: "Use a current version of Chrome, Edge, Firefox or Safari, over HTTPS.",
    detail: (code: string) => `Code: ${code}`,
  },

  meeting: {
    stage: "People in the meeting",
    controls: "Meeting controls",
    alone: "You are the only one here",
    aloneText: "Send the link to those who are to come.",
    copyLink: "Copy the link",
    copied: "Link copied",
    copyFailed: "The link could not be copied. It is in the address bar.",
    duration: "Duration of the meeting",
    locked: "Locked",
    viewers: (n: number) => count(n, "viewer", "viewers"),
    pageOf: (page: number, pages: number) => `Page ${page} of ${pages}`,
    nextPage: "Next page",
    previousPage: "Previous page",
    reconnecting: "Connection lost. Reconnecting",
    soundBlocked: "The browser plays no sound yet",
    playSound: "Turn on the sound",
    sharing: "You are sharing your screen",
    stopSharing: "Stop sharing",
    talking: "You can be heard while you hold Space",
  },

  tile: {
    actions: (name: string) => `Actions for ${name}`,
    muted: "muted",
    cameraOff: "camera off",
    handRaised: "hand raised",
    speaking: "speaking",
    screenOf: (name: string) => `Screen of ${name}`,
    yourPicture: "Your picture",
    reconnecting: "Reconnecting",
    spotlight: "Shown to everybody",
    pinned: "Pinned",
    waitingForPicture: "Waiting for the picture",
    quality: {
      notMeasured: "Network not measured yet",
      excellent: "Network very good",
      good: "Network good",
      fair: "Network weak",
      poor: "Network bad",
    },
    pin: "Pin for me",
    unpin: "Unpin",
    volume: "Volume for me",
    volumeValue: (share: number) => `${Math.round(share * 100)} %`,
    spotlightOn: "Show to everybody",
    spotlightOff: "No longer show to everybody",
    mute: "Mute",
    cameraStop: "Turn off camera",
    screenStop: "Stop screen sharing",
    lowerHand: "Lower hand",
    toStage: "Invite to the stage",
    offStage: "Remove from the stage",
    message: "Send a private message",
    rename: "Rename",
    remove: "Remove from the meeting",
    fullScreen: "Full screen",
  },

  controls: {
    mute: "Mute",
    unmute: "Unmute",
    cameraOn: "Turn on camera",
    cameraOff: "Turn off camera",
    microphoneChoice: "Microphone and speaker",
    cameraChoice: "Choose camera",
    share: "Share screen",
    stopShare: "Stop sharing",
    reactions: "Reactions",
    react: (emoji: string) => `React with ${emoji}`,
    raiseHand: "Raise hand",
    lowerHand: "Lower hand",
    chat: "Chat",
    chatUnread: (n: number) => `Chat, ${count(n, "unread message", "unread messages")}`,
    peopleCount: (n: number) => `People, ${n} here`,
    peopleAsking: (n: number, asking: number) => `People, ${n} here, ${asking} waiting`,
    grid: "Grid",
    speaker: "Speaker",
    toGrid: "Show all alike",
    toSpeaker: "Show who speaks large",
    more: "More",
    settings: "Settings",
    statistics: "Statistics",
    fullScreen: "Full screen",
    exitFullScreen: "Leave full screen",
    shortcuts: "Keyboard shortcuts",
    leave: "Leave",
    leaveMeeting: "Leave the meeting",
    endForAll: "End for everybody",
    endQuestion: "End the meeting for everybody?",
    endExplanation: "Everybody is disconnected, and nobody can come back.",
    askForStage: "Ask to speak",
    askedForStage: "You have asked",
    leaveStage: "Leave the stage",
    notAllowed: "You may not do that in this meeting",
  },

  chat: {
    title: "Chat",
    everyone: "Everyone",
    to: "Conversation",
    privateHint: "Only the two of you see these messages.",
    placeholder: "Write to everyone",
    privatePlaceholder: (name: string) => `Write to ${name}`,
    label: "Message",
    send: "Send",
    empty: "No messages yet",
    emptyText: "What is written here is seen by everybody in the meeting, also by those who come later.",
    earlier: "Show earlier messages",
    loadingEarlier: "Loading earlier messages",
    edited: "edited",
    deleted: "Message deleted",
    edit: "Edit",
    save: "Save",
    remove: "Delete",
    pin: "Pin",
    unpin: "Unpin",
    pinned: (n: number) => count(n, "pinned message", "pinned messages"),
    actions: (name: string) => `Actions for the message of ${name}`,
    charactersLeft: (n: number) => (n >= 0 ? `${n} characters left` : `${-n} characters too many`),
    notAllowed: "You may read here, but not write.",
    tooFast: "That was too fast. Wait a moment.",
    newBelow: "New messages",
    left: "has left",
    search: "Search messages",
    searchResults: "Messages found",
    searchEarlier: "Search earlier messages",
    found: (n: number) => (n === 0 ? "No message has that." : count(n, "message", "messages")),
  },

  people: {
    title: "People",
    search: "Search people",
    nobodyFound: "Nobody has that name.",
    waiting: (n: number) => `Waiting (${n})`,
    admit: "Admit",
    admitAll: "Admit all",
    admitPerson: (name: string) => `Admit ${name}`,
    rejectPerson: (name: string) => `Turn ${name} away`,
    asking: (n: number) => `Want on the stage (${n})`,
    approve: "Let on the stage",
    approvePerson: (name: string) => `Let ${name} on the stage`,
    denyPerson: (name: string) => `Decline ${name}`,
    here: (n: number) => `In the meeting (${n})`,
    hands: (n: number) => `Raised hands (${n})`,
    lowerAllHands: "Lower all hands",
    host: "Host",
    onStage: "On the stage",
    muteAll: "Mute all",
    muteAllQuestion: "Mute everybody?",
    muteAllExplanation: "Everybody but the hosts is muted. They can unmute themselves.",
    lock: "Lock the meeting",
    unlock: "Unlock the meeting",
    hostControls: "For hosts",
    removeQuestion: (name: string) => `Remove ${name}?`,
    removeExplanation: "They are disconnected at once, and cannot come back to this meeting.",
    remove: "Remove",
    renameTitle: (name: string) => `Rename ${name}`,
    renameSelf: "Change my name",
    newName: "Name",
    rename: "Rename",
    copyLink: "Copy the link to invite people",
  },

  /** How it is now, for screen readers: the buttons say what they do. */
  announced: {
    microphoneOn: "Microphone on",
    muted: "You are muted",
    cameraOn: "Camera on",
    cameraOff: "Camera off",
    handRaised: "Hand raised",
    handLowered: "Hand lowered",
    sharing: "Your screen is shared",
    sharingEnded: "Your screen is no longer shared",
  },

  notices: {
    joined: (names: readonly string[]) => `${some(names)} joined`,
    left: (names: readonly string[]) => `${some(names)} left`,
    handRaised: (names: readonly string[]) => `${some(names)} raised a hand`,
    mutedByHost: "A host has muted you",
    cameraStoppedByHost: "A host has turned off your camera",
    sendingEnded: (kind: "camera" | "microphone" | "screen", reason: string) =>
      `Your ${kind} is no longer sent: ${reason}`,
    soundNeedsMicrophone: "The sound of your screen is heard only while you are unmuted",
    handLowered: "A host has lowered your hand",
    renamed: (name: string) => `You are now called ${name}`,
    unmute: "Unmute",
    message: (name: string, text: string) => `${name}: ${text}`,
    privateMessage: (name: string, text: string) => `${name} (private): ${text}`,
    open: "Open",
    waiting: (names: readonly string[]) => `${some(names)} ${names.length === 1 ? "wants" : "want"} to join`,
    view: "View",
    asking: (names: readonly string[]) =>
      `${some(names)} ${names.length === 1 ? "wants" : "want"} to come on the stage`,
    invited: "You are invited to the stage",
    joinStage: "Join the stage",
    decline: "Decline",
    onStage: "You are on the stage. Everybody hears you when you unmute yourself",
    offStage: "You are no longer on the stage",
    locked: "The meeting is locked now",
    unlocked: "The meeting is unlocked now",
    reconnected: "You are connected again",
    goAway: "The server will restart soon",
    hostNow: "You are a host now",
    refused: (message: string) => message || "The server did not accept that",
    shares: (name: string) => `${name} shares a screen`,
    screensFull: "No more screens can be shared at the same time. Ask who shares one to stop first.",
    failed: "That did not work",
    mediaRefused: "The server did not take your sound or picture",
  },

  settings: {
    title: "Settings",
    devices: "Devices",
    appearance: "Appearance",
    theme: "Theme",
    themes: { system: "System", dark: "Dark", light: "Light" },
    layout: "Layout",
    keyboard: "Keyboard",
    shortcuts: "Single keys do what the buttons do, as M to mute",
    name: "Your name",
  },

  statistics: {
    title: "Statistics",
    waiting: "The first figures come in a moment.",
    rtt: "Round trip",
    joinTime: "Time to join",
    sending: "Sending",
    receiving: "Receiving",
    downlink: "Downlink",
    loss: "Packet loss",
    score: "Quality score",
    outgoing: "Sent",
    incoming: "Received",
    who: "Who",
    what: "What",
    codec: "Codec",
    layer: "Layer",
    size: "Size",
    rate: "Rate",
    fps: "fps",
    jitter: "Jitter",
    buffer: "Buffer",
    latency: "Latency p50 / p95",
    freezes: "Freezes",
    concealed: "Made up",
    sync: "A/V offset",
    dropped: "Dropped",
    paused: "paused",
    kinds: { audio: "Sound", camera: "Camera", screen: "Screen" },
  },

  connection: {
    title: "Your connection",
    explain: {
      notMeasured: "The quality is being measured.",
      excellent: "Everything is fine.",
      good: "Good enough for sound and pictures.",
      fair: "Pictures may be less sharp, or stand still now and then.",
      poor: "Sound and pictures may break up. Turning off your camera helps.",
    },
    more: "All statistics",
  },

  shortcuts: {
    title: "Keyboard shortcuts",
    list: [
      ["M", "Mute or unmute"],
      ["Space (hold)", "Talk while muted"],
      ["V", "Camera on or off"],
      ["S", "Share the screen, or stop"],
      ["H", "Raise or lower the hand"],
      ["C", "Open or close the chat"],
      ["P", "Open or close the list of people"],
      ["L", "Change the layout"],
      ["?", "Show this help"],
      ["Esc", "Close what is open"],
    ] as readonly (readonly [string, string])[],
  },
};

export type Text = typeof english;

/** Languages by their tag, without region. */
const languages: ReadonlyMap<string, Text> = new Map([["en", english]]);

/** The first of the languages that somebody reads; English if the app has none of them. */
export function chooseText(wanted: readonly string[]): Text {
  for (const tag of wanted) {
    const found = languages.get(tag.toLowerCase().split("-")[0] ?? "");
    if (found) return found;
  }
  return english;
}

export const text: Text = chooseText(typeof navigator === "undefined" ? [] : navigator.languages);
