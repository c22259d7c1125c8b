// The faces of a subject: one for each session and scenario, of which a viewer sees one at a time.

/** Return what tells a face from others of its subject: decisions of another are not for it. */
export const faceOf = (event) => JSON.stringify([event.data.session_ref, event.data.scenario]);

/** The faces of a subject with their decisions, and the list in which a viewer chooses one. */
export class Faces {
  constructor(list) {
    this.list = list;
    this.decisions = new Map();
  }

  /** Take a decision, and drop those of its face that had expired by `now` (ms). */
  add(event, now = -Infinity) {
    const face = faceOf(event);
    if (!this.decisions.has(face)) {
      const { session_ref: session, scenario } = event.data;
      this.decisions.set(face, []);
      this.list.add(new Option(`${scenario} · session ${session.slice(0, 8)}`, face));
      this.list.closest("p").hidden = this.decisions.size < 2;
    }
    const counts = (one) => Date.parse(one.expirytime) > now;
    this.decisions.set(face, [...this.decisions.get(face).filter(counts), event]);
    if (!this.chosen().some(counts)) this.list.value = face;
  }

  /** Return the decisions of the face that is chosen: at first the one that came first. */
  chosen() {
    return this.decisions.get(this.list.value) ?? [];
  }

  isChosen(event) {
    return faceOf(event) === this.list.value;
  }

  clear() {
    this.decisions.clear();
    this.list.replaceChildren();
    this.list.closest("p").hidden = true;
  }
}
