import type { WireAnswer, WireRequest } from '../request.ts'

/** A request that must be refused, and how. */
export type HostileCase = {
  readonly what: string
  readonly request: WireRequest
  readonly status: number
  readonly code: string
}

/** A request to accept a task. */
export const toGenerate = (body: string | Buffer, headers: Readonly<Record<string, string>> = {}): WireRequest => ({
  method: 'POST',
  target: '/api/v1/generate',
  headers: { 'content-type': 'application/json', ...headers },
  body: Buffer.from(body),
  twist: ''
})

export const toGet = (target: string): WireRequest => ({
  method: 'GET',
  target,
  headers: {},
  body: undefined,
  twist: ''
})

/** How an answer differs from the one that a case asks for; undefined when it does not. */
export const hostileFault = ({ what, status, code }: HostileCase, answer: WireAnswer): string | undefined => {
  const told = codeOf(answer)
  if (answer.status === status && told === code) return undefined
  return `${what}: ${answer.status} ${told ?? ''} instead of ${status} ${code}`
}

const codeOf = ({ headers, body }: WireAnswer): string | undefined =>
  headers['content-type']?.startsWith('application/problem+json')
    ? (JSON.parse(body.toString('utf8')) as { code: string }).code
    : undefined
