/** One line of the log: fields and a constant message. */
export type LogLine = (fields: object, message: string) => void

/** The part of a pino logger that loops and adapters need; a test may pass a stand-in. */
export type Log = {
  readonly debug: LogLine
  readonly info: LogLine
  readonly warn: LogLine
  readonly error: LogLine
  readonly fatal: LogLine
}

/** Whose fault a logged error is: this product's, or that of the ComfyUI behind it. Every line at error level carries it. */
export type ErrorSource = 'ours' | 'comfyui'
