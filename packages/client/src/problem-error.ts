import { type Problem, type ProblemPlace, problem } from '@comfy-balancer/contract/problem'

/** The service refused a call, or answered something that is no answer: `code` is the stable word to match on, `detail` is for people. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem
  /** When to come back, where the service says so. */
  readonly retryAfterSeconds: number | undefined

  constructor(told: Problem, retryAfterSeconds?: number) {
    super(`${told.code} (${told.status}): ${told.detail || told.title}`)
    this.problem = told
    this.retryAfterSeconds = retryAfterSeconds
  }

  get code(): string {
    return this.problem.code
  }

  get status(): number {
    return this.problem.status
  }

  get detail(): string {
    return this.problem.detail
  }

  /** The places in the request that are wrong, each with its JSON Pointer. */
  get errors(): readonly ProblemPlace[] {
    return this.problem.errors ?? []
  }
}

/** The seconds of an answer's `Retry-After`, where it has some. */
export const retryAfterSecondsOf = ({ headers }: Response): number | undefined => {
  const told = headers.get('retry-after') ?? ''
  return /^\d+$/.test(told) ? Number(told) : undefined
}

const detailBytes = 2_000

/** Reads what a service answered to a refused call. What is not problem+json (a proxy's page, say) becomes an `internal-error` with the answer's status. */
export const readProblem = async (response: Response): Promise<ProblemError> => {
  const text = await response.text().catch(() => '')
  return new ProblemError(
    asProblem(text) ?? {
      ...problem('internal-error', text.slice(0, detailBytes) || response.statusText),
      status: response.status
    },
    retryAfterSecondsOf(response)
  )
}

const asProblem = (text: string): Problem | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isProblem(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isProblem = (value: unknown): value is Problem =>
  typeof value === 'object' &&
  value !== null &&
  'code' in value &&
  typeof value.code === 'string' &&
  'status' in value &&
  typeof value.status === 'number' &&
  'detail' in value &&
  typeof value.detail === 'string'
