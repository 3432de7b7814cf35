import { Home } from "./pages/home.js";
import { MeetingPage } from "./pages/meeting-page.js";
import { MessagePage } from "./pages/message-page.js";
import { route } from "./router.js";

export function App() {
  const now = route.value;
  switch (now.page) {
    case "home":
      return <Home />;
    case "meeting":
      return <MeetingPage key={now.slug} slug={now.slug} guest={now.asGuest} />;
    case "unknown":
      return <MessagePage ending="noSuchMeeting" />;
  }
}
