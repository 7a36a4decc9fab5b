import type { TaskState } from '@comfy-balancer/contract/task'

/** One thing that a caller did, and what came of it. Wall-clock ms. */
export type Call = {
  /** A trespass is a call with another tenant's key. */
  readonly what: 'post' | 'get' | 'cancel' | 'event' | 'trespass'
  /** Whom it asked. */
  readonly via: string
  readonly sentMs: number
  readonly answeredMs: number
  readonly key: string
  readonly task: string | undefined
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** The problem's code, or why there was no answer. */
  readonly code?: string
  readonly state?: TaskState
  readonly version?: number
  readonly attempt?: number
  /** Which stream an event belongs to, and what it was. */
  readonly stream?: number
  readonly event?: string
}
