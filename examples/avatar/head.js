// A head that is drawn in code: one mesh with a morph target for each of ARKit's blendshapes, and
// `aa` for the client's own lips. Left is the head's own left, which is x > 0.

import * as THREE from "three";
import { mergeGeometries } from "three/addons/utils/BufferGeometryUtils.js";

const SKIN = 0xe8b894, LID = 0xd9a582, BROW = 0x4a2f22, LIP = 0xb5525a, CHEEK = 0xe79c88;
const SKULL = [0.86, 1.08, 0.9];
const EYE = { x: 0.33, y: 0.2, z: 0.7, radius: 0.17 };

/** Return z of the skull's front at x and y. */
const front = (x, y) =>
  SKULL[2] * Math.sqrt(Math.max(0, 1 - (x / SKULL[0]) ** 2 - (y / SKULL[1]) ** 2));

/**
 * Return a part of the head: its geometry, one colour, and what `move(shape, x, y, z, u)` gives as
 * the displacement of a vertex (undefined: none); u is its place along a lip, -1 to 1.
 */
function part(geometry, colour, move = () => undefined, along = null) {
  const shape = geometry.deleteAttribute("uv");
  const { r, g, b } = new THREE.Color(colour);
  const count = shape.attributes.position.count;
  const colours = new Float32Array(count * 3);
  for (let n = 0; n < count; n += 1) colours.set([r, g, b], n * 3);
  shape.setAttribute("color", new THREE.BufferAttribute(colours, 3));
  return { shape, move, along };
}

function ellipsoid(x, y, z, [width, height, depth]) {
  const made = new THREE.SphereGeometry(1, 24, 24);
  return made.scale(width, height, depth).translate(x, y, z);
}

function eye(side) {
  const { x, y, z, radius } = EYE;
  const at = x * side;
  const name = side > 0 ? "Left" : "Right";
  const lid = (upper) => {
    const made = new THREE.SphereGeometry(radius * 1.08, 24, 12, 0, 2 * Math.PI, 0, Math.PI / 2);
    made.rotateX(upper ? -0.35 : Math.PI + 0.5).translate(at, y, z);
    return part(made, LID, (shape, vx, vy, vz) => {
      const angle = upper
        ? { [`eyeBlink${name}`]: 1.35, [`eyeWide${name}`]: -0.35, [`eyeSquint${name}`]: 0.35 }[shape]
        : { [`eyeSquint${name}`]: -0.5, [`cheekSquint${name}`]: -0.35, [`eyeWide${name}`]: 0.15 }[shape];
      if (angle === undefined) return undefined;
      const turned = new THREE.Vector3(0, vy - y, vz - z).applyAxisAngle(new THREE.Vector3(1, 0, 0), angle);
      return [0, turned.y - (vy - y), turned.z - (vz - z)];
    });
  };
  const gaze = (shape) => {
    const out = 0.05 * side;
    return {
      [`eyeLookUp${name}`]: [0, 0.06, 0], [`eyeLookDown${name}`]: [0, -0.06, 0],
      [`eyeLookIn${name}`]: [-out, 0, 0], [`eyeLookOut${name}`]: [out, 0, 0],
    }[shape];
  };
  return [
    part(ellipsoid(at, y, z, [radius, radius, radius]), 0xffffff),
    part(ellipsoid(at, y, z + 0.13, [0.075, 0.075, 0.055]), 0x35241c, gaze),
    lid(true),
    lid(false),
  ];
}

function brow(side) {
  const x = 0.34 * side, y = 0.5;
  const name = side > 0 ? "Left" : "Right";
  const made = new THREE.CapsuleGeometry(0.035, 0.3, 6, 12).rotateZ(Math.PI / 2).translate(x, y, 0.75);
  return part(made, BROW, (shape, vx) => {
    const outer = ((vx - x) * side + 0.185) / 0.37; // 0 at the nose, 1 at the temple
    return {
      browInnerUp: [0, 0.14 * (1 - outer), 0],
      [`browOuterUp${name}`]: [0, 0.13 * outer, 0],
      [`browDown${name}`]: [-0.03 * side * (1 - outer), -0.17 * (1 - outer) - 0.03, 0.02],
    }[shape];
  });
}

function cheek(side) {
  const name = side > 0 ? "Left" : "Right";
  const made = ellipsoid(0.47 * side, -0.12, front(0.47, -0.12) - 0.03, [0.14, 0.09, 0.05]);
  return part(made, CHEEK, (shape) =>
    ({ [`cheekSquint${name}`]: [0, 0.09, 0.04], cheekPuff: [0.05 * side, 0, 0.08] })[shape]);
}

function nose() {
  return part(ellipsoid(0, 0, 0.95, [0.09, 0.15, 0.12]), LID, (shape, vx) => {
    const side = { noseSneerLeft: 1, noseSneerRight: -1 }[shape];
    return side && vx * side > 0 ? [0, 0.06, 0] : undefined;
  });
}

