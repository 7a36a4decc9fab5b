/** Raised inside a running prompt by an interrupt. */
export class Interrupted extends Error {}

/** ComfyUI's one global interrupt flag: set by a request, consumed by the first check, cleared at each prompt's start. */
export class Interrupts {
  #isRequested = false

  request(): void {
    this.#isRequested = true
  }

  clear(): void {
    this.#isRequested = false
  }

  /** Throws `Interrupted` once when an interrupt was requested. */
  check(): void {
    if (!this.#isRequested) return
    this.#isRequested = false
    throw new Interrupted()
  }
}
