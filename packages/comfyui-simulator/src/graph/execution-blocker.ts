/** A value that keeps every node it reaches from running; with a message that is reported once per blocked node. */
export class ExecutionBlocker {
  readonly message: string | undefined

  constructor(message?: string) {
    this.message = message
  }
}
