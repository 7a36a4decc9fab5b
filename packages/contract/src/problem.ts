import { type Static, Type } from '@sinclair/typebox'
import { named } from './endpoint.ts'

/**
 * Every problem this API can answer or store with a failed task: code → HTTP status and title (RFC 9457). `status` 0 marks
 * codes that only ever stand in a failed task's `error`.
 */
export const problemTable = {
  'validation-failed': { status: 400, title: 'The request is not valid' },
  unauthenticated: { status: 401, title: 'A key is needed' },
  forbidden: { status: 403, title: 'This key may not do that' },
  'not-found': { status: 404, title: 'There is no such thing here' },
  'method-not-allowed': { status: 405, title: 'This address does not take that method' },
  'request-too-slow': { status: 408, title: 'The request took too long to arrive' },
  'task-already-finished': { status: 409, title: 'The task has already finished' },
  'comfyui-not-owned': { status: 409, title: 'Nobody here can restart this ComfyUI' },
  gone: { status: 410, title: 'The task is past its retention' },
  'payload-too-large': { status: 413, title: 'The request is too large' },
  'unsupported-media-type': { status: 415, title: 'The request body is of a kind that is not taken here' },
  'headers-too-large': { status: 431, title: 'The headers of the request are too large' },
  'workflow-invalid': { status: 422, title: 'The workflow cannot run' },
  'workflow-class-not-allowed': { status: 422, title: 'The workflow uses a class that is not allowed here' },
  'input-url-blocked': { status: 422, title: 'A URL in the request may not be called' },
  'input-invalid': { status: 422, title: 'A file that comes along cannot be used' },
  'no-capable-node': { status: 422, title: 'No node has what the workflow needs' },
  'workflow-quarantined': { status: 422, title: 'The workflow took ComfyUI down and is refused for a while' },
  'idempotency-key-reused': { status: 422, title: 'The idempotency key belongs to another request' },
  'rate-limited': { status: 429, title: 'Too many requests in a short time' },
  'quota-exceeded': { status: 429, title: 'The quota is used up' },
  'internal-error': { status: 500, title: 'Something went wrong on our side' },
  'queue-full': { status: 503, title: 'The queue is full' },
  'fleet-unavailable': { status: 503, title: 'The fleet cannot take tasks now' },
  'output-unavailable': { status: 503, title: 'The output cannot be read now' },
  'store-unavailable': { status: 503, title: 'The store cannot take files now' },
  draining: { status: 503, title: 'This service is shutting down' },
  'comfyui-rejected': { status: 0, title: 'ComfyUI refused the workflow' },
  'comfyui-execution-error': { status: 0, title: 'ComfyUI failed while running the workflow' },
  'out-of-memory': { status: 0, title: 'The GPU ran out of memory' },
  'timed-out': { status: 0, title: 'The task ran out of time' },
  'attempts-exhausted': { status: 0, title: 'Every attempt lost its node' },
  'input-unavailable': { status: 0, title: 'An input file could not be fetched' },
  'output-not-stored': { status: 0, title: 'An output could not be stored' },
  'output-missing': { status: 0, title: 'ComfyUI finished but an output could not be fetched' }
} as const

/** The stable code that callers match on. */
export type ProblemCode = keyof typeof problemTable

/** A problem as it is answered (`application/problem+json`) or stored with a failed task. */
export type Problem = Static<typeof Problem>
export const Problem = named(
  'Problem',
  Type.Object({
    type: Type.String({ description: 'Stable address of the kind of problem' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What is wrong with this very request or task, for people' }),
    code: Type.String({ description: 'Stable word to match on' }),
    instance: Type.Optional(Type.String()),
    requestId: Type.Optional(Type.String()),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          pointer: Type.String({ description: 'JSON Pointer into the request body' }),
          code: Type.String(),
          detail: Type.String()
        })
      )
    ),
    comfyui: Type.Optional(
      Type.Unknown({ description: "ComfyUI's own words: its error and node_errors, or graph node, class and message" })
    )
  })
)

/** One place in a request that is wrong. */
export type ProblemPlace = NonNullable<Problem['errors']>[number]

/** Builds the stored or answered form of a problem from its code and what is particular to this case. */
export const problem = (
  code: ProblemCode,
  detail: string,
  more: Pick<Problem, 'errors' | 'comfyui' | 'instance' | 'requestId'> = {}
): Problem => ({
  type: `/problems/${code}`,
  title: problemTable[code].title,
  status: problemTable[code].status || 200,
  detail,
  code,
  ...more
})
