import type { FastifyReply } from 'fastify'

/** One allowance of a caller: how much of it there is a window, what is left and when more of it is given back. */
export type Allowance = {
  readonly policy: string
  readonly limit: number
  readonly windowSeconds: number
  readonly left: number
  readonly resetSeconds: number
}

/** Tells a caller of an allowance in `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), beside those told before. */
export const tellAllowance = (reply: FastifyReply, allowance: Allowance): void => {
  const { policy, limit, windowSeconds, left, resetSeconds } = allowance
  append(reply, 'ratelimit-policy', `"${policy}";q=${limit};w=${windowSeconds}`)
  append(reply, 'ratelimit', `"${policy}";r=${left};t=${Math.max(0, Math.ceil(resetSeconds))}`)
}

const append = (reply: FastifyReply, name: string, item: string): void => {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? item : `${before}, ${item}`)
}