/** Return how far a lip goes: `u` along it, `low` is 1 for the lower and 0 for the upper one. */
function moveLip(shape, u, low) {
  const middle = 1 - u * u;
  const corner = (side) => Math.max(0, u * side) ** 2;
  for (const [name, side] of [["Left", 1], ["Right", -1]]) {
    const c = corner(side);
    const found = {
      [`mouthSmile${name}`]: [0.08 * side * c, 0.17 * c, -0.05 * c],
      [`mouthFrown${name}`]: [0, -0.16 * c, 0],
      [`mouthStretch${name}`]: [0.1 * side * c, -0.04 * c, -0.06 * c],
      [`mouthDimple${name}`]: [0.04 * side * c, 0.02 * c, -0.04 * c],
      [`mouthPress${name}`]: [-0.02 * side * c, (low ? 0.012 : -0.012) * middle, 0],
      [`mouthLowerDown${name}`]: low ? [0, -0.07 * middle * (0.5 + c), 0] : undefined,
      [`mouthUpperUp${name}`]: low ? undefined : [0, 0.07 * middle * (0.5 + c), 0],
      [`mouth${name}`]: [0.1 * side, 0, 0],
      [`jaw${name}`]: low ? [0.08 * side, 0, 0] : undefined,
    }[shape];
    if (found) return found;
  }
  return {
    jawOpen: [-0.03 * u, low ? -0.34 * middle - 0.04 : 0, 0],
    aa: [-0.06 * u, low ? -0.26 * middle - 0.03 : 0.02 * middle, 0],
    mouthFunnel: [-0.12 * u, (low ? -0.08 : 0.06) * middle, 0.05],
    mouthPucker: [-0.16 * u, 0, 0.06],
    mouthShrugLower: [0, (low ? 0.05 : 0.03) * middle, 0.02 * middle],
    mouthShrugUpper: low ? undefined : [0, 0.04 * middle, 0.02 * middle],
    mouthRollLower: low ? [0, 0.02 * middle, -0.03] : undefined,
    mouthRollUpper: low ? undefined : [0, -0.02 * middle, -0.03],
    jawForward: low ? [0, 0, 0.05] : undefined,
  }[shape];
}

function mouth() {
  const at = (u, low) => {
    const x = 0.3 * u, y = -0.46 + (low ? -0.02 : 0.02) * (1 - u * u);
    return new THREE.Vector3(x, y, front(x, y) + 0.03);
  };
  const places = [...Array(25).keys()].map((n) => n / 12 - 1);
  const lip = (low) => {
    const curve = new THREE.CatmullRomCurve3(places.map((u) => at(u, low)));
    return part(new THREE.TubeGeometry(curve, 32, 0.032, 8), LIP,
      (shape, vx, vy, vz, u) => moveLip(shape, u, low), (vx) => vx / 0.3);
  };
  const inside = new THREE.PlaneGeometry(2, 1, 24, 1);
  const { position } = inside.attributes;
  for (let n = 0; n < position.count; n += 1) {
    const low = position.getY(n) < 0 ? 1 : 0, u = position.getX(n);
    const { x, y, z } = at(u, low);
    position.setXYZ(n, x, y - (low ? 1e-4 : 0), z - 0.012); // a trace lower, to tell the rows apart
  }
  const edge = (u) => (at(u, 0).y + at(u, 1).y) / 2;
  return [
    lip(0),
    lip(1),
    part(inside, 0x4a1420, (shape, vx, vy, vz, u) => moveLip(shape, u, vy < edge(u) - 5e-5 ? 1 : 0), (vx) => vx / 0.3),
  ];
}

/** Return a mesh with a morph target for each of these names, and one for the lips. */
export function drawHead(names) {
  const parts = [
    part(ellipsoid(0, 0, 0, SKULL), SKIN),
    part(ellipsoid(0, 0.24, -0.12, [0.94, 1.0, 0.9]), BROW),
    ...[1, -1].flatMap((side) => [...eye(side), brow(side), cheek(side)]),
    nose(),
    ...mouth(),
  ];
  const shapes = [...names, "aa"];
  const geometry = mergeGeometries(parts.map((each) => each.shape));
  geometry.morphTargetsRelative = true;
  geometry.morphAttributes.position = shapes.map((name) => {
    const moved = parts.map(({ shape, move, along }) => displacements(name, shape, move, along));
    const whole = new Float32Array(moved.reduce((sum, each) => sum + each.length, 0));
    moved.reduce((at, each) => (whole.set(each, at), at + each.length), 0);
    const attribute = new THREE.BufferAttribute(whole, 3);
    attribute.name = name;
    return attribute;
  });
  const material = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.7, side: THREE.DoubleSide });
  const head = new THREE.Mesh(geometry, material);
  head.updateMorphTargets();
  return head;
}

function displacements(name, shape, move, along) {
  const { position } = shape.attributes;
  const moved = new Float32Array(position.count * 3);
  for (let n = 0; n < position.count; n += 1) {
    const [x, y, z] = [position.getX(n), position.getY(n), position.getZ(n)];
    const u = along ? Math.min(Math.max(along(x), -1), 1) : 0;
    moved.set(move(name, x, y, z, u) ?? [0, 0, 0], n * 3);
  }
  return moved;
}
