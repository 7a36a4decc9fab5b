import type { EgressErrorCode } from '@comfy-balancer/service-kit/egress'

/** A file that the workflow names by URL could not be fetched; `reason` says how. The message is fit for the caller. */
export class InputUnavailable extends Error {
  override readonly name = 'InputUnavailable'
  readonly code = 'input-unavailable'
  readonly reason: EgressErrorCode

  constructor(reason: EgressErrorCode, detail: string, options: { cause?: unknown } = {}) {
    super(detail, options)
    this.reason = reason
  }

  /** Whether another attempt may fare better: the server, or this node's way to it, may have been down. */
  get isPassing(): boolean {
    return this.reason === 'unreachable'
  }
}
