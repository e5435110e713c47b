// Starts the parts of the page. Each part listens to what it shows; none knows of another.

import { startCalls } from "./calls.js";
import { catalog } from "./catalog.js";
import { find } from "./dom.js";
import { startGallery } from "./gallery.js";
import { startIntake } from "./intake.js";
import { startMapView } from "./map_view.js";
import { startModelsView } from "./models_view.js";
import { pictures } from "./pictures.js";
import { startServerView } from "./server_view.js";
import { startStage } from "./stage.js";
import { startStatus } from "./status.js";
import { startTabs } from "./tabs.js";
import { targets } from "./targets.js";

targets.start();
pictures.start();
startIntake((files) => pictures.add(files));
startGallery();
startStage();
startMapView();
startTabs(find("call-tabs"));
startCalls();
startServerView();
startModelsView();
startStatus();
catalog.start();
