// Wires player, face and controls: `?live` plays the feed, `?vrm` the model that the server was given.

import * as THREE from "three";
import { Faces } from "./faces.js";
import { drawHead } from "./head.js";
import { Player } from "./player.js";

const BLINK_EVERY_MS = 4000, BLINK_MS = 160, SYLLABLE_MS = 220, FADE_MS = 250;
const asked = new URLSearchParams(window.location.search);
const at = (id) => document.getElementById(id);

function drawnHead(shapes) {
  const head = drawHead(shapes);
  const set = (shown, open, closed) => {
    const own = { aa: open * shown.lips, eyeBlinkLeft: closed * shown.blink, eyeBlinkRight: closed * shown.blink };
    for (const [name, place] of Object.entries(head.morphTargetDictionary)) {
      head.morphTargetInfluences[place] = Math.min((shown.shapes[name] ?? 0) + (own[name] ?? 0), 1);
    }
  };
  const weights = () =>
    Object.fromEntries(Object.entries(head.morphTargetDictionary).map(
      ([name, place]) => [name, head.morphTargetInfluences[place]]));
  return { object: head, set, weights };
}

async function vrmModel() {
  const { loadModel } = await import("./model.js");
  return loadModel("model.vrm");
}

function stage(face) {
  const canvas = at("stage");
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
  renderer.setPixelRatio(window.devicePixelRatio);
  renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(0xeef1f4);
  scene.add(new THREE.HemisphereLight(0xffffff, 0x8a7f78, 2.2), face.object);
  const sun = new THREE.DirectionalLight(0xffffff, 1.8);
  sun.position.set(1.5, 2, 4);
  scene.add(sun);
  const camera = new THREE.PerspectiveCamera(28, canvas.clientWidth / canvas.clientHeight, 0.05, 50);
  const eyes = face.at ? face.at.getWorldPosition(new THREE.Vector3()) : new THREE.Vector3(0, 0.05, 0);
  const away = face.at ? 0.9 : 5;
  camera.position.copy(eyes).add(new THREE.Vector3(0, 0, away));
  camera.lookAt(eyes);
  return () => renderer.render(scene, camera);
}

/** Return what the client does by itself at a time (ms): how far the mouth is open, and the eyes closed. */
function ownMovement(time) {
  const open = 0.5 + 0.5 * Math.sin((2 * Math.PI * time) / SYLLABLE_MS);
  return { open, closed: time % BLINK_EVERY_MS < BLINK_MS ? 1 : 0 };
}

function describe(decision, shown) {
  const main = Object.entries(shown.presets).map(([name, weight]) => `${name} ${weight.toFixed(2)}`);
  at("presets").textContent = main.join(" · ");
  at("decision").textContent = decision
    ? `${decision.data.action}, because ${decision.data.reason}; preset ${decision.data.avatar.preset}`
    : "no decision counts: at rest";
}

async function main() {
  const found = await (await fetch("decisions.json")).json();
  const player = new Player(found);
  const live = asked.has("live");
  const faces = new Faces(at("face"));
  if (!live) found.faces.flatMap((each) => each.events).forEach((event) => faces.add(event));
  const face = asked.has("vrm") ? await vrmModel() : drawnHead(found.shapes);
  const render = stage(face);
  at("notice").textContent = found.notice;
  const slider = at("time");
  let first, last, time, playing = !asked.has("still"), speaking = false, speech = 0, drawn = "";
  /** Play the chosen face from its beginning. */
  const choose = () => {
    player.forget();
    faces.chosen().forEach((event) => player.take(event));
    first = player.decisions[0]?.at ?? Date.now();
    last = player.decisions.at(-1)?.until ?? first;
    slider.max = String((last - first) / 1000);
    slider.value = "0";
    time = first;
  };
  choose();

  const draw = (open, closed) => {
    const shown = player.show(time, speech);
    face.set(shown, open, closed);
    const weights = JSON.stringify(face.weights());
    if (weights !== drawn) render(); // a face is still most of the time
    drawn = weights;
    describe(player.decisionAt(time), shown);
    at("clock").textContent = new Date(time).toISOString().slice(11, 19);
    return shown;
  };
  let before = null;
  const frame = (moment) => {
    const passed = moment - (before ?? moment);
    if (live) time = Date.now();
    else if (playing) time = Math.min(time + passed, last);
    if (live || playing) {
      slider.value = String((time - first) / 1000);
      const fade = passed / FADE_MS;
      speech = Math.min(Math.max(speech + (speaking ? fade : -fade), 0), 1);
      const own = ownMovement(moment);
      draw(own.open * speech, own.closed);
    }
    before = moment;
    requestAnimationFrame(frame);
  };
  at("play").addEventListener("click", () => { playing = !playing; at("play").textContent = playing ? "Pause" : "Play"; });
  at("speaks").addEventListener("change", (event) => { speaking = event.target.checked; });
  slider.addEventListener("input", () => { time = first + Number(slider.value) * 1000; draw(0, 0); });
  faces.list.addEventListener("change", () => { choose(); draw(0, 0); });
  if (live) follow(player, faces);

  /** For scripts: stop at a time (ms) with speech so far (0 to 1); return what was asked of the face, and its weights. */
  window.avatar = {
    stopAt(moment, spoken = 0, closed = 0) {
      [playing, time, speech] = [false, moment, spoken];
      slider.value = String((time - first) / 1000);
      return { ...draw(spoken, closed), face: face.weights() };
    },
    face: face.weights,
  };
  draw(0, 0);
  requestAnimationFrame(frame);
  document.body.dataset.ready = "true";
}

/** Play the feed: the chosen face, and when nothing of it counts any more the next that is told of. */
function follow(player, faces) {
  const feed = new EventSource("live");
  feed.onmessage = (message) => {
    const event = JSON.parse(message.data);
    faces.add(event, Date.now());
    if (faces.isChosen(event)) player.take(event, Date.now());
  };
  feed.addEventListener("forget", () => { faces.clear(); player.forget(); });
}

main().catch((error) => {
  at("decision").textContent = `The page cannot play: ${error.message}`;
  throw error;
});
