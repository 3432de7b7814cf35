import { render } from "preact";
import { App } from "./app.js";
import { startRouter } from "./router.js";
import { text } from "./text.js";
import { startTheme } from "./theme.js";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/pages.css";
import "./styles/meeting.css";
import "./styles/panels.css";

document.documentElement.lang = text.language;
startTheme();
startRouter();
const root = document.querySelector("#app");
if (root) render(<App />, root);
