import type { ProblemCode } from '@comfy-balancer/contract/problem'
import type { Scope } from '@comfy-balancer/contract/scope'
import type { Caller } from './caller.ts'
import '@fastify/swagger'

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as it came, so that numbers keep their digits; undefined without a body. */
    bodyText: string | undefined
    /** Who asks: the tenant of the API key, or `default` without keys. */
    caller: Caller
    /** Its answer stays open on purpose: how long says nothing. */
    isHeld: boolean
  }
  interface FastifyContextConfig {
    /** What a key must be allowed to do here; null: open to anybody. */
    scope?: Scope | null
    /** How long the body may take to arrive, where that is longer than usual. */
    bodyMs?: number
  }
  interface FastifyReply {
    /** The code of the problem that was answered. */
    problemCode: ProblemCode | undefined
  }
  interface FastifyInstance {
    openStreams: OpenStreams
  }
}

/** Answers that stay open, such as event streams and sockets; closing the server ends them first. */
export type OpenStreams = {
  /** Registers how to end one stream and returns what to call when it has ended by itself. */
  add(end: () => void): () => void
  readonly size: number
}
