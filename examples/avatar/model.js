// A VRM model in place of the drawn head.

import { VRMLoaderPlugin, VRMUtils } from "@pixiv/three-vrm";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const EMOTIONS = ["happy", "angry", "sad", "relaxed", "surprised", "neutral"];

/** Load a VRM file; return its scene, and functions that set and read the weights of its face. */
export async function loadModel(url) {
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  const { userData } = await loader.loadAsync(url);
  const { vrm } = userData;
  VRMUtils.rotateVRM0(vrm); // models of version 0 look away
  const face = vrm.expressionManager;
  for (const name of EMOTIONS) {
    const preset = face.getExpression(name);
    // The player has applied the decision's rules: the model's own would stop the lips once more.
    if (preset) Object.assign(preset, { overrideMouth: "none", overrideBlink: "none", overrideLookAt: "none" });
  }
  // A model made for ARKit has its shapes as expressions of its own, in some spelling.
  const custom = new Map(Object.keys(face.customExpressionMap).map((name) => [name.toLowerCase(), name]));
  const has = (name) => custom.get(name.toLowerCase());
  const set = ({ shapes, presets, lips, blink }, open, closed) => {
    const byShape = has("jawOpen") !== undefined;
    for (const name of EMOTIONS) face.setValue(name, byShape ? 0 : presets[name]);
    if (byShape) for (const [name, weight] of Object.entries(shapes)) if (has(name)) face.setValue(has(name), weight);
    face.setValue("aa", open * lips);
    face.setValue("blink", closed * blink);
    vrm.update(0);
  };
  const weights = () =>
    Object.fromEntries(face.expressions.map((each) => [each.expressionName, each.outputWeight]));
  return { object: vrm.scene, set, weights, at: vrm.humanoid.getNormalizedBoneNode("head") };
}
