import type { EgressErrorCode } from '@comfy-balancer/service-kit/egress'

/** How a file could not be had: as its URL failed, `missing` from the store, or `flawed` by what is in it. */
export type UnavailableReason = EgressErrorCode | 'missing' | 'flawed'

/** A file that the workflow needs and brings along could not be had; `reason` says how. The message is fit for the caller. */
export class InputUnavailable extends Error {
  override readonly name = 'InputUnavailable'
  readonly code = 'input-unavailable'
  readonly reason: UnavailableReason

  constructor(reason: UnavailableReason, detail: string, options: { cause?: unknown } = {}) {
    super(detail, options)
    this.reason = reason
  }

  /** Whether another attempt may fare better: the server, or this node's way to it, may have been down. */
  get isPassing(): boolean {
    return this.reason === 'unreachable'
  }
}
