// Plays decisions: what a face shows at a time. Knows nothing of how the face is drawn.
//
// A decision is a CloudEvent of the feed (schemas/json/feed/decision.v1.schema.json), which may have
// `shapes` beside its `data`: ARKit weights by name.

const MOST_PER_SECOND = 0.25; // a step of a decision is spread over a second, five times faster than they come
const OFF = new Set(["not_opted_in", "avatar_off"]);
const EMOTIONS = ["happy", "angry", "sad", "relaxed", "surprised"];

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

export class Player {
  /** `shapes`: names of ARKit's blendshapes in Apple's order; `presets`: preset → shape → weight. */
  constructor({ shapes, presets }) {
    this.names = shapes;
    this.presets = presets;
    this.decisions = [];
    this.rest();
  }

  /** Put the face to rest at once, and begin anew. */
  rest() {
    this.time = null;
    this.rules = undefined;
    this.now = { shapes: this.#blank(this.names), presets: this.#blank(EMOTIONS), mouth: { share: 0 } };
  }

  /** Take one decision, in any order, and drop those that had expired by `now` (ms). */
  take(event, now = -Infinity) {
    const decision = { ...event, at: Date.parse(event.time), until: Date.parse(event.expirytime) };
    this.decisions = [...this.decisions.filter((one) => one.until > now), decision];
    this.decisions.sort((one, other) => one.at - other.at);
  }

  /** Forget all decisions: the subject asked for it. */
  forget() {
    this.decisions = [];
    this.rest();
  }

  /**
   * Return what the face shows at a time (ms); its mouth yields to lip sync by `speech` (0 to 1).
   *
   * `lips`, `blink` and `lookAt` are factors that the client multiplies its own weights by. `speech`
   * follows whether somebody speaks, not each syllable, or the face would flicker with them. Time
   * may go back: the face then begins at rest before the first decision.
   */
  show(time, speech = 0) {
    if (this.time === null || time < this.time) {
      this.rest();
      this.time = Math.min(time, this.decisions[0]?.at ?? time);
    }
    const turns = this.decisions.flatMap((one) => [one.at, one.until]);
    const steps = [...new Set(turns)].filter((at) => at > this.time && at <= time);
    for (const until of [...steps.sort((a, b) => a - b), time]) {
      this.#advance(until - this.time, this.decisionAt(this.time));
      this.time = until;
    }
    const decision = this.decisionAt(time);
    if (decision && OFF.has(decision.data.reason)) this.#advance(0, decision);
    return this.#yielding(this.rules, speech);
  }

  /**
   * Return the decision that counts at a time: the newest that says something of the face, if it has
   * not expired. One without `avatar` leaves the face as it is: nothing was seen for sure.
   */
  decisionAt(time) {
    const known = this.decisions.filter((one) => one.at <= time && one.data.avatar);
    const newest = known.at(-1);
    return newest && time < newest.until ? newest : undefined;
  }

  /** Move towards a decision's weights, no weight by more than the rate allows; off is at once. */
  #advance(ms, decision) {
    this.rules = decision?.data.avatar ?? this.rules; // they hold while the face fades
    const most = decision && OFF.has(decision.data.reason) ? 1 : (MOST_PER_SECOND * ms) / 1000;
    const wanted = this.#wanted(decision);
    for (const part of ["shapes", "presets", "mouth"]) {
      for (const [name, value] of Object.entries(this.now[part])) {
        this.now[part][name] += clamp((wanted[part][name] ?? 0) - value, -most, most);
      }
    }
  }

  #wanted(decision) {
    if (!decision) return { shapes: {}, presets: {}, mouth: {} };
    const { weights: presets, mouth_share: share } = decision.data.avatar;
    return { shapes: decision.shapes ?? this.#shapesOf(presets), presets, mouth: { share } };
  }

  /** Return the shapes that presets move, for decisions that come without. */
  #shapesOf(presets) {
    const shapes = this.#blank(this.names);
    for (const preset of EMOTIONS) {
      for (const [name, weight] of Object.entries(this.presets[preset])) {
        shapes[name] += weight * presets[preset];
      }
    }
    return shapes;
  }

  /** Let the mouth yield to lip sync, and lips, blink and gaze to what the presets override. */
  #yielding(rules, speech) {
    const mask = rules?.lip_sync_mask ?? "0".repeat(this.names.length);
    const shapes = {};
    this.names.forEach((name, place) => {
      shapes[name] = this.now.shapes[name] * (1 - Number(mask[place]) * speech);
    });
    const presets = {};
    for (const name of EMOTIONS) {
      presets[name] = this.now.presets[name] * (1 - this.now.mouth.share * speech);
    }
    const shown = EMOTIONS.reduce((sum, name) => sum + presets[name], 0);
    presets.neutral = clamp(1 - shown, 0, 1);
    const left = { none: 1, blend: clamp(1 - shown, 0, 1), block: shown > 0 ? 0 : 1 };
    return {
      shapes,
      presets,
      lips: left[rules?.override_mouth ?? "none"],
      blink: left[rules?.override_blink ?? "none"],
      lookAt: left[rules?.override_look_at ?? "none"],
    };
  }

  #blank(names) {
    return Object.fromEntries(names.map((name) => [name, 0]));
  }
}
