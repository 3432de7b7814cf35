/**
 * Browser SDK of Dark Tower: join meetings, publish cameras, microphones and screens, and show and hear others, over
 * WebTransport and WebCodecs.
 */

export { grantForLink, type LinkOptions } from "./api.js";
export type { Devices } from "./devices.js";
export {
  LevelMeter,
  listDevices,
  onDevicesChanged,
  openCamera,
  openMicrophone,
  openScreen,
  playTestSound,
} from "./devices.js";
export { type ErrorKind, MeetingError } from "./error.js";
export type { Closed, MeetingEvents } from "./events.js";
export { type Allocation, allocate, type Tile } from "./media/allocation.js";
export type { VideoCodec } from "./media/codec.js";
export { Meeting } from "./meeting.js";
export type { JoinGrant, JoinOptions, PublishOptions } from "./options.js";
export { Publication, type PublicationEvents } from "./publication.js";
export { AutoSubscriptions, Subscription, type SubscriptionEvents } from "./subscription.js";
export { checkSupport, type Support } from "./support.js";
export type * from "./types.js";
export type { ChatHistory, ChatQuery } from "./worker/port.js";
