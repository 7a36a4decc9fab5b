import type { Recording } from '../history/recording.ts'

/** A promise of dispatch.md that was not kept. */
export type Violation = {
  /** Its number there, such as `S2`. */
  readonly rule: string
  readonly what: string
  /** The task that it happened to, where there is one. */
  readonly task?: string
  readonly atMs?: number
}

/** Looks for violations of some rules in what was recorded. */
export type Check = (recording: Recording) => Violation[]

/** The states that never change. */
export const terminalStates: ReadonlySet<string> = new Set(['succeeded', 'failed', 'cancelled', 'expired'])
