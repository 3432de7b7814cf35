/** The module of the AudioWorklet: all processors of the SDK. */

import "./capture.js";
import "./playout.js";
